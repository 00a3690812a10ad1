"""`wsiseg train`: what it says while it works, and with which exit status it ends."""

import json

import pytest
from safetensors.torch import save_file
from training_data import TOML, write_fields

from wsiseg.cli import _status
from wsiseg.cli.train import Report
from wsiseg.models.network import build_network
from wsiseg.train.config import TrainConfig
from wsiseg.train.loop import Progress

ROW = {"epoch": 2, "step": 20} | {
    f"{part}_{name}": 0.5 for part in ("train", "val") for name in ("loss", "iou", "fscore")
}


@pytest.fixture
def folder(tmp_path):
    write_fields(tmp_path / "discs")
    (tmp_path / "train.toml").write_text(TOML, "utf-8")
    return tmp_path


def test_a_training_tells_its_epochs_and_is_not_repeated(folder, capsys):
    network = build_network(TrainConfig.from_toml(folder / "train.toml").draft_spec())
    save_file(
        {name: value.contiguous() for name, value in network.encoder.state_dict().items()},
        folder / "e.safetensors",
    )
    command = ["train", str(folder / "train.toml"), "-o", str(folder / "out"), "--device", "cpu"]
    command += ["--encoder-weights", str(folder / "e.safetensors")]
    assert _status(command) == 0
    printed = capsys.readouterr()
    assert printed.out == f"bundle: {folder / 'out' / 'bundle'}\n"
    assert "epoch 1/2: training loss" in printed.err
    assert "step 4/6, loss" in printed.err
    assert json.loads((folder / "out/config.json").read_text())["model"]["encoder_weights"] == "e.safetensors"
    assert _status(command) == 0
    assert "Already complete; nothing to do" in capsys.readouterr().out
    assert _status(command[:-2]) == 2
    assert "belongs to another config" in capsys.readouterr().err


@pytest.fixture
def weights(folder):
    """A file of the encoder's weights outside the data folder."""
    network = build_network(TrainConfig.from_toml(folder / "train.toml").draft_spec())
    tensors = {name: value.contiguous() for name, value in network.encoder.state_dict().items()}
    path = folder / "downloads of somebody" / "own.safetensors"
    path.parent.mkdir()
    save_file(tensors, path)
    return path


def test_where_a_file_of_weights_lies_is_recorded_nowhere(folder, weights, capsys):
    data, out = folder / "data", folder / "out"
    data.mkdir()
    (folder / "discs").rename(data / "discs")
    command = ["train", str(folder / "train.toml"), "-o", str(out), "--data", str(data), "--device", "cpu"]
    command += ["--encoder-weights", str(weights)]
    assert _status(command) == 0
    assert json.loads((out / "config.json").read_text())["model"]["encoder_weights"] == "own.safetensors"
    assert "begun with own.safetensors" in (out / "bundle/README.md").read_text("utf-8")
    written = [path for path in out.rglob("*") if path.is_file()]
    assert len(written) > 6
    assert [path.name for path in written if b"downloads of somebody" in path.read_bytes()] == []
    assert _status(command) == 0
    assert "Already complete; nothing to do" in capsys.readouterr().out


def test_the_encoder_may_begin_at_random_whatever_the_config_says(folder):
    text = TOML.replace('licence = "', 'encoder_weights = "absent.safetensors"\nlicence = "')
    (folder / "train.toml").write_text(text.replace("epochs = 2", "epochs = 1"), "utf-8")
    command = ["train", str(folder / "train.toml"), "-o", str(folder / "out"), "--device", "cpu"]
    assert _status(command) == 2
    assert _status([*command, "--encoder-weights", "none"]) == 0
    assert "begun with random weights" in (folder / "out/bundle/README.md").read_text("utf-8")


def test_a_slip_in_the_config_is_one_line(folder, capsys):
    (folder / "train.toml").write_text(TOML.replace("batch = 2", "batch = 0"), "utf-8")
    assert _status(["train", str(folder / "train.toml"), "-o", str(folder / "out")]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "error[E-CONFIG]: schedule.batch is 0, not at least 1" in line
    assert not (folder / "out").exists()


def test_the_first_line_comes_soon_and_others_now_and_then(monkeypatch, capsys):
    now = 0.0
    monkeypatch.setattr("wsiseg.cli.train.time.monotonic", lambda: now)
    report = Report()
    for step in range(1, 21):
        now += 3.0
        report(Progress(step, 1000, 50, 0.25, ROW if step == 20 else None))
    first, second, third, epoch = capsys.readouterr().err.splitlines()
    assert first == "step 4/1,000, loss 0.2500, 3.00 s/step, about 50 min left"
    assert second.startswith("step 11/1,000")
    assert third.startswith("step 18/1,000")
    assert epoch.startswith("epoch 2/50: training loss 0.5000 IoU 0.5000 F 0.5000; validation loss 0.5000")


def test_a_long_training_that_goes_on_says_so_and_how_many_hours_are_left(monkeypatch, capsys):
    now = 0.0
    monkeypatch.setattr("wsiseg.cli.train.time.monotonic", lambda: now)
    report = Report()
    for step in range(101, 105):
        now += 2.0
        report(Progress(step, 15680, 80, 0.25, None))
    first, second = capsys.readouterr().err.splitlines()
    assert first == "going on after step 100"
    assert "about 8 h 39 min left" in second
