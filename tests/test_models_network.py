"""Networks: the weights of a bundle are loaded exactly, or refused with the tensor's name."""

import dataclasses
import hashlib
import json

import numpy as np
import pytest
import torch
from safetensors.torch import save
from test_models_bundle import GOOD

from wsiseg.errors import BundleError
from wsiseg.models.bundle import DEFAULT_BUNDLE, ModelSpec, load_bundle
from wsiseg.models.encoders import encoder_names
from wsiseg.models.network import build_network, load_network, stored_tensors

SPEC = ModelSpec.from_json(json.dumps(GOOD).encode())


@pytest.fixture(scope="module")
def tensors():
    torch.manual_seed(0)
    return {name: value.half() for name, value in stored_tensors(build_network(SPEC)).items()}


def bundle_of(folder, weights, spec=SPEC):
    spec = dataclasses.replace(spec, weights_sha256=hashlib.sha256(weights).hexdigest())
    (folder / "model.json").write_bytes(spec.to_json())
    (folder / "weights.safetensors").write_bytes(weights)
    return load_bundle(folder)


def test_the_networks_weights_are_those_of_the_file(tmp_path, tensors):
    network = load_network(bundle_of(tmp_path, save(tensors)))
    assert not network.training
    loaded = stored_tensors(network)
    assert loaded.keys() == tensors.keys()
    assert all(torch.equal(loaded[name], tensors[name].float()) for name in tensors)
    assert network(torch.zeros(1, 3, 64, 64)).shape == (1, 2, 64, 64)


def _without(tensors, name):
    return {k: v for k, v in tensors.items() if k != name}


HEAD = "segmentation_head.0.bias"


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda t: _without(t, HEAD), f"{HEAD} is missing"),
        (lambda t: t | {"surplus": torch.zeros(1)}, "surplus is unknown"),
        (lambda t: t | {HEAD: torch.zeros(3)}, rf"{HEAD} has the shape \(3,\), not \(2,\)"),
        (lambda t: t | {HEAD: torch.zeros(2, dtype=torch.int64)}, f"{HEAD} has the type I64"),
        (lambda t: t | {HEAD: torch.tensor([0, float("nan")])}, f"{HEAD} holds values that are not finite"),
        (lambda t: t | {HEAD: torch.tensor([0, float("inf")])}, f"{HEAD} holds values that are not finite"),
    ],
)
def test_tensors_that_do_not_fit_are_named(tmp_path, tensors, change, match):
    with pytest.raises(BundleError, match=match) as caught:
        load_network(bundle_of(tmp_path, save(change(tensors))))
    assert caught.value.code == "E-BUNDLE-WEIGHTS"


def _header(tensors, edit):
    data = save(tensors)
    size = int.from_bytes(data[:8], "little")
    header = edit(data[8 : 8 + size])
    return len(header).to_bytes(8, "little") + header + data[8 + size :]


@pytest.mark.parametrize(
    "broken",
    [
        lambda t: b"",
        lambda t: b"\x80\x02}q\x00.",  # a pickle
        lambda t: save(t)[:-100],
        lambda t: save(t) + b"more",
        lambda t: _header(t, lambda h: h.replace(b'{"', b'{"twice":0,"twice":0,"', 1)),
        lambda t: _header(t, lambda h: b"[" * 50_000),
    ],
)
def test_what_is_not_safetensors_is_refused(tmp_path, tensors, broken):
    with pytest.raises(BundleError, match="not this bundle's weights"):
        load_network(bundle_of(tmp_path, broken(tensors)))


def forward(encoder, device):
    """The shape of what a network with this encoder gives for 64 px."""
    with torch.device(device), torch.inference_mode():
        network = build_network(dataclasses.replace(SPEC, encoder=encoder)).eval()
        return tuple(network(torch.zeros(1, 3, 64, 64)).shape)


@pytest.mark.parametrize("encoder", ["resnet34", "efficientnet-b2", "inceptionv3", "vgg19"])
def test_the_encoders_of_the_thesis_are_built(encoder):
    assert forward(encoder, "meta") == (1, 2, 64, 64)


@pytest.mark.slow
@pytest.mark.parametrize("encoder", [name for name in encoder_names() if name == "mit_b0" or name[:4] != "mit_"])
def test_every_encoder_is_built(encoder):
    device = "cpu" if encoder == "mit_b0" else "meta"  # which holds shapes and no numbers; mit_ reads some
    assert forward(encoder, device) == (1, 2, 64, 64)


@pytest.mark.slow
def test_a_bundle_with_our_own_encoder_is_loaded(tmp_path):
    spec = dataclasses.replace(SPEC, encoder="inceptionv3")
    tensors = stored_tensors(build_network(spec))
    network = load_network(bundle_of(tmp_path, save(tensors), spec))
    assert all(torch.equal(value, tensors[name]) for name, value in stored_tensors(network).items())


@pytest.mark.parametrize("encoder", ["no-such-encoder", "tu-resnet18", "wsiseg-inceptionv3"])
def test_an_encoder_that_is_not_on_the_list_is_refused(encoder):
    with pytest.raises(BundleError, match="no such encoder"):
        build_network(dataclasses.replace(SPEC, encoder=encoder))


def test_the_default_bundle_finds_a_dark_disc_on_pink_tissue():
    bundle = load_bundle(DEFAULT_BUNDLE)
    network, head = load_network(bundle), bundle.head()
    rows, columns = np.mgrid[:256, :256]
    inside = (rows - 128) ** 2 + (columns - 128) ** 2 < (3.0 / bundle.spec.mpp) ** 2
    rgb = np.where(inside[..., None], (90, 50, 130), (235, 190, 215)).astype(np.float32) / 255
    pixels = (rgb - np.array(bundle.spec.mean)) / np.array(bundle.spec.std)
    with torch.inference_mode():
        maps = head.activate(network(torch.from_numpy(pixels).float().permute(2, 0, 1)[None]))
    labels = head.decode((maps[0] * 255).round().byte().numpy()).image()
    assert labels.max() == 1
    assert ((labels > 0) & inside).sum() / ((labels > 0) | inside).sum() > 0.7
