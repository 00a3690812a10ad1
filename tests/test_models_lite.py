"""The network that is built of torch alone is the one of smp, bit by bit."""

from __future__ import annotations

import dataclasses
import subprocess
import sys

import pytest
import torch
from torch import nn

from wsiseg.models.bundle import bundle_names, load_bundle
from wsiseg.models.lite import SCALES, LiteUnet
from wsiseg.models.network import build_network, load_network, load_trainable

SPEC = load_bundle("nuclei-050").spec


@pytest.mark.parametrize("encoder", SCALES)
def test_it_computes_what_smp_does_to_the_last_bit(encoder):
    torch.manual_seed(0)
    smps = build_network(dataclasses.replace(SPEC, encoder=encoder)).eval()
    for module in smps.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)
    ours = LiteUnet(encoder, SPEC.decoder_channels, 2).eval()
    ours.load_state_dict(smps.state_dict())
    images = torch.randn(2, 3, 64, 96)
    with torch.inference_mode():
        assert torch.equal(ours(images), smps(images))
        with torch.autocast("cpu", torch.bfloat16):
            assert torch.equal(ours(images), smps(images))


@pytest.mark.parametrize("name", bundle_names())
@torch.inference_mode()
def test_every_shipped_bundle_has_it_its_types_included(name):
    bundle = load_bundle(name)
    ours, smps = load_network(bundle), load_trainable(bundle).eval()
    ours_modules = {type(module).__module__.partition(".")[0] for module in ours.modules()}
    assert ours_modules == {"torch", "wsiseg"}
    images = torch.randn(1, 3, 128, 192, generator=torch.Generator().manual_seed(1))
    assert torch.equal(ours(images), smps(images))


def test_to_predict_with_it_loads_no_library_of_networks():
    code = (
        "import sys; from wsiseg.models.bundle import load_bundle, bundle_names;"
        "from wsiseg.predict import predictor_on; predictor_on(load_bundle(bundle_names()[0]), 'cpu', threads=1);"
        "print({'timm', 'torchvision', 'segmentation_models_pytorch', 'torch._dynamo'} & set(sys.modules))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "set()"
