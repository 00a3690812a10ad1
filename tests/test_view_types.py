"""What the viewer tells of a run of several classes."""

from __future__ import annotations

import io

import numpy as np
import orjson
import pyarrow.parquet as pq
import pytest
from PIL import Image
from typed_toy import CLASSES
from view_toy import get, serving

from wsiseg.geometry import Frame
from wsiseg.view.density import Density


def image(server, path):
    return Image.open(io.BytesIO(get(server, path)[1]))


def told(server, path):
    return orjson.loads(get(server, path)[1])


def test_each_class_has_a_density_in_its_colour(typed_run):
    with serving(typed_run.path) as server:
        about, nuclei = told(server, "/slide/0/about.json"), told(server, "/slide/0/nuclei.json")
        assert [(one["value"], one["name"], tuple(one["rgb"])) for one in about["classes"]] == [
            (one.value, one.name, one.color) for one in CLASSES
        ]
        pictures = [np.asarray(image(server, f"/slide/0/density/{one.value}").convert("RGBA")) for one in CLASSES]
        assert get(server, "/slide/0/density/9")[0].status == 404
    assert nuclei["density"]["top"] > 1000
    thirds = {}
    for one, picture in zip(CLASSES, pictures, strict=True):
        strong = picture[..., 3] > 128
        assert (picture[strong][:, :3] == one.color).all()
        thirds[one.name] = np.argwhere(strong)[:, 1].mean() / picture.shape[1]
    assert thirds["lymphocyte"] < 0.3 < thirds["tumour or epithelial"] < 0.65 < thirds["stromal"]


def test_how_full_a_colour_is_says_how_many_nuclei_there_are():
    density = Density(Frame(4000, 4000, 1.0), 0.5, (7, 2))
    rng = np.random.default_rng(0)
    density.add(rng.uniform(500, 3500, (4000, 2)), np.full(4000, 7, np.uint8))
    density.add(rng.uniform(500, 3500, (300, 2)), np.full(300, 2, np.uint8))
    pictures, full = density.pictures([(200, 0, 0), (0, 160, 60)])
    opacity = np.asarray(Image.open(io.BytesIO(pictures[2])).convert("RGBA"))[..., 3] / 255
    assert 0.1 < opacity.max() < 1
    assert opacity.sum() * full * (20 / 1000) ** 2 == pytest.approx(300, rel=0.05)


def test_a_nucleus_is_told_with_the_probability_of_each_class(typed_run):
    row = pq.read_table(typed_run.path / "nuclei.parquet").slice(17, 1).to_pylist()[0]
    with serving(typed_run.path) as server:
        nucleus = told(server, f"/slide/0/nucleus/{row['id']}")
    columns = ("probability_tumour_or_epithelial", "probability_lymphocyte", "probability_stromal")
    assert nucleus["classes"] == [
        {"value": one.value, "probability": pytest.approx(row[column])}
        for one, column in zip(CLASSES, columns, strict=True)
    ]
    assert not set(columns) & nucleus["measurements"].keys()
    assert nucleus["measurements"]["probability"] == pytest.approx(row["probability"])
