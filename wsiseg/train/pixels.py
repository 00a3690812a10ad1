"""From fields of any resolution to what the network takes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np
import torch

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt


def at_mpp(image: npt.NDArray[np.uint8], mpp: float, wanted_mpp: float) -> npt.NDArray[np.uint8]:
    """Resample an (h, w, channels) field from one resolution to another, to whole pixels."""
    height, width = (max(round(n * mpp / wanted_mpp), 1) for n in image.shape[:2])
    # Areas are averaged when pixels are lost; a linear filter would skip some of them.
    method = cv2.INTER_AREA if wanted_mpp > mpp else cv2.INTER_LINEAR
    resized = cv2.resize(image, (width, height), interpolation=method)
    return np.asarray(resized, np.uint8).reshape(height, width, -1)


def normalised(
    rgb: npt.NDArray[np.uint8], mean: Sequence[float], std: Sequence[float], device: str = "cpu"
) -> torch.Tensor:
    """Turn (n, h, w, 3) pixels into an (n, 3, h, w) batch, in the memory order that is fastest."""
    pixels = torch.from_numpy(rgb).to(device).float() / 255
    batch = (pixels - torch.tensor(mean, device=device)) / torch.tensor(std, device=device)
    return batch.permute(0, 3, 1, 2).contiguous(memory_format=torch.channels_last)
