"""The epochs of a training as a table, as curves and as events."""

import csv

import cv2
import numpy as np
import pytest

from wsiseg.errors import SettingsError
from wsiseg.train import events
from wsiseg.train.curves import draw_curves, write_epochs
from wsiseg.train.epochs import BatchFigures, EpochLog, Stopwatch
from wsiseg.train.loop import Progress


def rows(count):
    log = EpochLog()
    for epoch in range(count):
        for batch in range(3):
            log.add(BatchFigures(1 / (epoch + batch + 1), 0.5, 0.6))
        log.close(3 * (epoch + 1), 1e-3, {"val_loss": 1 / (epoch + 1), "val_iou": 0.4, "val_fscore": 1 / 3})
    return log.rows


def test_an_epoch_is_the_mean_of_its_batches():
    first, second = rows(2)
    assert first["train_loss"] == pytest.approx((1 + 1 / 2 + 1 / 3) / 3)
    assert second["train_loss"] == pytest.approx((1 / 2 + 1 / 3 + 1 / 4) / 3)
    assert (second["epoch"], second["step"]) == (2, 6)


def test_a_log_goes_on_from_its_state():
    whole, part = EpochLog(), EpochLog()
    figures = [BatchFigures(loss, 0.1, 0.2) for loss in (0.1, 0.2, 0.7)]
    for batch in figures:
        whole.add(batch)
    for batch in figures[:2]:
        part.add(batch)
    part = EpochLog(**part.state())
    part.add(figures[2])
    assert whole.close(3, 1.0, {}) == part.close(3, 1.0, {})


def test_the_table_has_a_line_an_epoch_with_six_digits(tmp_path):
    write_epochs(tmp_path / "epochs.csv", rows(2), {"1": 12.3456789})
    with (tmp_path / "epochs.csv").open(newline="", encoding="utf-8") as lines:
        first, second = csv.DictReader(lines)
    assert list(first)[:4] == ["epoch", "step", "learning_rate", "seconds"]
    assert (first["seconds"], second["seconds"]) == ("12.3457", "0")
    assert (first["train_loss"], first["val_fscore"]) == ("0.611111", "0.333333")


@pytest.mark.parametrize("count", [1, 80])
def test_the_curves_are_a_png_of_three_panels(tmp_path, count):
    draw_curves(tmp_path / "curves.png", rows(count))
    image = cv2.imread(str(tmp_path / "curves.png"))
    height, width = image.shape[:2]
    assert width > 1000
    assert 300 < height < width
    orange, blue = ((np.abs(image.astype(int) - colour).sum(2) < 30) for colour in ((0, 94, 213), (178, 114, 0)))
    for panel in range(3):  # both lines are in each panel
        part = np.s_[:, panel * width // 3 : (panel + 1) * width // 3]
        assert orange[part].sum() > 20
        assert blue[part].sum() > 20


def test_a_stopwatch_goes_on_from_earlier_seconds():
    watch = Stopwatch({"1": 100.0})
    watch.lap(1)
    watch.lap(2)
    assert 100 <= watch.seconds["1"] < 101
    assert 0 <= watch.seconds["2"] < 1


def test_without_tensorboard_events_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(events, "find_spec", lambda _: None)
    with pytest.raises(SettingsError, match=r"wsiseg\[tensorboard\]"):
        events.Events(tmp_path)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_tensorboard_reads_the_events(tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    tell = events.Events(tmp_path)
    for row in (None, *rows(2)):
        tell(Progress(row["step"] if row else 1, 6, 2, 0.5, row))
    found = EventAccumulator(str(tmp_path)).Reload()
    assert [event.step for event in found.Scalars("loss/val")] == [3, 6]
    assert found.Scalars("loss/val")[1].value == pytest.approx(0.5)
