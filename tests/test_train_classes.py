"""What class a labelled nucleus has: names, maps, majorities, and files that are refused."""

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_train_metrics import blobs

from wsiseg.errors import SettingsError
from wsiseg.train.classes import UNKNOWN, classes_of_nuclei, read_class_map, read_class_names
from wsiseg.train.data import FieldEntry, read_index


def test_names_by_value(tmp_path):
    assert read_class_names(tmp_path) == {}
    (tmp_path / "classes.csv").write_text("value,name\n3,stromal\n1, lymphocyte \n", "utf-8")
    assert read_class_names(tmp_path) == {3: "stromal", 1: "lymphocyte"}
    assert list(read_class_names(tmp_path)) == [3, 1]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("value,title\n1,a\n", "not a value and a name"),
        ("value,name\none,a\n", "not a value and a name"),
        ("value,name\n1\n", "not a value and a name"),
        ("value,name\n0,a\n", "whole numbers of 1 to 254"),
        ("value,name\n255,a\n", "whole numbers of 1 to 254"),
        ("value,name\n1, \n", "each with a name"),
        ("value,name\n1,a\n1,b\n", "stands twice"),
        ("value,name\n1,a\n2,a\n", "stands twice"),
    ],
)
def test_names_that_are_refused(tmp_path, text, reason):
    (tmp_path / "classes.csv").write_text(text, "utf-8")
    with pytest.raises(SettingsError, match=rf"E-DATA.*{reason}.*classes\.csv"):
        read_class_names(tmp_path)


def test_maps_come_from_the_index(tmp_path):
    values = np.arange(12, dtype=np.uint8).reshape(3, 4)
    for name in ("image", "labels", "classes"):
        assert cv2.imwrite(str(tmp_path / f"{name}.png"), values)
    header = "image,instances,group,split,mpp,classes\n"
    (tmp_path / "index.csv").write_text(
        header + "image.png,labels.png,a,val,0.5,classes.png\nimage.png,labels.png,a,val,0.5,\n", "utf-8"
    )
    with_map, without = read_index(tmp_path, "val")
    assert (read_class_map(with_map, (3, 4)) == values).all()
    assert (read_class_map(without, (3, 4)) == UNKNOWN).all()
    (tmp_path / "classes.png").unlink()
    with pytest.raises(SettingsError, match=r"E-DATA.*not there.*classes\.png"):
        read_index(tmp_path, "val")


@pytest.mark.parametrize(
    "pixels", [np.zeros((3, 5), np.uint8), np.zeros((3, 4), np.uint16), np.zeros((3, 4, 3), np.uint8), None]
)
def test_maps_that_are_refused(tmp_path, pixels):
    path = tmp_path / "classes.png"
    path.write_bytes(b"no picture" if pixels is None else cv2.imencode(".png", pixels)[1].tobytes())
    entry = FieldEntry(tmp_path, tmp_path, "a", "val", 0.5, classes=path)
    with pytest.raises(SettingsError, match=r"E-DATA.*class map.*classes\.png"):
        read_class_map(entry, (3, 4))


@given(st.integers(0, 10_000), st.integers(0, 8))
def test_a_nucleus_is_what_most_of_its_pixels_are(seed, count):
    labels = blobs(seed, count)
    class_map = np.random.default_rng(seed).choice([0, 1, 2, 255], labels.shape, p=[0.3, 0.3, 0.2, 0.2])
    expected = []
    for name in sorted(set(labels.ravel().tolist()) - {0}):
        values = class_map[labels == name].tolist()
        expected.append(min(set(values), key=lambda value: (-values.count(value), value)))
    assert classes_of_nuclei(labels, class_map.astype(np.uint8)).tolist() == expected
