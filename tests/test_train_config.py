"""Training configs: TOML in, one frozen value out, and every slip named."""

import json

import pytest
from conftest import ROOT
from training_data import THESIS_TOML, TOML

from wsiseg.errors import SettingsError
from wsiseg.models.encoders import preprocessing
from wsiseg.train.config import TrainConfig


def read(tmp_path, text, **override):
    path = tmp_path / "train.toml"
    path.write_text(text, "utf-8")
    return TrainConfig.from_toml(path, **override)


def test_a_config_is_read_whole(tmp_path):
    config = read(tmp_path, TOML)
    assert config.model.decoder_channels == (8, 8, 8, 8, 8)
    assert config.model.classes[0].color == (0, 200, 80)
    assert config.sources[0].share == 1.0
    assert config.schedule.learning_rate == 1e-3
    assert config.schedule.steps == 6
    assert config.draft_spec().head == "nuclei"
    assert json.loads(json.dumps(config.as_dict()))["schedule"]["epochs"] == 2


@pytest.mark.parametrize(
    ("old", "new", "match"),
    [
        ("epochs = 2", "epochs = ", "Invalid value"),
        ("epochs = 2", 'epochs = "six"', "schedule.epochs is 'six', not a int"),
        ("epochs = 2", "epochs = 4.0", r"schedule.epochs is 4.0"),
        ("epochs = 2", "epochs = true", "schedule.epochs is True"),
        ("epochs = 2", "", r"missing key in \[schedule\]: epochs"),
        ("epochs = 2", "epochs = 0", "schedule.epochs is 0, not at least 1"),
        ("threads = 1", "learning_rate = nan", "schedule.learning_rate is nan, not a finite number"),
        ("threads = 1", "ema_decay = 1.0", "schedule.ema_decay is 1.0, not within 0 to 0.999999"),
        ("threads = 1", 'optimiser = "sgd"', "schedule.optimiser is 'sgd', not one of adam, adamw"),
        ("threads = 1", 'optimiser = "adam"', "schedule.weight_decay is not 0"),
        ("threads = 1", 'crop = "center"', "augmentation.scale_min and scale_max are not 1"),
        ("threads = 1", "[augmentation]\nblur = 1.5", "augmentation.blur is 1.5, not within 0 to 1"),
        ("threads = 1", "[augmentation]\nscale_min = 2", "scale_min is above augmentation.scale_max"),
        ("threads = 1", "[augmentation]\ncontrast_min = 2", "contrast_min is above augmentation.contrast_max"),
        ("crop_px = 64", "crop_px = 60", "schedule.crop_px is not a multiple of 32"),
        ("batch = 2", "batches = 2", r"unknown key in \[schedule\]: batches"),
        ("mean = [0.5, 0.5, 0.5]", "mean = [0.5]", "model.mean has 1 values instead of 3"),
        ("mean = [0.5, 0.5, 0.5]", "mean = 0.5", "model.mean is not a list"),
        ("color = [0, 200, 80]", "color = [0, 200, 8.5]", r"classes\[0\].color\[2\] is 8.5"),
        ('[[sources]]\nfolder = "discs"', "[sources]", "sources is not a list"),
        ('folder = "discs"', 'folder = "discs"\n[[sources]]\nfolder = "discs"', "names a folder twice"),
        ("[schedule]", "[model.head_settings]\nprobability = 'x'\n[schedule]", "head_settings.probability"),
        ("[schedule]", "[model.head_settings]\nprobability = 7\n[schedule]", "probability is 7.0"),
        ('name = "tiny"', 'name = "Tiny!"', "name cannot be"),
        ('"mobilenet_v2"', '"mobilenet_v7"', "model.encoder is 'mobilenet_v7': there is no such encoder"),
        ('licence = "', 'encoder_weights = "imagenet"\nstart_from = "x"\nlicence = "', "exclude each other"),
        ('licence = "', 'start_share = 0.5\nlicence = "', "no model.start_from"),
    ],
)
def test_slips_are_named(tmp_path, old, new, match):
    assert old in TOML
    with pytest.raises(SettingsError, match=match) as caught:
        read(tmp_path, TOML.replace(old, new))
    assert caught.value.code == "E-CONFIG"


def test_shares_mean_nothing_where_each_field_comes_once_a_pass(tmp_path):
    second = '[[sources]]\nfolder = "more"\nshare = 0.5\n\n[schedule]'
    with pytest.raises(SettingsError, match=r"sources\.share differs"):
        read(tmp_path, THESIS_TOML.replace("[schedule]", second))


def test_absolute_paths_of_data_are_refused(tmp_path):
    with pytest.raises(SettingsError, match=r"sources\.folder is an absolute path"):
        read(tmp_path, TOML.replace('"discs"', f"'{tmp_path / 'discs'}'"))


@pytest.mark.parametrize("key", ["encoder_weights", "start_from"])
def test_of_an_absolute_path_only_the_last_name_is_recorded(tmp_path, key):
    config = read(tmp_path, TOML.replace('licence = "', f"{key} = '{tmp_path / 'own'}'\nlicence = \""))
    assert getattr(config.model, key) == str(tmp_path / "own")
    assert config.as_dict()["model"][key] == "own"
    config = read(tmp_path, TOML.replace('licence = "', f'{key} = "weights/own"\nlicence = "'))
    assert config.as_dict()["model"][key] == "weights/own"


def test_an_absent_config_is_refused(tmp_path):
    with pytest.raises(SettingsError, match="E-CONFIG"):
        TrainConfig.from_toml(tmp_path / "absent.toml")


def test_without_mean_and_std_the_encoders_own_are_taken(tmp_path):
    model = read(tmp_path, TOML.replace("mean = [0.5, 0.5, 0.5]\nstd = [0.5, 0.5, 0.5]", "")).model
    assert (model.mean, model.std) == preprocessing("mobilenet_v2")


def test_encoder_weights_can_be_overridden(tmp_path):
    text = TOML.replace('licence = "', 'encoder_weights = "imagenet"\nlicence = "')
    assert read(tmp_path, text).model.encoder_weights == "imagenet"
    assert read(tmp_path, text, encoder_weights="other.safetensors").model.encoder_weights == "other.safetensors"
    assert read(tmp_path, text, encoder_weights="").model.encoder_weights == ""


@pytest.mark.parametrize("path", sorted(ROOT.glob("workflows/*/*.toml")), ids=lambda path: path.name)
def test_each_recipe_is_a_config(path):
    config = TrainConfig.from_toml(path)
    assert config.model.name == path.stem.removesuffix("-types")


@pytest.mark.parametrize("path", sorted(ROOT.glob("workflows/thesis/*.toml")), ids=lambda path: path.name)
def test_the_thesis_recipes_have_the_thesis_settings(path):
    config = TrainConfig.from_toml(path)
    schedule = config.schedule
    assert (schedule.optimiser, schedule.learning_rate, schedule.decay) == ("adam", 5e-5, "constant")
    assert (schedule.batch, schedule.steps_per_epoch, schedule.epochs) == (8, 196, 80)
    assert (schedule.crop, schedule.crop_px, config.model.head) == ("center", 256, "semantic")
    assert (schedule.ema_decay, schedule.clip_norm, schedule.warmup_steps) == (0, 0, 0)
    still = dict.fromkeys(config.as_dict()["augmentation"], 0) | dict.fromkeys(
        ["scale_min", "scale_max", "contrast_min", "contrast_max", "resample_max"], 1
    )
    assert config.as_dict()["augmentation"] == still
