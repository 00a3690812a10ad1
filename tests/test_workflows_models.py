"""The recipes of the shipped models: what they make of dots."""

import csv
import sys

import cv2
import numpy as np
import pytest
from conftest import ROOT
from tiny_models import write_model

from wsiseg.train.classes import UNKNOWN
from wsiseg.train.dots import Dots

sys.path.append(str(ROOT / "workflows/default_model"))
from type_labels import classes_of, label_types


def test_a_nucleus_has_the_class_on_which_its_dots_agree():
    labels = np.zeros((40, 60), np.int32)
    for name, left in enumerate((2, 12, 22, 32, 42), 1):
        labels[5:15, left : left + 8] = name
    places = [(9, 5), (9, 15), (10, 17), (9, 24), (9, 26), (30, 30), (14, 49)]
    dots = Dots(np.array(places, float), np.array([3, 1, 1, 1, 2, 3, 2], np.uint8))
    found = classes_of(labels, dots)
    assert [int(found[labels == name].max()) for name in range(1, 6)] == [3, 1, UNKNOWN, UNKNOWN, 2]
    assert (found == 0).sum() == (labels == 0).sum() + 160
    assert not found[labels == 0].any()


@pytest.fixture
def dotted(tmp_path):
    """A field of each split, with a dot."""
    folder = tmp_path / "dots"
    folder.mkdir()
    rows = [["image", "labels", "group", "split", "mpp"]]
    for split in ("train", "val", "test"):
        image = np.random.default_rng(0).integers(0, 256, (70, 90, 3), np.uint8)
        cv2.imwrite(str(folder / f"{split}.png"), image)
        (folder / f"{split}.txt").write_text("3 4 2\n", "utf-8")
        rows.append([f"{split}.png", f"{split}.txt", split, split, "0.5"])
    with (folder / "index.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(rows)
    return folder


def test_fields_keep_their_size_and_no_test_field_is_read(dotted, tmp_path):
    label_types(write_model(tmp_path / "model", head="nuclei", mpp=0.25), dotted, tmp_path / "out")
    with (tmp_path / "out/index.csv").open(encoding="utf-8") as lines:
        rows = list(csv.DictReader(lines))
    assert [(row["group"], row["split"], row["mpp"]) for row in rows] == [(s, s, "0.5") for s in ("train", "val")]
    for column in ("image", "instances", "classes"):
        row = rows[0]
        assert cv2.imread(str(tmp_path / "out" / row[column]), -1).shape[:2] == (70, 90)
