"""Heads: the last layer of the network and everything that depends on what it means.

A head's layer, targets, loss and decoding change together, so they live in one module. This package knows no
slide and no file. Nothing here imports torch until a tensor is wanted: workers that only decode never pay for it.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    import numpy.typing as npt
    from torch import Tensor

    from wsiseg.geometry import Box
    from wsiseg.labels import Labels

HEADS: dict[str, str] = {
    "nuclei": "wsiseg.models.heads.nuclei:NucleiHead",
    "semantic": "wsiseg.models.heads.semantic:SemanticHead",
}
"""Name in model.json -> module:attribute, loaded on use."""


class HeadSpec(Protocol):
    """What a head needs to know of its bundle."""

    @property
    def head(self) -> str:
        """A key of `HEADS`."""

    @property
    def head_settings(self) -> Mapping[str, float]:
        """Thresholds of the decoding, chosen on validation data."""

    @property
    def class_count(self) -> int:
        """Classes without the background."""

    @property
    def mpp(self) -> float:
        """Micrometres per pixel of the maps."""


class Head(Protocol):
    """What the network's last layer means: from labels to targets and loss, and from maps to labels."""

    name: str
    """A key of `HEADS`."""
    maps: tuple[str, ...]
    """The channels of the stored maps; the first is always the foreground's probability."""
    channels: int
    """Output channels of the network's last layer."""
    margin_px: int
    """How far a pixel's label can depend on the maps: a window that is this much larger than a block on every
    side gives the block's pixels the same nuclei as the whole slide would."""

    def activate(self, logits: Tensor) -> Tensor:
        """Turn the network's (n, channels, h, w) output into (n, len(maps), h, w) maps in [0, 1]."""

    def targets(self, labels: npt.NDArray[np.integer]) -> npt.NDArray[np.float32]:
        """Turn (h, w) labels, 0 = background, into the (maps, h, w) maps of a perfect network, but for types."""

    def loss(self, logits: Tensor, targets: Tensor, weight: Tensor) -> Tensor:
        """Compare (n, channels, h, w) logits with (n, maps, h, w) targets.

        Parameters
        ----------
        weight
            (n, 1, h, w); 0 where the truth is unknown.
        """

    def decode(self, maps: npt.NDArray[np.uint8], area: Box | None = None) -> Labels:
        """Turn (len(maps), h, w) maps, quantised to 0..255, into labels.

        Each label is one 4-connected component. The numbers themselves mean nothing.

        Parameters
        ----------
        area
            Of these pixels: what lies wholly above, below, left or right of it may be left out.
        """


def make_head(spec: HeadSpec) -> Head:
    """Build the head that a bundle names.

    Raises
    ------
    KeyError
        No such head.
    ValueError
        A setting is unknown or out of range.
    """
    module, _, attribute = HEADS[spec.head].partition(":")
    head: Head = getattr(import_module(module), attribute).from_spec(spec)
    return head
