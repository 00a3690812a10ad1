"""From fields of any resolution to what the network takes, and what it is compared with."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np
import torch

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt
    from torch import Tensor


def at_mpp(image: npt.NDArray[np.uint8], mpp: float, wanted_mpp: float) -> npt.NDArray[np.uint8]:
    """Resample an (h, w, channels) field from one resolution to another, to whole pixels."""
    height, width = (max(round(n * mpp / wanted_mpp), 1) for n in image.shape[:2])
    # Areas are averaged when pixels are lost; a linear filter would skip some of them.
    method = cv2.INTER_AREA if wanted_mpp > mpp else cv2.INTER_LINEAR
    resized = cv2.resize(image, (width, height), interpolation=method)
    return np.asarray(resized, np.uint8).reshape(height, width, -1)


def normalised(
    rgb: npt.NDArray[np.uint8], mean: Sequence[float], std: Sequence[float], device: torch.device | str = "cpu"
) -> Tensor:
    """Turn (n, h, w, 3) pixels into an (n, 3, h, w) batch, in the memory order that is fastest."""
    pixels = torch.from_numpy(rgb).to(device).float() / 255
    batch = (pixels - torch.tensor(mean, device=device)) / torch.tensor(std, device=device)
    return batch.permute(0, 3, 1, 2).contiguous(memory_format=torch.channels_last)


def targets_and_weight(planes: npt.NDArray[np.uint8], device: torch.device | str = "cpu") -> tuple[Tensor, Tensor]:
    """Split (n, h, w, maps + 1) planes of crops into (n, maps, h, w) targets and an (n, 1, h, w) weight of 0 or 1.

    A pixel that resampling mixed with one that does not count does not count either.
    """
    values = torch.from_numpy(planes).to(device).permute(0, 3, 1, 2)
    return values[:, :-1].float().contiguous() / 255, (values[:, -1:] == 255).float()
