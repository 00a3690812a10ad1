"""A network made ready for inference gives what it gave, whatever it is built from."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import nn

from wsiseg.models.bundle import load_bundle
from wsiseg.models.network import build_network
from wsiseg.predict.fusion import _ActivatedConvolution, fold_batch_norm, fuse_activations

ENCODERS = {
    "timm-tf_efficientnet_lite0": (True, True),
    "resnet34": (True, True),
    "inceptionv3": (True, True),
    "densenet121": (False, True),  # half of it normalises before it convolves
    "dpn68": (False, False),  # its code cannot be traced
}
"""Encoders: whether a network of theirs normalises nothing by itself any more, and has fused activations."""


def network_of(encoder):
    """A network whose normalisations do something, as after a training."""
    spec = dataclasses.replace(
        load_bundle("nuclei-025").spec, encoder=encoder, decoder_channels=(32, 16, 16, 16, 16)
    )
    torch.manual_seed(3)
    network = build_network(spec).eval()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.uniform_(-0.2, 0.2)
            module.running_var.uniform_(0.5, 2)
            module.weight.data.uniform_(0.5, 1.5)
            module.bias.data.uniform_(-0.2, 0.2)
    return network


@pytest.mark.parametrize("encoder", ENCODERS)
def test_a_network_gives_the_same_when_it_is_fused(encoder):
    images = torch.randn(1, 3, 64, 96).contiguous(memory_format=torch.channels_last)
    with torch.inference_mode():
        expected = network_of(encoder)(images)
        folded = fold_batch_norm(network_of(encoder))
        fused = fuse_activations(fold_batch_norm(network_of(encoder)), torch.float32)
        kinds = kinds_that_compute(fused, images)
        scale = float(expected.abs().max())
        assert torch.allclose(folded(images), expected, atol=1e-4 * scale)
        assert torch.allclose(fused(images), expected, atol=1e-4 * scale)
    normalised = any(issubclass(kind, nn.BatchNorm2d) for kind in kinds)
    assert (not normalised, _ActivatedConvolution in kinds) == ENCODERS[encoder]


def kinds_that_compute(network, images):
    kinds = set()
    hooks = [m.register_forward_hook(lambda m, *_: kinds.add(type(m))) for m in network.modules()]
    network(images)
    for hook in hooks:
        hook.remove()
    return kinds


@pytest.mark.parametrize(
    "activation", [nn.ReLU(), nn.ReLU6(), nn.SiLU(), nn.Hardswish()], ids=lambda each: type(each).__name__
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_each_activation_is_what_its_convolution_applies(activation, dtype):
    torch.manual_seed(0)
    plain = nn.Sequential(nn.Conv2d(8, 16, 3, stride=2, padding=1, groups=4), activation).eval()
    images = 6 * torch.randn(2, 8, 20, 24)
    with torch.inference_mode():
        expected = plain(images)
        fused = fuse_activations(plain, dtype)
        found = fused(images)
    assert isinstance(fused[1], nn.Identity)
    assert found.dtype is dtype
    assert torch.allclose(found.float(), expected, atol=1e-5 if dtype is torch.float32 else 0.05, rtol=0.01)


class Shared(nn.Module):
    """One convolution twice, and one whose output is wanted before and after its activation."""

    def __init__(self):
        super().__init__()
        self.twice, self.norm = nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)
        self.wanted, self.activation = nn.Conv2d(3, 3, 1), nn.ReLU()

    def forward(self, images):
        images = self.twice(self.norm(self.twice(images)))
        raw = self.wanted(images)
        return raw + self.activation(raw)


def test_a_convolution_that_somebody_else_needs_stays_as_it_is():
    torch.manual_seed(0)
    network = Shared().eval()
    network.norm.running_mean.fill_(0.5)
    images = torch.randn(1, 3, 8, 8)
    with torch.inference_mode():
        expected = network(images)
        assert torch.equal(fuse_activations(fold_batch_norm(network), torch.float32)(images), expected)


def test_a_convolution_that_pads_by_another_rule_keeps_its_activation():
    network = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1, padding_mode="reflect"), nn.ReLU()).eval()
    images = torch.randn(1, 3, 8, 8)
    with torch.inference_mode():
        expected = network(images)
        assert torch.equal(fuse_activations(network, torch.float32)(images), expected)
