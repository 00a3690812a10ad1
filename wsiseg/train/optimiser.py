"""How weights are changed: the optimisers, the learning rate of each step, and the type that is computed in."""

from __future__ import annotations

import math
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from wsiseg.predict import choose_dtype

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from wsiseg.train.config import ScheduleConfig


def make_optimiser(network: nn.Module, schedule: ScheduleConfig) -> torch.optim.Optimizer:
    """Build a config's optimiser."""
    if schedule.optimiser == "adam":
        return torch.optim.Adam(network.parameters(), lr=schedule.learning_rate)
    return torch.optim.AdamW(_decay_groups(network, schedule.weight_decay), lr=schedule.learning_rate)


def _decay_groups(network: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Leave biases and normalisation out of weight decay: they have no scale to keep small."""
    parameters = list(network.parameters())
    return [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]


def rate_at(step: int, schedule: ScheduleConfig) -> float:
    """Give the learning rate of a step: a linear rise, then constant or a cosine to 0."""
    if step < schedule.warmup_steps:
        return schedule.learning_rate * (step + 1) / schedule.warmup_steps
    if schedule.decay == "constant":
        return schedule.learning_rate
    done = (step - schedule.warmup_steps) / max(schedule.steps - schedule.warmup_steps, 1)
    return schedule.learning_rate * 0.5 * (1 + math.cos(math.pi * done))


def training_dtype(precision: str, device: torch.device) -> torch.dtype:
    """Give the type that the network's layers compute in; weights and loss are float32 in any case.

    `auto` takes bf16 where the device has it and is faster with it, fp16 on older GPUs.
    """
    if precision != "auto":
        return torch.float32 if precision == "fp32" else torch.bfloat16
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16
    return choose_dtype(device)


def depthwise_in_fp32(network: nn.Module) -> None:
    """Let the depthwise convolutions of a network compute in float32 inside a CPU's autocast.

    In bf16 oneDNN takes 5 to 25 times as long for their gradients: half of a step of EfficientNet-Lite2.
    """
    for module in network.modules():
        if isinstance(module, nn.Conv2d) and 1 < module.groups == module.in_channels:
            module.forward = partial(_in_fp32, module.forward)  # type: ignore[method-assign]


def _in_fp32(forward: Callable[[Tensor], Tensor], features: Tensor) -> Tensor:
    with torch.autocast("cpu", enabled=False):
        return forward(features.float()).to(features.dtype)
