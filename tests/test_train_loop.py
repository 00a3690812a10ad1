"""The training loop: a killed and continued training is the undisturbed one."""

import csv
import dataclasses
import json
import shutil
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file, save_file
from training_data import THESIS_TOML, TOML, write_fields

from wsiseg.errors import OutputError, SettingsError
from wsiseg.models.bundle import load_bundle
from wsiseg.models.network import build_network, load_network
from wsiseg.run.lock import locked
from wsiseg.train.checkpoint import load_checkpoint
from wsiseg.train.config import ScheduleConfig, TrainConfig
from wsiseg.train.evaluate import evaluate_bundle
from wsiseg.train.export import export_bundle
from wsiseg.train.folder import CHECKPOINT
from wsiseg.train.loop import train
from wsiseg.train.optimiser import depthwise_in_fp32, rate_at, training_dtype

RECIPES = {"ours": TOML, "thesis": THESIS_TOML}


class KilledError(Exception):
    pass


def read(folder, text=TOML):
    path = folder / "train.toml"
    path.write_text(text, "utf-8")
    return TrainConfig.from_toml(path)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    write_fields(folder / "discs")
    return folder


@pytest.fixture(scope="module", params=RECIPES)
def undisturbed(data, request):
    """A finished training: its config and output folder, and what it told on the way."""
    config, out, told = read(data, RECIPES[request.param]), data / request.param, []
    train(config, out, data, "cpu", progress=told.append)
    return config, out, told


def kill_at(step):
    def progress(now):
        if now.step == step:
            raise KilledError

    return progress


def without_seconds(path):
    with path.open(newline="", encoding="utf-8") as lines:
        return [{name: value for name, value in row.items() if name != "seconds"} for row in csv.DictReader(lines)]


def test_a_killed_training_continues_to_the_same_files(data, undisturbed, tmp_path):
    config, out, _ = undisturbed
    for step in (
        1,
        3,
        5,
    ):  # before the first checkpoint, at an epoch's end, and after a checkpoint inside an epoch
        with pytest.raises(KilledError):
            train(config, tmp_path, data, "cpu", progress=kill_at(step))
    steps = []
    train(config, tmp_path, data, "cpu", progress=lambda now: steps.append(now.step))
    assert steps == [5, 6]
    for name in (CHECKPOINT, "curves.png", "config.json", "bundle/model.json", "bundle/weights.safetensors"):
        assert (out / name).read_bytes() == (tmp_path / name).read_bytes(), name
    assert without_seconds(out / "epochs.csv") == without_seconds(tmp_path / "epochs.csv")


@pytest.mark.slow
def test_kill_9_and_the_same_command_end_with_the_same_bytes(data, undisturbed, tmp_path):
    config, out, _ = undisturbed
    text = RECIPES[out.name]
    (tmp_path / "train.toml").write_text(text, "utf-8")
    code = (
        "import os, signal, sys; from pathlib import Path; from wsiseg.train.config import TrainConfig;"
        "from wsiseg.train.loop import train\n"
        "def die(now):\n    if now.step == 5: os.kill(os.getpid(), signal.SIGKILL)\n"
        "config, out, data = map(Path, sys.argv[1:]);"
        "train(TrainConfig.from_toml(config), out, data, 'cpu', progress=die)"
    )
    arguments = [tmp_path / "train.toml", tmp_path / "out", data]
    killed = subprocess.run([sys.executable, "-c", code, *map(str, arguments)], check=False)
    assert killed.returncode == -9
    train(config, tmp_path / "out", data, "cpu")
    assert (out / CHECKPOINT).read_bytes() == (tmp_path / "out" / CHECKPOINT).read_bytes()


def test_a_finished_training_is_not_repeated(data, undisturbed):
    config, out, _ = undisturbed
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*") if path.suffix in (".safetensors", ".png")}
    outcome = train(config, out, data / "absent", "cpu")  # not even the data is looked at
    assert outcome.already_complete
    assert before == {path: path.stat().st_mtime_ns for path in before}


def test_fresh_begins_anew(data, undisturbed, tmp_path):
    config, out, _ = undisturbed
    shutil.copytree(out, tmp_path / "out")
    with pytest.raises(KilledError):
        train(config, tmp_path / "out", data, "cpu", fresh=True, progress=kill_at(1))
    assert not (tmp_path / "out" / CHECKPOINT).exists()
    assert not (tmp_path / "out/epochs.csv").exists()


def test_each_epoch_has_a_row(undisturbed):
    config, out, told = undisturbed
    assert [now.row is not None for now in told] == [False, False, True] * 2
    with (out / "epochs.csv").open(newline="", encoding="utf-8") as lines:
        first, last = csv.DictReader(lines)
    names = [f"{part}_{figure}" for part in ("train", "val") for figure in ("loss", "iou", "fscore")]
    assert list(first) == ["epoch", "step", "learning_rate", "seconds", *names]
    assert (first["epoch"], first["step"], last["epoch"], last["step"]) == ("1", "3", "2", "6")
    assert float(first["train_loss"]) == pytest.approx(sum(now.loss for now in told[:3]) / 3, rel=1e-5)
    assert float(last["learning_rate"]) == pytest.approx(rate_at(5, config.schedule), rel=1e-5)
    assert float(first["seconds"]) > 0
    assert all(0 < float(last[name]) < 1 for name in names if "loss" not in name)


def test_the_config_is_written_down_whole(undisturbed):
    config, out, _ = undisturbed
    as_json = json.loads(json.dumps(config.as_dict()))
    assert json.loads((out / "config.json").read_text()) == as_json
    assert json.loads((out / "bundle/model.json").read_text())["training"]["config"] == as_json


def test_several_sources_have_columns_of_their_own(data, tmp_path):
    write_fields(tmp_path / "discs")
    write_fields(tmp_path / "more", splits=("train", "val", "val"), side=100)
    text = TOML.replace("[schedule]", '[[sources]]\nfolder = "more"\n\n[schedule]').replace(
        "epochs = 2", "epochs = 1"
    )
    train(read(tmp_path, text), tmp_path / "out", tmp_path, "cpu")
    (row,) = without_seconds(tmp_path / "out/epochs.csv")
    ours = {name: float(value) for name, value in row.items() if name.startswith("val_")}
    for figure in ("loss", "iou", "fscore"):  # one field of the first source, two of the second
        parts = ours[f"val_{figure}:discs"], ours[f"val_{figure}:more"]
        assert ours[f"val_{figure}"] == pytest.approx((parts[0] + 2 * parts[1]) / 3, rel=1e-4)


def test_another_config_in_the_same_folder_is_refused(data, undisturbed, tmp_path):
    config, out, _ = undisturbed
    other = dataclasses.replace(config, schedule=dataclasses.replace(config.schedule, seed=7))
    before = (out / "config.json").read_bytes()
    with pytest.raises(SettingsError, match="belongs to another config"):
        train(other, out, data, "cpu")
    assert (out / "config.json").read_bytes() == before
    with pytest.raises(SettingsError, match="belongs to another config"):
        export_bundle(other, out / CHECKPOINT, tmp_path / "bundle")


def test_what_is_no_checkpoint_is_refused(data, tmp_path):
    for write in (lambda path: path.write_bytes(b"no"), lambda path: save_file({"x": torch.zeros(1)}, path)):
        write(tmp_path / CHECKPOINT)
        with pytest.raises(OutputError, match="not a checkpoint of ours"):
            train(read(data), tmp_path, data, "cpu")


def test_two_trainings_do_not_share_a_folder(data, tmp_path):
    with locked(tmp_path), pytest.raises(OutputError, match="E-LOCKED"):
        train(read(data), tmp_path, data, "cpu")


def test_a_training_becomes_a_bundle_that_can_be_scored(data, undisturbed, tmp_path):
    config, out, _ = undisturbed
    # Decoding is tuned after training: that is no other training.
    model = dataclasses.replace(config.model, head_settings={"probability": 0.4})
    config, folder = dataclasses.replace(config, model=model), tmp_path / "bundle"
    bundle = export_bundle(config, out / CHECKPOINT, folder)
    summary = evaluate_bundle(bundle, data / "discs", "val").summary()
    bundle = export_bundle(config, out / CHECKPOINT, folder, {"discs val": summary})
    assert bundle.spec.head_settings == {"probability": 0.4}
    assert bundle.spec.training["steps"] == 6
    assert len(bundle.spec.training["history"]) == 2
    assert bundle.spec.metrics["discs val"]["images"] == 1
    group = "averaged" if config.schedule.ema_decay else "network"
    trained = load_file(out / CHECKPOINT)[f"{group}/segmentation_head.0.weight"]
    assert torch.allclose(load_network(bundle).segmentation_head[0].weight, trained, atol=1e-3)


def test_without_an_average_none_is_kept(undisturbed):
    config, out, _ = undisturbed
    groups, _ = load_checkpoint(out / CHECKPOINT)
    assert ("averaged" in groups) == bool(config.schedule.ema_decay)


def started_from(data, tmp_path, line, text=TOML):
    """Take one step of no size, and give the network."""
    text = text.replace('licence = "', f'{line}\nlicence = "').replace("epochs = 2", "epochs = 1")
    text = text.replace("steps_per_epoch = 3", "steps_per_epoch = 1\nlearning_rate = 1e-9")
    train(read(tmp_path, text), tmp_path / "out", data, "cpu")
    return load_checkpoint(tmp_path / "out" / CHECKPOINT)[0]["network"]


def test_a_training_can_start_from_a_bundle(data, undisturbed, tmp_path):
    shutil.copytree(undisturbed[1] / "bundle", data / "bundles" / undisturbed[1].name, dirs_exist_ok=True)
    text = TOML if undisturbed[1].name == "ours" else TOML.replace('"nuclei"', '"semantic"')
    found = started_from(data, tmp_path, f'start_from = "bundles/{undisturbed[1].name}"', text)
    for name, tensor in load_file(undisturbed[1] / "bundle/weights.safetensors").items():
        if "running" not in name:
            assert torch.allclose(found[name], tensor.float(), atol=1e-6), name


def test_a_bundle_can_keep_a_share_of_its_start(data, undisturbed, tmp_path):
    config, out, _ = undisturbed
    shutil.copytree(out / "bundle", data / "bundles" / out.name, dirs_exist_ok=True)
    text = TOML.replace('"nuclei"', f'"{config.model.head}"')
    text = text.replace('licence = "', f'start_from = "bundles/{out.name}"\nstart_share = 0.25\nlicence = "')
    mixed = train(read(tmp_path, text), tmp_path / "out", data, "cpu").bundle
    groups, _ = load_checkpoint(tmp_path / "out" / CHECKPOINT)
    learned = groups.get("averaged", groups["network"])
    start = load_network(load_bundle(out / "bundle")).state_dict()
    changed = 0
    for name, value in load_file(mixed.folder / "weights.safetensors").items():
        assert torch.allclose(value.float(), 0.75 * learned[name] + 0.25 * start[name], rtol=1e-3, atol=1e-4), name
        changed += not torch.allclose(learned[name], start[name], rtol=1e-3, atol=1e-4)
    assert changed > 10


@pytest.mark.parametrize(
    ("old", "new", "key"),
    [
        ("mobilenet_v2", "resnet18", "encoder"),
        ("[8, 8, 8, 8, 8]", "[8, 8, 8, 8, 4]", "decoder_channels"),
        ('std = [0.5, 0.5, 0.5]', 'std = [0.5, 0.5, 0.4]', "std"),
        ('head = "nuclei"', 'head = "semantic"', "head"),
    ],
)  # fmt: skip
def test_a_bundle_of_another_network_is_no_start(data, undisturbed, tmp_path, old, new, key):
    config, out, _ = undisturbed
    text = TOML.replace('"nuclei"', f'"{config.model.head}"')
    text = text.replace(old, new) if old in text else text.replace('head = "semantic"', 'head = "nuclei"')
    with pytest.raises(SettingsError, match=rf"start_from names a bundle whose {key} is") as caught:
        started_from(out, tmp_path, 'start_from = "bundle"', text)
    assert caught.value.code == "E-CONFIG"


def test_a_training_can_start_from_an_encoders_weights(data, tmp_path):
    torch.manual_seed(1)
    encoder = build_network(read(tmp_path).draft_spec()).encoder.state_dict()
    save_file({name: value.contiguous() for name, value in encoder.items()}, tmp_path / "own.safetensors")
    found = started_from(data, tmp_path, f"encoder_weights = '{tmp_path / 'own.safetensors'}'")
    for name, tensor in encoder.items():
        if "running" not in name and tensor.is_floating_point():
            assert torch.allclose(found[f"encoder.{name}"], tensor, atol=1e-6), name


def test_depthwise_convolutions_compute_in_full_precision_inside_autocast():
    torch.manual_seed(0)
    features = torch.randn(2, 8, 16, 16, dtype=torch.bfloat16)
    depthwise, dense = torch.nn.Conv2d(8, 8, 3, groups=8), torch.nn.Conv2d(8, 8, 3)
    expected = {layer: layer(features.float()).to(torch.bfloat16) for layer in (depthwise, dense)}
    depthwise_in_fp32(torch.nn.Sequential(depthwise, dense))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = {layer: layer(features) for layer in expected}
    assert torch.equal(found[depthwise], expected[depthwise])
    assert found[depthwise].dtype is found[dense].dtype is torch.bfloat16
    assert not torch.equal(found[dense], expected[dense]), "only where bf16 is slow"


def test_bf16_learns_about_the_same(data, tmp_path):
    told = []
    for precision in ("fp32", "bf16"):
        text = TOML.replace('"fp32"', f'"{precision}"').replace("epochs = 2", "epochs = 1")
        train(read(tmp_path, text), tmp_path / precision, data, "cpu", progress=told.append)
    losses = [now.loss for now in told]
    assert losses[:3] != losses[3:]
    assert losses[:3] == pytest.approx(losses[3:], rel=0.05)


def test_precision_follows_the_device():
    cpu = torch.device("cpu")
    assert training_dtype("fp32", cpu) is torch.float32
    assert training_dtype("bf16", cpu) is torch.bfloat16
    assert training_dtype("auto", torch.device("mps")) is torch.float32


def test_the_learning_rate_rises_and_falls():
    schedule = ScheduleConfig(steps_per_epoch=10, epochs=10, warmup_steps=10, learning_rate=2.0)
    rates = [rate_at(step, schedule) for step in range(100)]
    assert rates[0] == pytest.approx(0.2)
    assert max(rates) == rates[9] == rates[10] == 2
    assert rates[55] == pytest.approx(1)
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert rates[-1] < 2e-3
    constant = dataclasses.replace(schedule, decay="constant", warmup_steps=0)
    assert {rate_at(step, constant) for step in range(100)} == {2.0}
