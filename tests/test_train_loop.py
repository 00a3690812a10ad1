"""The training loop: a killed and continued training is the undisturbed one."""

import shutil

import pytest
import torch
from safetensors.torch import load_file
from training_data import TOML, write_fields

from wsiseg.errors import SettingsError
from wsiseg.models.network import load_network
from wsiseg.train.config import ScheduleConfig
from wsiseg.train.evaluate import evaluate_bundle
from wsiseg.train.export import export_bundle
from wsiseg.train.loop import CHECKPOINT, rate_at, train


class KilledError(Exception):
    pass


def write_recipe(folder, text=TOML):
    path = folder / "train.toml"
    path.write_text(text, "utf-8")
    return path


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    write_fields(folder / "discs")
    return folder


@pytest.fixture(scope="module")
def undisturbed(data):
    """A finished training: its output folder, and what it told on the way."""
    told = []
    train(write_recipe(data), data / "out", progress=told.append)
    return data / "out", told


def kill_at(step):
    def progress(now):
        if now.step == step:
            raise KilledError

    return progress


def test_a_killed_training_continues_to_the_same_weights(data, undisturbed, tmp_path):
    recipe = write_recipe(tmp_path)
    for step in (1, 3):  # before the first checkpoint, and after it, in the middle of a validation period
        with pytest.raises(KilledError):
            train(recipe, tmp_path / "out", data, progress=kill_at(step))
    steps = []
    continued = train(recipe, tmp_path / "out", data, progress=lambda now: steps.append(now.step))
    assert steps == [3, 4]
    assert (undisturbed[0] / CHECKPOINT).read_bytes() == continued.read_bytes()


def test_a_finished_training_is_not_repeated(data, undisturbed):
    steps = []
    train(data / "train.toml", undisturbed[0], progress=steps.append)
    assert not steps


def test_without_resuming_a_training_begins_anew(data, undisturbed, tmp_path):
    shutil.copy(undisturbed[0] / CHECKPOINT, tmp_path)
    with pytest.raises(KilledError):
        train(write_recipe(tmp_path), tmp_path, data, resume=False, progress=kill_at(1))


def test_validation_comes_when_it_is_due(undisturbed):
    figures = [now.validation for now in undisturbed[1]]
    assert [found is not None for found in figures] == [False, True, False, True]
    assert set(figures[1]) == {"discs_loss", "discs_dice"}


def test_a_checkpoint_of_another_config_is_refused(data, undisturbed, tmp_path):
    other = write_recipe(tmp_path, TOML.replace("batch = 2", "batch = 3"))
    with pytest.raises(SettingsError, match="belongs to another config"):
        train(other, undisturbed[0], data)
    with pytest.raises(SettingsError, match="belongs to another config"):
        export_bundle(other, undisturbed[0] / CHECKPOINT, tmp_path / "bundle")


def test_a_training_becomes_a_bundle_that_can_be_scored(data, undisturbed, tmp_path):
    checkpoint = undisturbed[0] / CHECKPOINT
    # Decoding is tuned after training: that is no other training.
    recipe = write_recipe(tmp_path, TOML + "[model.head_settings]\nprobability = 0.4\n")
    bundle = export_bundle(recipe, checkpoint, tmp_path / "bundle", {"note": 1})
    assert bundle.spec.head_settings == {"probability": 0.4}
    assert bundle.spec.training["steps"] == 4
    assert bundle.spec.metrics == {"note": 1}
    averaged = load_file(checkpoint)["averaged/segmentation_head.0.weight"]
    assert torch.allclose(load_network(bundle).segmentation_head[0].weight, averaged, atol=1e-3)
    result = evaluate_bundle(bundle, data / "discs", "val")
    assert result.images[0][0] == "images/2.png"
    assert result.as_dict()["images"] == 1
    assert 0 <= result.total.dice <= 1


def test_the_learning_rate_rises_and_falls():
    schedule = ScheduleConfig(steps=100, warmup_steps=10)
    rates = [rate_at(step, schedule) for step in range(100)]
    assert rates[0] == pytest.approx(0.1)
    assert max(rates) == rates[9] == rates[10] == 1
    assert rates[55] == pytest.approx(0.5)
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert rates[-1] < 1e-3
