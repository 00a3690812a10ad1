"""Losses that heads share; each ignores pixels of weight 0 and averages over the rest."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

_SMOOTH = 1.0
"""Keeps Dice defined, and calm, on crops without a nucleus."""


def weighted_mean(values: Tensor, weight: Tensor) -> Tensor:
    """Average (n, 1, h, w) values over the weight; 0 where all weight is 0."""
    return (values * weight).sum() / weight.sum().clamp_min(1.0)


def soft_dice_loss(probability: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """One minus Dice over the whole batch: a crop with few nuclei does not outweigh one with many."""
    both = (probability * target * weight).sum()
    either = ((probability + target) * weight).sum()
    return 1.0 - (2.0 * both + _SMOOTH) / (either + _SMOOTH)
