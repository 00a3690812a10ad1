"""The training loop: a killed and continued training is the undisturbed one."""

import pytest
import torch
from safetensors.torch import load_file
from training_data import TOML, write_fields

from wsiseg.errors import SettingsError
from wsiseg.models.network import load_network
from wsiseg.train.config import ScheduleConfig
from wsiseg.train.evaluate import evaluate_bundle
from wsiseg.train.export import export_bundle
from wsiseg.train.loop import rate_at, train


class KilledError(Exception):
    pass


@pytest.fixture
def recipe(tmp_path):
    write_fields(tmp_path / "discs")
    path = tmp_path / "train.toml"
    path.write_text(TOML, "utf-8")
    return path


def kill_at(step):
    def progress(now):
        if now.step == step:
            raise KilledError

    return progress


def test_a_killed_training_continues_to_the_same_weights(recipe, tmp_path):
    undisturbed = train(recipe, tmp_path / "a")
    for step in (1, 3, 5):  # before the first checkpoint, after one, and after validation
        with pytest.raises(KilledError):
            train(recipe, tmp_path / "b", progress=kill_at(step))
    steps = []
    continued = train(recipe, tmp_path / "b", progress=lambda now: steps.append(now.step))
    assert steps == [5, 6]
    assert undisturbed.read_bytes() == continued.read_bytes()


def test_a_finished_training_is_not_repeated(recipe, tmp_path):
    train(recipe, tmp_path / "a")
    steps = []
    train(recipe, tmp_path / "a", progress=steps.append)
    assert not steps
    train(recipe, tmp_path / "a", resume=False, progress=steps.append)
    assert len(steps) == 6


def test_validation_comes_when_it_is_due(recipe, tmp_path):
    figures = []
    train(recipe, tmp_path / "a", progress=lambda now: figures.append(now.validation))
    assert [found is not None for found in figures] == [False, False, True, False, False, True]
    assert set(figures[2]) == {"discs_loss", "discs_dice"}


def test_a_checkpoint_of_another_config_is_refused(recipe, tmp_path):
    train(recipe, tmp_path / "a")
    recipe.write_text(TOML.replace("batch = 2", "batch = 3"), "utf-8")
    with pytest.raises(SettingsError, match="belongs to another config"):
        train(recipe, tmp_path / "a")


def test_a_training_becomes_a_bundle_that_can_be_scored(recipe, tmp_path):
    checkpoint = train(recipe, tmp_path / "a")
    # Decoding is tuned after training: that is no other training.
    recipe.write_text(TOML + "[model.head_settings]\nprobability = 0.4\n", "utf-8")
    bundle = export_bundle(recipe, checkpoint, tmp_path / "bundle", {"note": 1})
    assert bundle.spec.head_settings == {"probability": 0.4}
    assert bundle.spec.training["steps"] == 6
    assert bundle.spec.metrics == {"note": 1}
    averaged = load_file(checkpoint)["averaged/segmentation_head.0.weight"]
    assert torch.allclose(load_network(bundle).segmentation_head[0].weight, averaged, atol=1e-3)
    result = evaluate_bundle(bundle, tmp_path / "discs", "val")
    assert result.images[0][0] == "images/2.png"
    assert result.as_dict()["images"] == 1
    assert 0 <= result.total.dice <= 1


def test_exporting_under_another_config_is_refused(recipe, tmp_path):
    checkpoint = train(recipe, tmp_path / "a")
    recipe.write_text(TOML.replace("mpp = 0.5", "mpp = 0.4"), "utf-8")
    with pytest.raises(SettingsError, match="belongs to another config"):
        export_bundle(recipe, checkpoint, tmp_path / "bundle")


def test_the_learning_rate_rises_and_falls():
    schedule = ScheduleConfig(steps=100, warmup_steps=10)
    rates = [rate_at(step, schedule) for step in range(100)]
    assert rates[0] == pytest.approx(0.1)
    assert max(rates) == rates[9] == rates[10] == 1
    assert rates[55] == pytest.approx(0.5)
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert rates[-1] < 1e-3
