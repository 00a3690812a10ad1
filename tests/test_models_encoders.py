"""Encoders: which there are, an Inception-V3 whose tiles meet, and where ImageNet weights come from."""

import functools
import os
import subprocess
import sys
import time
from types import SimpleNamespace

import pytest
import segmentation_models_pytorch as smp
import timm
import torch
from fake_hub import COMMIT, closed_port, fake_hub
from safetensors.torch import save, save_file
from torch import nn
from torch.nn import functional

from wsiseg.errors import ResourceError, SettingsError
from wsiseg.models.encoders import (
    encoder_names,
    hub,
    load_encoder_weights,
    load_imagenet,
    preprocessing,
    register_encoders,
    smp_name,
    weights,
)
from wsiseg.models.encoders.inception import InceptionV3Encoder

SIZES = [64, 192, 288, 768, 2048]
SMALL = [
    "densenet121",
    "dpn68",
    "efficientnet-b0",
    "inceptionv3",
    "mit_b0",
    "mobilenet_v2",
    "mobileone_s0",
    "resnet18",
    "timm-efficientnet-b0",
    "timm-skresnet18",
    "timm-tf_efficientnet_lite0",
    "vgg11",
]
"""One of each family, so far as it is small."""


def build(encoder):
    """A network so far as loading weights needs it."""
    register_encoders()
    return SimpleNamespace(encoder=smp.encoders.get_encoder(smp_name(encoder), weights=None))


# The names


def test_the_encoders_of_the_thesis_are_there_and_those_of_all_of_timm_are_not():
    names = encoder_names()
    assert {"resnet34", "efficientnet-b2", "inceptionv3", "vgg19"} <= set(names)
    too_large = {"resnext101_32x32d", "resnext101_32x48d", "timm-efficientnet-l2"}
    assert set(smp.encoders.get_encoder_names()) - set(names) <= {"wsiseg-inceptionv3", *too_large}
    assert not too_large & set(names)
    assert not [name for name in names if name.startswith(("tu-", "wsiseg-"))]


def test_registering_twice_changes_nothing_and_leaves_an_inception_of_smp_alone(monkeypatch):
    monkeypatch.setitem(smp.encoders.encoders, "inceptionv3", {"encoder": nn.Identity})
    before = encoder_names()
    register_encoders()
    register_encoders()
    assert encoder_names() == before
    assert smp.encoders.encoders["inceptionv3"] == {"encoder": nn.Identity}
    assert isinstance(build("inceptionv3").encoder, InceptionV3Encoder)


@pytest.mark.slow
def test_importing_does_not_register():
    code = (
        "import wsiseg.models.network, segmentation_models_pytorch as smp;"
        "print([n for n in smp.encoders.encoders if 'inceptionv3' in n])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("encoder", "timms"),
    [
        ("resnet34", "resnet34.tv_in1k"),
        ("efficientnet-b2", "efficientnet_b2.ra_in1k"),
        ("vgg19", "vgg19.tv_in1k"),
        ("inceptionv3", "inception_v3.tv_in1k"),
        ("inceptionv4", "inception_v4.tf_in1k"),
        ("inceptionresnetv2", "inception_resnet_v2.tf_in1k"),
        ("xception", "legacy_xception.tf_in1k"),
        ("timm-tf_efficientnet_lite0", "tf_efficientnet_lite0.in1k"),
        ("timm-efficientnet-b0", "tf_efficientnet_b0.aa_in1k"),
        ("dpn68", "dpn68.mx_in1k"),
        ("densenet121", "densenet121.tv_in1k"),
    ],
)
def test_preprocessing_is_what_timm_says_of_the_same_weights(encoder, timms):
    config = timm.get_pretrained_cfg(timms)
    mean, std = preprocessing(encoder)
    assert mean == pytest.approx(config.mean, abs=1e-6)
    assert std == pytest.approx(config.std, abs=1e-6)


# Inception-V3


@pytest.fixture(scope="module")
def timms():
    """timm's own network with random weights whose activations neither die nor explode."""
    torch.manual_seed(0)
    network = timm.create_model("inception_v3", pretrained=False, aux_logits=True).eval()
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight)
        elif isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)
    return network


@pytest.fixture(scope="module")
def inception(timms, tmp_path_factory):
    """Our encoder with timm's weights, from a file as timm would write it, classifiers and all."""
    path = tmp_path_factory.mktemp("weights") / "inception_v3.safetensors"
    save_file(timms.state_dict(), path)
    network = build("inceptionv3")
    load_encoder_weights(network, path)
    return network.encoder.eval()


def test_inception_has_timms_tensors_and_no_other(timms, inception):
    classifiers = ("fc.", "AuxLogits.")
    theirs = {name: value for name, value in timms.state_dict().items() if not name.startswith(classifiers)}
    ours = inception.state_dict()
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], value) for name, value in theirs.items())


@torch.inference_mode()
def test_inception_is_timms_network_with_every_padding_made_same(timms, inception, monkeypatch):
    x = torch.randn(2, 3, 160, 96)
    for module in timms.modules():
        if isinstance(module, nn.Conv2d):
            monkeypatch.setattr(module, "padding", tuple(side // 2 for side in module.kernel_size))
        elif isinstance(module, nn.MaxPool2d):
            monkeypatch.setattr(module, "padding", 1)
    padded = SimpleNamespace(**vars(functional))
    padded.max_pool2d = functools.partial(functional.max_pool2d, padding=1)
    monkeypatch.setattr(sys.modules[type(timms).__module__], "F", padded)
    expected = timms.forward_intermediates(x, intermediates_only=True)
    features = inception(x)
    assert torch.equal(features[0], x)
    assert [tuple(f.shape) for f in features[1:]] == [
        (2, size, 160 // s, 96 // s) for size, s in zip(SIZES, (2, 4, 8, 16, 32), strict=True)
    ]
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(features[1:], expected, strict=True))


@pytest.mark.parametrize(("side", "scales"), [(320, 3), pytest.param(1664, 5, marks=pytest.mark.slow)])
@torch.inference_mode()
def test_away_from_the_edges_inception_sees_what_timms_network_sees(timms, inception, side, scales):
    x = torch.randn(1, 3, side, side)
    theirs = timms.forward_intermediates(x, intermediates_only=True)
    # Without padding the first pixel of 1/32 has its centre at 37, with it at 0; 5 px make the lattices meet.
    ours = inception(x[..., 5:, 5:])[1:]
    for scale, shift in zip(range(scales), (-1, 1, 1, 1, 1), strict=False):
        middle = theirs[scale].shape[-1] // 2
        here, there = slice(middle - 2, middle + 2), slice(middle - 2 + shift, middle + 2 + shift)
        torch.testing.assert_close(ours[scale][..., there, there], theirs[scale][..., here, here])


@torch.inference_mode()
def test_inceptions_features_move_with_the_image(inception):
    x = torch.randn(1, 3, 352, 352)
    whole, moved = inception(x), inception(x[..., 32:, 32:])
    for scale in (1, 2, 3):  # further down, a tile's edge is seen everywhere
        shift, margin = 32 >> scale, 112 >> scale
        inner = moved[scale][..., margin:-margin, margin:-margin]
        again = whole[scale][..., shift + margin : -margin, shift + margin : -margin]
        torch.testing.assert_close(inner, again)


# Weights from a file


@pytest.mark.parametrize("encoder", SMALL)
def test_a_file_must_hold_all_tensors_of_the_encoder(tmp_path, encoder):
    network = build(encoder)
    path = tmp_path / "w.safetensors"
    tensors = network.encoder.state_dict()
    missing = next(name for name in tensors if name.endswith("weight"))
    save_file({name: value for name, value in tensors.items() if name != missing}, path)
    with pytest.raises(SettingsError, match=rf"E-WEIGHTS.*Missing key.*{missing}.*w\.safetensors"):
        load_encoder_weights(network, path)


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (save({"conv.weight": torch.zeros(1)}), r"Missing key.* \.\.\.;"),
        (b"\x80\x02}q\x00.", "header"),  # a pickle
        (b"", "header"),
        (None, "No such file"),
    ],
)
def test_another_file_is_refused_in_one_line(tmp_path, content, match):
    path = tmp_path / "w.safetensors"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(SettingsError, match=match) as caught:
        load_encoder_weights(build("mobilenet_v2"), path)
    assert caught.value.code == "E-WEIGHTS"
    assert len(str(caught.value)) < 600


@pytest.mark.parametrize(
    ("encoder", "file"),
    [
        ("timm-tf_efficientnet_lite0", "tf_efficientnet_lite0.timm.safetensors"),
        ("mobilenet_v2", "mobilenet_v2.smp-encoder.safetensors"),
    ],
)
def test_published_files_load(shared, encoder, file):
    network = build(encoder)
    before = {name: value.clone() for name, value in network.encoder.state_dict().items()}
    load_encoder_weights(network, shared / "data" / "weights" / file)
    after = network.encoder.state_dict()
    assert not any(torch.equal(before[name], after[name]) for name in before if name.endswith("conv.weight"))


# Weights from the hub


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch):
    """Ask the fake hub itself, whatever the machine's proxy."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("no_proxy", "127.0.0.1")


def use(monkeypatch, endpoint, cache):
    monkeypatch.setattr(weights, "fetch", functools.partial(hub.fetch, endpoint=endpoint, cache=cache))


def test_imagenet_weights_come_from_the_hub_and_then_from_its_cache(monkeypatch, tmp_path):
    first, second = build("mobilenet_v2"), build("mobilenet_v2")
    tensors = {name: torch.full_like(value, 2) for name, value in first.encoder.state_dict().items()}
    content = save(tensors | {"classifier.1.weight": torch.zeros(2)})
    with fake_hub("serve", content) as served:
        use(monkeypatch, served.endpoint, tmp_path)
        load_imagenet(first, "mobilenet_v2")
        assert {path.split("/resolve/")[0] for _, path in served.asked} == {"/smp-hub/mobilenet_v2.imagenet"}
    load_imagenet(second, "mobilenet_v2")  # nobody answers any more
    for network in (first, second):
        assert all(torch.equal(value, tensors[name]) for name, value in network.encoder.state_dict().items())


def test_a_branch_is_found_in_the_cache_too(tmp_path):
    with fake_hub("serve", b"content") as served:
        path = hub.fetch("a/b", "main", endpoint=served.endpoint, cache=tmp_path)
    assert path.read_bytes() == b"content"
    assert COMMIT in str(path)
    assert hub.fetch("a/b", "main", endpoint=served.endpoint, cache=tmp_path) == path


def test_inceptions_weights_are_timms(monkeypatch, tmp_path):
    with fake_hub("404") as served:
        use(monkeypatch, served.endpoint, tmp_path)
        with pytest.raises(
            ResourceError, match=r"E-HUB.*timm/inception_v3\.tv_in1k/resolve/main/model\.safetensors"
        ):
            load_imagenet(SimpleNamespace(), "inceptionv3")
    assert timm.get_pretrained_cfg("inception_v3").hf_hub_id == "timm/inception_v3.tv_in1k"


@pytest.mark.parametrize(
    ("mode", "match"),
    [
        ("404", "404"),
        ("503", "503"),
        ("silent", "no answer within 0.5 s"),
        ("trickle", "no answer within 0.5 s"),
        ("short", "size"),
        ("breaks off", "50000"),
    ],
)
def test_a_hub_that_fails_is_told_in_one_line(monkeypatch, tmp_path, mode, match):
    monkeypatch.setattr(hub, "ANSWER_SECONDS", 0.5)
    monkeypatch.setattr(time, "sleep", lambda _: None)  # between the client's attempts to resume
    with fake_hub(mode, bytes(100_000)) as served:
        begun = time.monotonic()
        with pytest.raises(ResourceError, match=match) as caught:
            hub.fetch("a/b", "main", endpoint=served.endpoint, cache=tmp_path)
        assert time.monotonic() - begun < 3
    assert caught.value.code == "E-HUB"
    assert "\n" not in str(caught.value)
    assert "--encoder-weights" in str(caught.value)
    assert not list(tmp_path.rglob("snapshots/*/*"))


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["refused", "silent"])
def test_a_hub_out_of_reach_is_told_within_ten_seconds(tmp_path, mode):
    """In a process of its own, with the hub's own environment variables and nothing replaced."""
    code = (
        "import time; from types import SimpleNamespace; from wsiseg.models.encoders import load_imagenet;"
        "\nbegun = time.monotonic()"
        "\ntry: load_imagenet(SimpleNamespace(), 'resnet34')"
        "\nexcept Exception as error: print(error)"
        "\nprint(time.monotonic() - begun)"
    )
    with fake_hub("silent") as silent:
        endpoint = silent.endpoint if mode == "silent" else f"http://127.0.0.1:{closed_port()}"
        environment = os.environ | {"HF_ENDPOINT": endpoint, "HF_HOME": str(tmp_path)}
        found = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment
        )
    line, seconds = found.stdout.splitlines()
    assert line.startswith("error[E-HUB]")
    assert f"{endpoint}/smp-hub/resnet34.imagenet/resolve/" in line
    assert float(seconds) < 10
    assert found.stderr == ""


def test_a_hub_file_of_another_network_is_refused(monkeypatch, tmp_path):
    with fake_hub("serve", save({"conv.weight": torch.zeros(1)})) as served:
        use(monkeypatch, served.endpoint, tmp_path)
        with pytest.raises(SettingsError, match=r"E-WEIGHTS.*Missing key"):
            load_imagenet(build("mobilenet_v2"), "mobilenet_v2")


@pytest.mark.parametrize(
    "settings",
    [
        {"imagenet": {"url": "https://example.org/weights.pth"}},  # a pickle
        {"instagram": {"repo_id": "smp-hub/resnet34.instagram", "revision": "main"}},
    ],
)
def test_weights_that_nobody_has_as_safetensors_are_refused(monkeypatch, settings):
    monkeypatch.setitem(smp.encoders.encoders["resnet34"], "pretrained_settings", settings)
    with pytest.raises(SettingsError, match=r"E-WEIGHTS.*no ImageNet weights.*resnet34.*--encoder-weights"):
        load_imagenet(SimpleNamespace(), "resnet34")


def test_every_encoder_of_smp_names_a_hub_repository_or_has_no_imagenet_weights():
    """What `load_imagenet` reads of smp's table is there, in this version of smp."""
    register_encoders()
    sources = {
        name: smp.encoders.encoders[smp_name(name)]["pretrained_settings"].get("imagenet")
        for name in encoder_names()
    }
    assert {"resnet34", "efficientnet-b2", "inceptionv3", "vgg19"} <= {name for name, s in sources.items() if s}
    assert all("/" in source["repo_id"] and source["revision"] for source in sources.values() if source)
