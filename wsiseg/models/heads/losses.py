"""Losses that heads share; each ignores pixels of weight 0."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

_DICE_SMOOTH = 1.0
"""Keeps Dice defined, and calm, on crops without a nucleus."""
_JACCARD_SMOOTH = 1e-5
_FOCAL_ALPHA, _FOCAL_GAMMA = 0.25, 2.0
_FOCAL_CLIP = 1e-7
"""The last three as in the thesis' library."""


def weighted_mean(values: Tensor, weight: Tensor) -> Tensor:
    """Average (n, 1, h, w) values over the weight; 0 where all weight is 0."""
    return (values * weight).sum() / weight.sum().clamp_min(1.0)


def soft_dice_loss(probability: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """One minus Dice over the whole batch: a crop with few nuclei does not outweigh one with many."""
    both = (probability * target * weight).sum()
    either = ((probability + target) * weight).sum()
    return 1.0 - (2.0 * both + _DICE_SMOOTH) / (either + _DICE_SMOOTH)


def focal_loss(probabilities: Tensor, truth: Tensor, weight: Tensor) -> Tensor:
    """Cross-entropy that fades where the network is sure (Lin et al. 2017), a mean over pixels and classes.

    Parameters
    ----------
    probabilities, truth
        (n, classes, h, w); the truth is one-hot.
    weight
        (n, 1, h, w).
    """
    sure = probabilities.clamp(_FOCAL_CLIP, 1.0 - _FOCAL_CLIP)
    elements = -truth * _FOCAL_ALPHA * (1.0 - sure) ** _FOCAL_GAMMA * sure.log()
    return weighted_mean(elements.mean(1, keepdim=True), weight)


def jaccard_loss(probabilities: Tensor, truth: Tensor, weight: Tensor) -> Tensor:
    """One minus the soft intersection over union of each class over the whole batch, a mean over the classes.

    Parameters are those of `focal_loss`.
    """
    axes = (0, 2, 3)
    both = (probabilities * truth * weight).sum(axes)
    either = ((probabilities + truth) * weight).sum(axes) - both
    return 1.0 - ((both + _JACCARD_SMOOTH) / (either + _JACCARD_SMOOTH)).mean()
