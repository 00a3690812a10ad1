"""Figures of types: by hand, against the intervals of single classes, and where something is not known."""

import numpy as np
import pytest

from wsiseg.train.bootstrap import intervals, resampled
from wsiseg.train.classes import TrueClasses
from wsiseg.train.metrics import Detections
from wsiseg.train.tables import aligned_lines, markdown_table
from wsiseg.train.types import BINS, TypeCounts
from wsiseg.train.typescores import type_figures
from wsiseg.train.typetables import calibration_line, calibration_table, class_table, confusion_table

CLASSES = TrueClasses((1, 2), ("a", "b"), ("a", "b"))
CONFUSION = np.array([[6, 2, 2], [1, 3, 1], [1, 0, 0]])


def counts_of(matched=(6, 3), confusion=CONFUSION, calibration=None):
    predicted, true = confusion[:, :-1].sum(0), confusion[:-1].sum(1)
    each = np.stack([predicted, true, matched], 1)
    together = predicted.sum(), true.sum(), confusion[:-1, :-1].sum()
    bins = np.zeros((BINS, 3)) if calibration is None else calibration
    return TypeCounts(np.vstack([each, together]), confusion, bins)


def test_figures_by_hand():
    calibration = np.zeros((BINS, 3))
    calibration[5], calibration[9] = (4, 1, 2.2), (8, 8, 7.6)
    found = type_figures([("p", counts_of(calibration=calibration))], CLASSES, "distance")
    assert (found["matched_by"], found["fields"]) == ("distance", 1)
    assert list(found["classes"]) == ["a", "b"]
    nowhere = dict.fromkeys(("f1", "precision", "recall"))
    assert found["classes"]["a"] == {
        "predicted": 8, "true": 10, "matched": 6, "f1": round(12 / 18, 4), "precision": 0.75, "recall": 0.6,
        "intervals": nowhere,
    }  # fmt: skip
    assert found["classes"]["b"]["f1"] == 0.6
    assert found["mean"] == {"f1": round((12 / 18 + 0.6) / 2, 4), "interval": None}
    assert found["all_classes"]["recall"] == 0.8
    assert found["confusion"] == {
        "true": ["a", "b"], "predicted": ["a", "b"], "nuclei": [[6, 2], [1, 3]], "missed": [2, 1],
        "invented": [1, 0],
    }  # fmt: skip
    assert found["calibration"] == {
        "nuclei": 12, "right": 0.75, "probability": round(9.8 / 12, 4),
        "expected_error": round((abs(1 - 2.2) + abs(8 - 7.6)) / 12, 4),
        "bins": [
            {"from": 0.5, "to": 0.6, "nuclei": 4, "right": 0.25, "probability": 0.55},
            {"from": 0.9, "to": 1.0, "nuclei": 8, "right": 1.0, "probability": 0.95},
        ],
    }  # fmt: skip


def test_patients_are_drawn_and_all_classes_by_the_same_draws():
    random = np.random.default_rng(0)
    fields = []
    for i in range(12):
        confusion = random.integers(0, 20, (3, 3))
        confusion[-1, -1] = 0
        fields.append((f"p{i % 5}", counts_of(confusion.diagonal()[:2], confusion)))
    found = type_figures(fields, CLASSES, "iou")
    for place, name in enumerate(CLASSES.predicted):
        alone = intervals((group, Detections(*counts.detections[place].tolist())) for group, counts in fields)
        for figure, ends in found["classes"][name]["intervals"].items():
            assert ends == pytest.approx(alone[figure], abs=1e-4)
    drawn = resampled([group for group, _ in fields], np.array([c.detections[:2].ravel() for _, c in fields]))
    means = [np.mean([2 * m / (p + t) for p, t, m in row.reshape(2, 3)]) for row in drawn]
    assert found["mean"]["interval"] == pytest.approx(np.percentile(means, (2.5, 97.5)), abs=1e-4)
    order = random.permutation(len(fields))
    assert type_figures([fields[i] for i in order], CLASSES, "iou") == found


def test_without_known_classes_there_are_no_figures():
    confusion = np.array([[0, 0, 0], [0, 0, 0], [5, 3, 0]])
    assert type_figures([("p", counts_of((0, 0), confusion))], CLASSES, "distance") is None


def test_classes_of_other_names_give_the_confusion_alone():
    classes = TrueClasses((1, 2), ("tumor_any", "sTIL"), ("a", "b"))
    found = type_figures([("p", counts_of((0, 0))), ("q", counts_of((0, 0)))], classes, "iou")
    assert found["classes"] == {}
    assert found["mean"] is found["calibration"] is None
    assert found["all_classes"]["matched"] == 24
    assert [row[0] for row in class_table(found).rows] == ["whatever the class"]
    assert calibration_line(found) == ""
    assert markdown_table(confusion_table(found)).splitlines() == [
        "| truth | a | b | missed |",
        "| --- | ---: | ---: | ---: |",
        "| tumor_any | 12 | 4 | 4 |",
        "| sTIL | 2 | 6 | 2 |",
        "| no true nucleus | 2 | 0 |  |",
    ]


def test_tables():
    calibration = np.zeros((BINS, 3))
    calibration[9] = 12, 9, 11.4
    found = type_figures([("p", counts_of(calibration=calibration)), ("q", counts_of())], CLASSES, "distance")
    assert aligned_lines(class_table(found)) == [
        "type                true  found                    F1  precision  recall",
        "a                     20     16  0.667 (0.67 to 0.67)      0.750   0.600",
        "b                     10     10  0.600 (0.60 to 0.60)      0.600   0.600",
        "mean                             0.633 (0.63 to 0.63)",
        "whatever the class    30     26  0.857 (0.86 to 0.86)      0.923   0.800",
    ]
    assert aligned_lines(calibration_table(found)) == [
        "probability  nuclei   mean  right",
        "0.9 to 1.0       12  0.950  0.750",
    ]
    assert calibration_line(found) == (
        "Of 12 matched nuclei 75.0% have the class that they were taken for, at a mean probability of 95.0% "
        "(expected calibration error 0.200)."
    )
