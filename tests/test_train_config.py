"""Training configs: TOML in, one frozen value out, and every slip named."""

import json

import pytest
from conftest import ROOT
from training_data import TOML

from wsiseg.errors import SettingsError
from wsiseg.train.config import TrainConfig


def read(tmp_path, text):
    path = tmp_path / "train.toml"
    path.write_text(text, "utf-8")
    return TrainConfig.from_toml(path)


def test_a_config_is_read_whole(tmp_path):
    config = read(tmp_path, TOML)
    assert config.model.decoder_channels == (8, 8, 8, 8, 8)
    assert config.model.classes[0].color == (0, 200, 80)
    assert config.sources[0].share == 1.0
    assert config.schedule.learning_rate == 1e-3
    assert config.draft_spec().head == "nuclei"
    assert json.loads(json.dumps(config.as_dict()))["schedule"]["steps"] == 4


@pytest.mark.parametrize(
    ("old", "new", "match"),
    [
        ("steps = 4", "steps = ", "Invalid value"),
        ("steps = 4", 'steps = "six"', "schedule.steps is 'six', not a int"),
        ("steps = 4", "steps = 4.0", r"schedule.steps is 4.0"),
        ("steps = 4", "steps = true", "schedule.steps is True"),
        ("steps = 4", "", "steps"),
        ("steps = 4", "steps = 0", "at least 1"),
        ("crop_px = 64", "crop_px = 60", "multiple of 32"),
        ("batch = 2", "batches = 2", r"unknown key in \[schedule\]: batches"),
        ("mean = [0.5, 0.5, 0.5]", "mean = [0.5]", "model.mean has 1 values instead of 3"),
        ("mean = [0.5, 0.5, 0.5]", "mean = 0.5", "model.mean is not a list"),
        ("color = [0, 200, 80]", "color = [0, 200, 8.5]", r"classes\[0\].color\[2\] is 8.5"),
        ('[[sources]]\nfolder = "discs"', "sources = []", "unknown key"),
        ("[schedule]", "[model.head_settings]\nprobability = 'x'\n[schedule]", "head_settings.probability"),
    ],
)
def test_slips_are_named(tmp_path, old, new, match):
    with pytest.raises(SettingsError, match=match) as caught:
        read(tmp_path, TOML.replace(old, new))
    assert caught.value.code == "E-CONFIG"


def test_an_absent_config_is_refused(tmp_path):
    with pytest.raises(SettingsError, match="E-CONFIG"):
        TrainConfig.from_toml(tmp_path / "absent.toml")


def test_the_shipped_recipe_is_a_config():
    config = TrainConfig.from_toml(ROOT / "workflows/default_model/nuclei-025.toml")
    assert config.model.name == "nuclei-025"
