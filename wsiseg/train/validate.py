"""Quick figures of a network in training: loss and Dice on whole validation fields, without decoding."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from wsiseg.models.heads import make_head
from wsiseg.models.network import build_network
from wsiseg.train.data import load_field, read_index
from wsiseg.train.pixels import at_mpp, normalised

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import numpy.typing as npt
    from torch import Tensor

    from wsiseg.models.bundle import ModelSpec
    from wsiseg.train.data import TrainingField


class Validation:
    """The validation fields of all sources, at the model's resolution."""

    def __init__(self, spec: ModelSpec, root: Path, folders: Sequence[str]) -> None:
        self._spec = spec
        self._head = make_head(spec)
        self._network = build_network(spec).to(memory_format=torch.channels_last).eval()
        self._sources = {
            folder: [
                _cut_to_network(load_field(entry, self._head), spec.mpp)
                for entry in read_index(root / folder, "val")
            ]
            for folder in folders
        }

    @torch.inference_mode()
    def figures(self, weights: dict[str, Tensor]) -> dict[str, float]:
        """Give loss and pooled Dice of each source under the given weights."""
        self._network.load_state_dict(weights)
        found = {}
        for folder, fields in self._sources.items():
            losses, both, either = [], 0.0, 0.0
            for pixels, targets in fields:
                logits = self._network(normalised(pixels[None], self._spec.mean, self._spec.std))
                truth = torch.from_numpy(targets).permute(2, 0, 1)[None].float() / 255
                losses.append(self._head.loss(logits, truth, torch.ones_like(truth[:, :1])).item())
                inside, real = self._head.activate(logits)[:, 0] >= 0.5, truth[:, 0] >= 0.5
                both += float((inside & real).sum())
                either += float(inside.sum() + real.sum())
            found[f"{folder}_loss"] = sum(losses) / len(losses)
            found[f"{folder}_dice"] = 2 * both / max(either, 1.0)
        return found


def _cut_to_network(source: TrainingField, mpp: float) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
    """Resample a field to the model's mpp and cut it to multiples of 32 px, which the encoder needs."""
    rgb, targets = at_mpp(source.rgb, source.mpp, mpp), at_mpp(source.targets, source.mpp, mpp)
    height, width = (n // 32 * 32 for n in rgb.shape[:2])
    return np.ascontiguousarray(rgb[:height, :width]), np.ascontiguousarray(targets[:height, :width])
