"""Score a bundle on labelled fields: predict each whole, decode it, and compare at the truth's resolution."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from wsiseg.host import usable_cores
from wsiseg.models.devices import OPENVINO, choose_device
from wsiseg.models.heads import make_head
from wsiseg.models.network import load_network
from wsiseg.predict import predictor_on
from wsiseg.train.data import read_index, read_rgb
from wsiseg.train.dots import DOTS
from wsiseg.train.pixels import at_mpp, normalised
from wsiseg.train.scores import EvaluationResult
from wsiseg.train.scoring import Scoring

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import numpy.typing as npt
    from torch import nn

    from wsiseg.models.bundle import ModelBundle, ModelSpec

    Pixels = npt.NDArray[np.uint8]
    FieldMaps = Callable[[Pixels, float], Pixels]
    """(h, w, 3) of so many um/px to (maps, h, w) at the model's."""

_STRIDE_PX = 32
"""The encoder halves the image five times."""


def evaluate_bundle(
    bundle: ModelBundle,
    data_dir: Path,
    split: str,
    device: str = "cpu",
    progress: Callable[[int, int], None] = lambda _done, _total: None,
    *,
    count_boxes: bool = False,
) -> EvaluationResult:
    """Score a bundle on one split of a data folder with an `index.csv`, of instance maps or of dots.

    Parameters
    ----------
    device
        As for `choose_device`; or `openvino`, to score what a run on it would compute.
    progress
        Called with the number of fields done and their total.
    count_boxes
        Take nuclei that only a box marks as nuclei of the box's shape, instead of ignoring its pixels.

    Raises
    ------
    BundleError
        The weights are refused.
    SettingsError
        E-DATA: the data folder cannot be used. E-DEVICE: no such device here.
    """
    scoring = Scoring.of(bundle, data_dir, count_boxes=count_boxes)
    entries = read_index(data_dir, split, DOTS if scoring.by_dots else "instances")
    torch.set_num_threads(usable_cores())
    maps_of = _field_maps(bundle, device)
    fields = []
    for done, entry in enumerate(entries, 1):
        rgb = read_rgb(entry.image)
        fields.append(scoring.score(entry, rgb.shape, maps_of(rgb, entry.mpp)))
        progress(done, len(entries))
    boxes = "count" if count_boxes else "ignore"
    return EvaluationResult(bundle, data_dir.resolve().name, split, boxes, tuple(fields), scoring.classes)


def _field_maps(bundle: ModelBundle, device: str) -> FieldMaps:
    """Load what turns fields into maps: float32 on any device of torch's, the number type of a run by OpenVINO."""
    if device == OPENVINO:
        predictor = predictor_on(bundle, device)
        return lambda rgb, mpp: whole_field(predictor.predict, rgb, mpp, bundle.spec.mpp)
    return FieldPredictor(load_network(bundle), bundle.spec, choose_device(device)).maps


class FieldPredictor:
    """A network that takes whole fields of any size and resolution.

    It computes in float32 on every device, unlike `wsiseg.predict`: a figure of a model card must come out the
    same wherever it is checked.
    """

    def __init__(self, network: nn.Module, spec: ModelSpec, device: torch.device | str = "cpu") -> None:
        self._network = network.to(device).to(memory_format=torch.channels_last).eval()
        self._head = make_head(spec)
        self._device = device
        self._spec = spec

    def maps(self, rgb: Pixels, mpp: float) -> Pixels:
        """Give (maps, h, w) at the model's mpp for an (h, w, 3) field of the given mpp."""
        return whole_field(self._predict, rgb, mpp, self._spec.mpp)

    @torch.inference_mode()
    def _predict(self, windows: Pixels) -> Pixels:
        batch = normalised(windows, self._spec.mean, self._spec.std, self._device)
        # Otherwise cuDNN rounds float32 to 10 bits of mantissa before it multiplies.
        with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
            maps = self._head.activate(self._network(batch))
        quantised: Pixels = (maps * 255).round().to(torch.uint8).cpu().numpy()
        return quantised


def whole_field(predict: Callable[[Pixels], Pixels], rgb: Pixels, mpp: float, model_mpp: float) -> Pixels:
    """Give (maps, h, w) at the model's mpp for an (h, w, 3) field of the given mpp.

    Parameters
    ----------
    predict
        (n, h, w, 3) to (n, maps, h, w), with h and w multiples of 32.
    """
    scaled = at_mpp(rgb, mpp, model_mpp)
    height, width = scaled.shape[:2]
    padded = np.pad(scaled, ((0, -height % _STRIDE_PX), (0, -width % _STRIDE_PX), (0, 0)), mode="symmetric")
    return predict(padded[None])[0, :, :height, :width]
