"""Evaluation: fields of any size and resolution, compared at the truth's grid."""

import numpy as np
import pytest
import torch
from test_models_bundle import GOOD

from wsiseg.models.bundle import DEFAULT_BUNDLE, ModelSpec, load_bundle
from wsiseg.train.evaluate import FieldPredictor, evaluate_bundle, to_grid
from wsiseg.train.pixels import at_mpp


class Darkness(torch.nn.Module):
    """A network that sees darkness, pixel by pixel."""

    def forward(self, pixels):
        return -20 * pixels[:, :1].expand(-1, 2, -1, -1)


@pytest.mark.parametrize("shape", [(64, 64), (33, 100), (5, 7), (1, 1)])
@pytest.mark.parametrize("mpp", [0.25, 0.5, 0.7])
def test_maps_have_the_fields_size_at_the_models_mpp(shape, mpp):
    spec = ModelSpec(**(GOOD | {"mpp": 0.5}))
    rgb = np.random.default_rng(0).integers(0, 256, (*shape, 3), np.uint8)
    maps = FieldPredictor(Darkness(), spec).maps(rgb, mpp)
    assert maps.shape == (2, *at_mpp(rgb, mpp, 0.5).shape[:2])
    if mpp == 0.5:
        assert ((maps[0] > 127) == (rgb[..., 0] < 127.5)).all()


def test_labels_come_back_to_the_truths_grid():
    labels = np.array([[1, 2], [3, 4]], np.int32)
    doubled = labels.repeat(2, 0).repeat(2, 1)
    assert (to_grid(labels, (4, 4)) == doubled).all()
    assert (to_grid(doubled, (2, 2)) == labels).all()
    assert (to_grid(doubled, (4, 4)) == doubled).all()


def test_the_default_bundle_on_real_validation_fields(shared, tmp_path):
    data = shared / "data" / "tnbc"
    if not data.is_dir():
        pytest.skip("TNBC is not beside the repository")
    rows = (data / "index.csv").read_text("utf-8").splitlines()
    val = [row for row in rows if ",val," in row][:2]
    for name in ("images", "instances"):
        (tmp_path / name).mkdir()
        for row in val:
            file = row.split(",")[name == "instances"]
            (tmp_path / file).write_bytes((data / file).read_bytes())
    (tmp_path / "index.csv").write_text("\n".join([rows[0], *val]), "utf-8")
    figures = evaluate_bundle(load_bundle(DEFAULT_BUNDLE), tmp_path, "val").as_dict()
    assert figures["images"] == 2
    assert figures["dice"] > 0.75
    assert figures["f1"] > 0.7
