"""What the engine asks of a network, whatever computes it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt


class Predictor(Protocol):
    """What the engine asks of a network on a device."""

    @property
    def batch(self) -> int:
        """Tiles in one forward pass at most."""
        ...

    @property
    def numerics(self) -> dict[str, Any]:
        """What decides the bits of the result besides the bundle."""
        ...

    def predict(self, windows: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        """Turn (n, h, w, 3) RGB windows into (n, channels, h, w) maps, 255 = 1.0; h and w are multiples of 32.

        Raises
        ------
        ResourceError
            E-MEMORY: not even one window fits. E-DEVICE-FAILED: the device gave up.
        InternalError
            E-NONFINITE: the network gave NaN or infinity.
        """
        ...
