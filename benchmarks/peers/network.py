"""A bundle's network and decoding as a peer gets them: plain torch on the CPU, in the fastest number type.

It is the network of the bundle as anybody would load it, channels last. What wsiseg does to it for its own runs
(batch norms folded, activations fused, OpenVINO) belongs to wsiseg and is not given.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import numpy as np
import torch

from wsiseg.models.bundle import load_bundle
from wsiseg.models.network import load_network
from wsiseg.predict.numerics import choose_dtype

if TYPE_CHECKING:
    import numpy.typing as npt


class GivenNetwork:
    """Pixels to probability and core, and these to labels.

    Parameters
    ----------
    model
        A bundle, by name or folder.
    dtype
        Of the forward pass; the fastest of this processor if None.
    """

    def __init__(self, model: str, dtype: torch.dtype | None = None) -> None:
        bundle = load_bundle(model)
        self.mpp = bundle.spec.mpp
        self.seconds = 0.0
        """Spent in forward passes."""
        self._head = bundle.head()
        self._network = load_network(bundle).to(memory_format=torch.channels_last)
        self._dtype = dtype or choose_dtype(torch.device("cpu"))
        self._mean = torch.tensor(bundle.spec.mean).view(1, 3, 1, 1) * 255
        self._std = torch.tensor(bundle.spec.std).view(1, 3, 1, 1) * 255

    def maps(self, images: torch.Tensor) -> torch.Tensor:
        """Turn (n, 3, h, w) RGB of 0..255 into (n, 2, h, w) probability and core in fp32, 0..1."""
        started = time.perf_counter()
        half = self._dtype is torch.bfloat16
        with torch.inference_mode(), torch.autocast("cpu", dtype=torch.bfloat16, enabled=half):
            pixels = (images.float() - self._mean) / self._std
            logits = self._network(pixels.contiguous(memory_format=torch.channels_last)).float()
            maps: torch.Tensor = self._head.activate(logits)
        self.seconds += time.perf_counter() - started
        return maps

    def labels(self, maps: npt.NDArray[np.float32]) -> npt.NDArray[np.int32]:
        """Decode (2, h, w) maps into an (h, w) image with a number for each nucleus, as wsiseg's head does it."""
        return self._head.decode((maps * 255).round().astype(np.uint8)).image()
