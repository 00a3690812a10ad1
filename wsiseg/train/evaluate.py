"""Score a bundle on labelled fields: predict each whole, decode it, and compare at the truth's resolution."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from wsiseg.models.heads import make_head
from wsiseg.models.network import load_network
from wsiseg.train.data import read_index, read_labels, read_rgb
from wsiseg.train.metrics import Counts, compare
from wsiseg.train.pixels import at_mpp, normalised

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import numpy.typing as npt
    from torch import nn

    from wsiseg.models.bundle import ModelBundle, ModelSpec

_STRIDE_PX = 32
"""The encoder halves the image five times."""


@dataclass(frozen=True, slots=True)
class EvaluationResult:
    """Figures of one bundle on one split."""

    bundle: str
    split: str
    images: tuple[tuple[str, Counts], ...]
    """Path of each image, below the data folder, and its counts."""

    @property
    def total(self) -> Counts:
        """The counts of all images together."""
        return sum((counts for _, counts in self.images), Counts())

    def as_dict(self) -> dict[str, Any]:
        """Give what `wsiseg evaluate --json` prints; `mean` averages over images, the rest pools them."""
        total = self.total
        each = [counts for _, counts in self.images]
        names = ("dice", "f1", "precision", "recall", "pq", "aji")
        return {
            "bundle": self.bundle,
            "split": self.split,
            "images": len(each),
            "nuclei_true": total.true,
            "nuclei_predicted": total.predicted,
            **{name: round(getattr(total, name), 4) for name in names},
            "mean": {
                name: round(sum(getattr(counts, name) for counts in each) / len(each), 4)
                for name in ("dice", "f1", "pq", "aji")
            },
        }


def evaluate_bundle(
    bundle: ModelBundle,
    data_dir: Path,
    split: str,
    device: str = "cpu",
    progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> EvaluationResult:
    """Score a bundle on one split of a data folder with an `index.csv`.

    Parameters
    ----------
    progress
        Called with the number of fields done and their total.

    Raises
    ------
    BundleError
        The weights are refused.
    SettingsError
        E-DATA: the data folder cannot be used.
    """
    spec, head = bundle.spec, bundle.head()
    entries = read_index(data_dir, split)
    predictor = FieldPredictor(load_network(bundle), spec, device)
    found = []
    for done, entry in enumerate(entries, 1):
        labels = head.decode(predictor.maps(read_rgb(entry.image), entry.mpp))
        truth = read_labels(entry.instances)
        counts = compare(truth, to_grid(labels, truth.shape))
        found.append((entry.image.relative_to(data_dir).as_posix(), counts))
        progress(done, len(entries))
    return EvaluationResult(spec.name, split, tuple(found))


class FieldPredictor:
    """A network that takes whole fields of any size and resolution."""

    def __init__(self, network: nn.Module, spec: ModelSpec, device: str = "cpu") -> None:
        self._network = network.to(device).to(memory_format=torch.channels_last).eval()
        self._head = make_head(spec)
        self._device = device
        self._spec = spec

    @torch.inference_mode()
    def maps(self, rgb: npt.NDArray[np.uint8], mpp: float) -> npt.NDArray[np.uint8]:
        """Give (maps, h, w) at the model's mpp for an (h, w, 3) field of the given mpp."""
        scaled = at_mpp(rgb, mpp, self._spec.mpp)
        height, width = scaled.shape[:2]
        padded = np.pad(scaled, ((0, -height % _STRIDE_PX), (0, -width % _STRIDE_PX), (0, 0)), mode="symmetric")
        batch = normalised(padded[None], self._spec.mean, self._spec.std, self._device)
        maps = self._head.activate(self._network(batch))[0, :, :height, :width]
        quantised: npt.NDArray[np.uint8] = (maps * 255).round().to(torch.uint8).cpu().numpy()
        return quantised


def to_grid(labels: npt.NDArray[np.int32], shape: tuple[int, ...]) -> npt.NDArray[np.int32]:
    """Bring labels to the grid of another resolution of the same field, by the nearest pixel's centre."""
    rows, columns = (
        ((np.arange(wanted) + 0.5) * have / wanted).astype(np.intp)
        for have, wanted in zip(labels.shape, shape, strict=True)
    )
    return labels[np.ix_(rows, columns)]
