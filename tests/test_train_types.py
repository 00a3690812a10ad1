"""Learning types: what weighs how much, and that outlines stay what they are."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from test_train_loop import KilledError, kill_at, read
from tiny_models import write_model
from training_data import TOML, TYPES_TOML, write_fields

from wsiseg.errors import SettingsError
from wsiseg.models.bundle import load_bundle
from wsiseg.models.network import load_network
from wsiseg.train.data import load_field, read_index
from wsiseg.train.folder import CHECKPOINT
from wsiseg.train.loop import train
from wsiseg.train.tasks import task_of


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    write_fields(folder / "discs")
    changes = {"encoder": "mobilenet_v2", "decoder_channels": (8, 8, 8, 8, 8), "head": "nuclei", "mpp": 0.5}
    changes["training"] = {"steps": 5}
    write_model(folder / "outlines", **changes)
    return folder


@pytest.fixture(scope="module")
def trained(data):
    config = read(data, TYPES_TOML)
    return config, train(config, data / "out", data, "cpu").bundle


@pytest.fixture
def task(data):
    return task_of(read(data, TYPES_TOML).draft_spec())


def test_only_the_types_are_learned(data, trained):
    _, bundle = trained
    assert bundle.spec.types.mpp == 1.0
    before, after = load_network(load_bundle(data / "outlines")), load_network(bundle)
    kept = after.outlines.state_dict()
    assert all(torch.equal(value, kept[name]) for name, value in before.state_dict().items() if value.ndim)
    encoder = after.types.encoder.state_dict()
    changed = [not torch.equal(value, encoder[name]) for name, value in before.encoder.state_dict().items()]
    assert any(changed)
    assert bundle.spec.training["outlines"] == {"steps": 5}


def test_a_killed_training_of_types_continues_to_the_same_files(data, trained, tmp_path):
    config, bundle = trained
    with pytest.raises(KilledError):
        train(config, tmp_path, data, "cpu", progress=kill_at(5))
    train(config, tmp_path, data, "cpu")
    for name in (CHECKPOINT, "bundle/model.json", "bundle/weights.safetensors"):
        assert (bundle.folder.parent / name).read_bytes() == (tmp_path / name).read_bytes(), name


def test_types_can_be_learned_anew_on_the_outlines_of_a_bundle_with_types(data, trained, tmp_path):
    _, bundle = trained
    text = TYPES_TOML.replace('"outlines"', f'"{bundle.folder}"')
    again = train(read(tmp_path, text), tmp_path / "out", data, "cpu").bundle
    stored = [load_file(one.folder / "weights.safetensors") for one in (bundle, again)]
    assert all(torch.equal(stored[0][name], stored[1][name]) for name in stored[0] if name.startswith("outlines."))
    assert again.spec.training["outlines"] == {"steps": 5}


def test_each_nucleus_weighs_the_same_and_the_background_nothing(data, task):
    (entry,) = read_index(data / "discs", "val")
    targets = task.targets(entry)
    labels, classes = (cv2.imread(str(path), -1) for path in (entry.instances, entry.classes))
    assert targets.shape == (2, *labels.shape)
    assert not targets[:, labels == 0].any()
    for name in np.unique(labels[labels > 0]):
        value = classes[labels == name][0]
        assert not targets[0 if value == 2 else 1][labels == name].any()
        weights = targets[0 if value == 7 else 1][labels == name]
        assert weights.sum() * entry.mpp**2 == pytest.approx(min(15.0, len(weights) * entry.mpp**2), rel=1e-5)


def test_nuclei_of_unknown_class_do_not_count(data, task):
    (entry,) = read_index(data / "discs", "val")
    assert not task.targets(replace(entry, classes=None)).any()


def test_the_loss_is_the_cross_entropy_of_the_cells_that_are_known(task):
    torch.manual_seed(0)
    logits, weight = torch.randn(1, 2, 4, 4), torch.ones(1, 1, 16, 16)
    targets = torch.zeros(1, 2, 16, 16)
    targets[:, 0, :4, :4] = 0.5
    targets[:, 1, 8:12, 4:8] = 1.0
    weight[..., 8:12, 4:6] = 0  # half of the second cell
    chances = logits.log_softmax(1)
    first = -(0.975 * chances[0, 0, 0, 0] + 0.025 * chances[0, 1, 0, 0])
    second = -(0.975 * chances[0, 1, 2, 1] + 0.025 * chances[0, 0, 2, 1])
    expected = (0.5 * first + 0.5 * second) / 1.0
    assert task.loss(logits, targets, weight) == pytest.approx(expected.item(), rel=1e-5)
    assert task.loss(logits, torch.zeros_like(targets), weight) == 0


def test_figures_are_of_cells_whose_class_is_known(task):
    targets, weight = torch.zeros(1, 2, 16, 16), torch.ones(1, 1, 16, 16)
    targets[:, 0, :8], targets[:, 1, 8:, :8] = 0.3, 0.3
    logits = torch.zeros(1, 2, 4, 4)
    logits[:, 0, :2], logits[:, 1, 2:] = 5, 5
    perfect = task.figures(torch.tensor(0.0), logits, targets, weight)
    assert (perfect.iou, perfect.fscore) == (1, 1)
    logits[:, 0, 0, 0], logits[:, 1, 0, 0] = 0, 5
    assert task.figures(torch.tensor(0.0), logits, targets, weight).iou == pytest.approx(11 / 13, abs=1e-4)


def test_a_class_that_the_model_does_not_have_is_refused(data, tmp_path):
    spec = read(tmp_path, TYPES_TOML.replace("value = 7", "value = 5")).draft_spec()
    (entry,) = read_index(data / "discs", "val")
    with pytest.raises(SettingsError, match="the class 7 is none of the model's") as caught:
        load_field(entry, task_of(spec))
    assert caught.value.code == "E-DATA"


def test_data_that_means_something_else_by_a_value_are_refused(data, task, tmp_path):
    task.check(data / "discs")
    (tmp_path / "classes.csv").write_text("value,name\n7,small\n3,more\n", "utf-8")
    task.check(tmp_path)
    (tmp_path / "classes.csv").write_text("value,name\n7,large\n", "utf-8")
    with pytest.raises(SettingsError, match="its class 7 is 'large', the model's is 'small'"):
        task.check(tmp_path)


@pytest.mark.parametrize(
    ("old", "new", "match"),
    [
        ('start_from = "outlines"\ntypes', "types", "no model.start_from"),
        (
            'start_from = "outlines"\ntypes',
            'start_share = 0.5\nstart_from = "outlines"\ntypes',
            "start_share is given",
        ),
        ("mpp = 1.0", "mpp = 0.4", "types.mpp is not within"),
        ("mpp = 1.0", "", r"missing key in \[model.types\]: mpp"),
        ("[model.types]", "[model.head_settings]", "head_settings.encoder"),
    ],
)
def test_a_config_of_types_that_cannot_be_is_refused(tmp_path, old, new, match):
    assert old in TYPES_TOML
    with pytest.raises(SettingsError, match=match):
        read(tmp_path, TYPES_TOML.replace(old, new))


def test_types_need_a_config_of_types(tmp_path):
    with pytest.raises(SettingsError, match="types_start_from is given"):
        read(tmp_path, TOML.replace('licence = "', 'types_start_from = "x"\nlicence = "'))


@pytest.mark.parametrize(
    ("old", "new", "match"),
    [
        ("mpp = 0.5", "mpp = 0.25", "whose mpp is 0.5"),
        ("[[sources]]", "[model.head_settings]\nprobability = 0.3\n\n[[sources]]", "whose head_settings"),
        (
            '[model.types]\nencoder = "mobilenet_v2"',
            '[model.types]\nencoder = "resnet18"',
            "whose encoder is mobilenet",
        ),
    ],
)
def test_outlines_that_are_not_the_configs_are_refused(data, tmp_path, old, new, match):
    assert old in TYPES_TOML
    config = read(tmp_path, TYPES_TOML.replace(old, new))
    with pytest.raises(SettingsError, match=match):
        train(config, tmp_path / "out", data, "cpu")
