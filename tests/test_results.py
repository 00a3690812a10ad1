"""`wsiseg.open`, and the notebooks that use it, on real runs of painted slides."""

from __future__ import annotations

import io
import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
import shapely
import zarr
from conftest import ROOT
from synthetic import paint_tissue, scattered, write_slide
from toy_cohort import run_toys
from view_toy import SIZE, paint_and_run

import wsiseg
from wsiseg.errors import DamageError, OutputError, SettingsError

NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
COLOUR = (200, 30, 60)
"""Of the toy's class."""


@pytest.fixture(scope="module")
def toy(tmp_path_factory):
    """A painting, and the run of its slide."""
    painting, _, run = paint_and_run(tmp_path_factory.mktemp("results"))
    return painting, run


@pytest.fixture(scope="module")
def results(toy):
    return wsiseg.open(str(toy[1]))


def test_labels_are_the_pyramids_of_the_store(toy, results):
    for name, levels in (("classes", results.labels.classes), ("nuclei", results.labels.nuclei)):
        store = toy[1] / "masks.ome.zarr" / "labels" / name
        assert len(levels) == len([level for level in store.iterdir() if level.name.isdigit()]) > 1
        for number, level in enumerate(levels):
            stored = zarr.open_array(store / str(number), mode="r")
            assert level.dtype == stored.dtype
            assert np.array_equal(level.compute(scheduler="synchronous"), stored[:])
    assert results.labels.classes[0].shape == SIZE[::-1]


def test_nuclei_labels_and_painting_are_the_same_objects(toy, results):
    pytest.importorskip("geopandas")
    painting, _ = toy
    nuclei = results.nuclei
    assert len(nuclei) == len(painting.nuclei) > 100
    mask = results.labels.nuclei[0].compute(scheduler="synchronous")
    assert nuclei.index.tolist() == list(range(1, len(nuclei) + 1))
    for identity, polygon in nuclei.geometry.items():
        x, y = map(int, polygon.centroid.coords[0])
        assert mask[y, x] == identity
        assert painting.labels[y, x] > 0
    assert nuclei.crs is None
    pixels = np.count_nonzero(mask) * results.summary["frame"]["mpp"] ** 2
    assert nuclei["area_um2"].astype(float).sum() == pytest.approx(pixels, rel=1e-5)


def test_a_run_says_what_it_is(toy, results):
    assert results.path == toy[1]
    assert [(one.value, one.name, one.color) for one in results.classes] == [(1, "Nucleus", COLOUR)]
    assert results.summary["nuclei"] == len(toy[0].nuclei)
    assert repr(results) == f"<wsiseg run {str(toy[1])!r}: {len(toy[0].nuclei)} nuclei of 'a slide.svs'>"


def test_outlines_lie_on_the_nuclei(toy, results):
    painting, _ = toy
    plain = np.asarray(results.thumbnail(max_px=4000, outlines=False), int)
    drawn = np.asarray(results.thumbnail(max_px=4000), int)
    assert plain.shape == drawn.shape
    factor = painting.rgb.shape[1] / plain.shape[1]
    towards = np.abs(drawn - COLOUR).sum(axis=2) < np.abs(plain - COLOUR).sum(axis=2) / 2  # lines are antialiased
    lines = np.argwhere(towards)
    assert len(lines) > 20 * len(painting.nuclei)
    y, x = np.floor((lines + 0.5) * factor).astype(int).T
    inside = (painting.labels > 0).astype(np.uint8)
    edges = cv2.morphologyEx(inside, cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8))
    distance = cv2.distanceTransform(1 - edges, cv2.DIST_L2, 5)
    assert distance[y, x].max() <= 1.5 * factor
    where = shapely.points(x + 0.5, y + 0.5)
    assert all(
        shapely.dwithin(where, shapely.Point(one.x, one.y), one.radius_x + 3).any() for one in painting.nuclei
    )


def test_a_thumbnail_is_as_small_as_asked(toy, results):
    small = results.thumbnail(max_px=300, outlines=False)
    assert (small.size, small.mode) == ((300, 220), "RGB")
    truth = cv2.resize(toy[0].rgb, (300, 220), interpolation=cv2.INTER_AREA)
    assert np.abs(np.asarray(small).astype(int) - truth).mean() < 4
    with pytest.raises(SettingsError, match="max_px is 0"):
        results.thumbnail(max_px=0)


def test_what_is_no_complete_run_is_refused(toy, tmp_path):
    with pytest.raises(OutputError, match="E-OUT-MISSING"):
        wsiseg.open(tmp_path)
    copy = Path(shutil.copytree(toy[1], tmp_path / "run"))
    (copy / "nuclei.parquet").write_bytes((copy / "nuclei.parquet").read_bytes()[::-1])
    with pytest.raises(DamageError, match="E-DAMAGED"):
        wsiseg.open(copy)


def test_without_geopandas_the_extra_is_named(toy, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "geopandas", None)
    with pytest.raises(SettingsError, match=r"wsiseg\[notebook\]"):
        _ = wsiseg.open(toy[1]).nuclei


def code_cells(notebook):
    """The code of a notebook, cell by cell; none may hold an output."""
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in code)
    return ["".join(cell["source"]) for cell in code]


@pytest.fixture(scope="module")
def home(toy, tmp_path_factory):
    """A folder with what the notebooks name: a run, and a cohort of which one slide failed."""
    folder = tmp_path_factory.mktemp("home")
    shutil.copytree(toy[1], folder / "demo" / "CMU-1-run")
    slides = folder / "slides"
    slides.mkdir()
    for seed in (1, 2):
        rgb = paint_tissue((500, 400), scattered((500, 400), seed=seed)).rgb
        write_slide(slides / f"slide {seed}.svs", rgb, mpp=0.25)
    (slides / "broken.svs").write_bytes(b"no slide")
    run_toys([slides], folder / "cohort", toy[1].parent / "toy", tissue="none")
    return folder


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebooks_run(home, notebook, monkeypatch):
    pytest.importorskip("geopandas", reason="pip install 'wsiseg[notebook]'")
    import matplotlib.pyplot as plt

    plt.switch_backend("agg")
    monkeypatch.chdir(home)
    names = {}
    try:
        for number, cell in enumerate(code_cells(notebook)):
            exec(compile(cell, f"{notebook.name}, cell {number}", "exec"), names)
        assert plt.get_fignums()
        for number in plt.get_fignums():  # a figure that cannot be drawn fails here
            plt.figure(number).savefig(io.BytesIO())
    finally:
        plt.close("all")


def test_both_notebooks_are_here():
    assert [path.stem for path in NOTEBOOKS] == ["compare_cohort", "explore_run"]
