"""The network with types: outlines are left alone, and the plane of types says what the types' network said."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from test_models_bundle import GOOD, refused
from tiny_models import SPEC, write_model
from torch import nn
from torch.nn import functional

from wsiseg.models.bundle import ClassSpec, ModelSpec, TypesSpec, load_bundle
from wsiseg.models.network import build_network, load_network
from wsiseg.models.typed import TypedNetwork
from wsiseg.predict import predictor_on
from wsiseg.typemap import CELL_PX, class_maps

CLASSES = tuple(ClassSpec(value, name, (value, 0, 0)) for value, name in ((4, "a"), (2, "b"), (9, "c")))
TYPED = replace(SPEC, head="nuclei", classes=CLASSES, types=TypesSpec("mobilenet_v2", 8, 1.0))
GOOD_TYPES = {"encoder": "mobilenet_v2", "channels": 8, "mpp": 1.0}
TWO = [{"value": 1, "name": "a", "color": [0, 0, 0]}, {"value": 2, "name": "b", "color": [9, 9, 9]}]


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(3)
    return build_network(TYPED).eval()


@pytest.fixture(scope="module")
def images():
    torch.manual_seed(4)
    return torch.randn(2, 3, 96, 128)


@torch.inference_mode()
def test_the_outlines_are_what_they_are_without_types(network, images):
    assert torch.equal(network(images)[:, :2], network.outlines(images))


@torch.inference_mode()
def test_each_cell_near_a_nucleus_holds_the_classes_of_the_shrunk_image(network, images):
    shrunk = functional.avg_pool2d(images, 2)
    expected = functional.interpolate(network.types(shrunk).softmax(1), size=(24, 32), mode="bilinear")
    found = network(images)
    near = found[:, :1].unfold(2, CELL_PX, CELL_PX).unfold(3, CELL_PX, CELL_PX).amax((1, 4, 5)) >= -2.2
    assert near.any()
    for plane, maps, wanted in zip(found[:, 2].numpy(), expected.numpy(), near.numpy(), strict=True):
        np.testing.assert_allclose(class_maps(plane, 3), np.where(wanted, maps, 0), atol=1e-5)
        assert not class_maps(plane, 16)[3:].any()


class Given(nn.Module):
    """Gives the same whatever it sees, and remembers the size of that."""

    def __init__(self, logits):
        super().__init__()
        self.logits = logits

    def forward(self, images):
        self.seen = images.shape[2:]
        return self.logits


@pytest.mark.parametrize("classes", [2, 3, 4, 5, 8, 9, 16])
def test_the_plane_is_what_pixel_shuffle_makes_of_one_map_a_class(classes):
    torch.manual_seed(classes)
    types = Given(torch.randn(2, classes, 16, 24))
    found = TypedNetwork(Given(torch.zeros(2, 2, 64, 96)), types, 1.0)(torch.zeros(2, 3, 64, 96))
    maps = functional.pad(types.logits.softmax(1), (0, 0, 0, 0, 0, 16 - classes))
    assert torch.equal(found[:, 2:], functional.pixel_shuffle(maps, CELL_PX))


@pytest.mark.parametrize("mpp", [0.6667, 1.0])
@torch.inference_mode()
def test_it_computes_in_half_precision_where_a_device_wants_that(mpp, images):
    network = build_network(replace(TYPED, types=TypesSpec("mobilenet_v2", 8, mpp))).eval()
    whole, half = network(images), network.half()(images.half())
    assert half.dtype == torch.float16
    assert (whole[:, 2] - half[:, 2]).abs().max() < 0.05


@pytest.mark.parametrize(
    ("share", "side"), [(1.0, 128), (0.75, 96), (0.5, 64), (0.375, 48), (0.25, 32), (0.125, 16)]
)
def test_types_see_their_share_of_the_image(share, side):
    types = Given(torch.zeros(1, 2, 8, 8))
    TypedNetwork(Given(torch.zeros(1, 2, 128, 128)), types, share)(torch.zeros(1, 3, 128, 128))
    assert types.seen == (side, side)


def test_where_there_is_surely_no_nucleus_no_class_is_given(network, images):
    network.outlines.segmentation_head[0].bias.data[0] -= 100
    with torch.inference_mode():
        assert not network(images)[:, 2].any()
    network.outlines.segmentation_head[0].bias.data[0] += 100


def test_a_predictor_gives_three_maps_and_the_outlines_of_the_bundle_without_types(tmp_path):
    typed = write_model(
        tmp_path / "typed", **{name: getattr(TYPED, name) for name in ("head", "classes", "types")}
    )
    plain = write_model(tmp_path / "plain", head="nuclei")
    with torch.no_grad():
        network = load_network(typed)
        load_network(plain)
    windows = np.random.default_rng(0).integers(0, 256, (2, 96, 96, 3), np.uint8)
    maps = predictor_on(typed, "cpu").predict(windows)
    assert maps.shape == (2, 3, 96, 96)
    assert class_maps(maps[0, 2], 3).sum(0).max() >= 254
    assert {name.partition(".")[0] for name, _ in network.named_parameters()} == {"outlines", "types"}


def test_a_spec_with_types_survives_the_round_trip():
    spec = ModelSpec.from_json(TYPED.to_json())
    assert spec == TYPED
    assert ModelSpec.from_json(json.dumps(GOOD).encode()).types is None  # as bundles were before there were types


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"classes": TWO}, "several classes need types"),
        ({"types": GOOD_TYPES}, "several classes need types"),
        ({"classes": TWO, "types": None}, "several classes need types"),
        ({"classes": TWO, "types": {}}, "types cannot be {}"),
        ({"classes": TWO, "types": GOOD_TYPES | {"more": 1}}, "types cannot be"),
        ({"classes": TWO, "types": GOOD_TYPES | {"mpp": 0.4}}, "types.mpp is not within 1 to 8 times mpp"),
        ({"classes": TWO, "types": GOOD_TYPES | {"mpp": 4.1}}, "types.mpp is not within 1 to 8 times mpp"),
        ({"classes": TWO, "types": GOOD_TYPES | {"channels": 0}}, "types cannot be"),
        ({"classes": TWO, "types": GOOD_TYPES | {"encoder": "../x"}}, "types cannot be"),
        ({"classes": TWO, "types": GOOD_TYPES, "head": "semantic"}, "the semantic head knows one class"),
        ({"classes": [{**TWO[0], "value": i, "name": f"{i}"} for i in range(1, 18)]}, "classes cannot be"),
    ],
)
def test_types_that_cannot_be_are_refused(changes, match):
    refused(json.dumps(GOOD | changes).encode(), match)


def test_an_encoder_of_types_that_nobody_knows_is_refused(tmp_path):
    spec = replace(TYPED, types=TypesSpec("mobilenet_v7", 8, 1.0))
    (tmp_path / "model.json").write_bytes(spec.to_json())
    with pytest.raises(Exception, match="no such encoder") as caught:
        build_network(load_bundle(tmp_path).spec)
    assert caught.value.code == "E-BUNDLE-SPEC"
