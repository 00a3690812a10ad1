"""The training loop: from a config and data folders to a checkpoint that can be exported as a bundle.

Everything random in a step follows from (seed, step) alone. So a training that was killed and started again
takes the same steps, and a checkpoint needs no random state.
"""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from wsiseg.errors import InternalError, SettingsError
from wsiseg.models.heads import make_head
from wsiseg.models.network import build_network, load_encoder_weights
from wsiseg.train.augment import augment
from wsiseg.train.checkpoint import load_checkpoint, same_training, save_checkpoint
from wsiseg.train.config import TrainConfig
from wsiseg.train.data import CropSampler, load_field, read_index
from wsiseg.train.pixels import normalised
from wsiseg.train.validate import Validation

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from torch import Tensor, nn

    from wsiseg.models.heads import Head
    from wsiseg.train.config import ScheduleConfig

CHECKPOINT = "checkpoint.safetensors"


@dataclass(frozen=True, slots=True)
class Progress:
    """What a training tells while it runs."""

    step: int
    steps: int
    loss: float
    """Of this step's batch."""
    validation: dict[str, float] | None
    """Figures of the averaged weights on the validation split, where they were just taken."""


def train(
    config_path: Path,
    out: Path,
    data: Path | None = None,
    *,
    resume: bool = True,
    progress: Callable[[Progress], None] = lambda _: None,
) -> Path:
    """Train the model of a TOML config, or continue its training, and give the checkpoint's path.

    Parameters
    ----------
    out
        Folder for the checkpoint; a killed training continues from it.
    data
        Folder that holds the config's sources; by default the config's own folder.
    resume
        Continue from a checkpoint in `out`; otherwise begin anew.
    progress
        Called after every step.

    Raises
    ------
    SettingsError
        E-CONFIG or E-DATA, or the checkpoint in `out` belongs to another config.
    InternalError
        E-NONFINITE: the loss is not a number.
    """
    config = TrainConfig.from_toml(config_path)
    root = data or config_path.parent
    out.mkdir(parents=True, exist_ok=True)
    trainer = Trainer(config, root)
    checkpoint = out / CHECKPOINT
    if resume and checkpoint.exists():
        trainer.restore(checkpoint)
    while trainer.step < config.schedule.steps:
        progress(trainer.advance())
        if trainer.step % config.schedule.checkpoint_every == 0 or trainer.step == config.schedule.steps:
            trainer.save(checkpoint)
    return checkpoint


class Trainer:
    """Network, optimiser, averaged weights and the step that they have reached."""

    def __init__(self, config: TrainConfig, root: Path) -> None:
        self.config = config
        self.step = 0
        self.history: list[dict[str, float]] = []
        spec = config.draft_spec()
        torch.set_num_threads(config.schedule.threads)
        torch.manual_seed(config.schedule.seed)
        self.network = build_network(spec).to(memory_format=torch.channels_last)
        if config.model.encoder_weights:
            load_encoder_weights(self.network, root / config.model.encoder_weights)
        self.averaged = {name: value.clone() for name, value in self.network.state_dict().items()}
        self._head = make_head(spec)
        self._optimiser = torch.optim.AdamW(
            _decay_groups(self.network, config.schedule.weight_decay), lr=config.schedule.learning_rate
        )
        self._batches = Batches(config, root, self._head)
        self._validation = Validation(spec, root, [source.folder for source in config.sources])
        self._recent: list[float] = []

    def advance(self) -> Progress:
        """Take one step, and validate where it is due."""
        schedule = self.config.schedule
        pixels, targets = self._batches.get(self.step)
        torch.manual_seed(schedule.seed * 1_000_003 + self.step)  # for the encoder's stochastic depth
        for group in self._optimiser.param_groups:
            group["lr"] = schedule.learning_rate * rate_at(self.step, schedule)
        self.network.train()
        weight = torch.ones_like(targets[:, :1])
        loss = self._head.loss(self.network(pixels), targets, weight)
        if not bool(torch.isfinite(loss)):
            raise InternalError("E-NONFINITE", "the loss is not a number", where=f"step {self.step}")
        self._optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), schedule.clip_norm)
        self._optimiser.step()
        self._average()
        self.step += 1
        self._recent.append(loss.item())
        return Progress(self.step, schedule.steps, self._recent[-1], self._validate_if_due())

    @torch.no_grad()
    def _average(self) -> None:
        # The first steps are forgotten sooner: (1 + step) / (10 + step), as TensorFlow's moving average does.
        decay = min(self.config.schedule.ema_decay, (1 + self.step) / (10 + self.step))
        for name, value in self.network.state_dict().items():
            if value.is_floating_point():
                self.averaged[name].lerp_(value, 1 - decay)
            else:
                self.averaged[name].copy_(value)

    def _validate_if_due(self) -> dict[str, float] | None:
        if self.step % self.config.schedule.validate_every and self.step != self.config.schedule.steps:
            return None
        figures = self._validation.figures(self.averaged)
        mean_loss = sum(self._recent) / len(self._recent)
        self.history.append({"step": self.step, "loss": mean_loss, **figures})
        self._recent = []
        return figures

    def save(self, path: Path) -> None:
        """Write the whole state."""
        optimiser = self._optimiser.state_dict()
        moments = {
            f"{index}/{name}": value
            for index, members in optimiser["state"].items()
            for name, value in members.items()
        }
        groups = {"network": self.network.state_dict(), "averaged": self.averaged, "moments": moments}
        state = {
            "step": self.step,
            "config": self.config.as_dict(),
            "history": self.history,
            "recent": self._recent,
        }
        save_checkpoint(path, groups, state)

    def restore(self, path: Path) -> None:
        """Continue from what `save` wrote for the same config."""
        groups, state = load_checkpoint(path)
        if not same_training(state["config"], self.config.as_dict()):
            raise SettingsError(
                "E-CONFIG",
                "the checkpoint belongs to another config",
                where=path,
                fix="choose another folder, or begin anew without resuming",
            )
        self.network.load_state_dict(groups["network"])
        for name, value in groups["averaged"].items():
            self.averaged[name].copy_(value)
        moments: dict[int, dict[str, Tensor]] = {}
        for key, value in groups["moments"].items():
            index, _, name = key.partition("/")
            moments.setdefault(int(index), {})[name] = value
        self._optimiser.load_state_dict(
            {"state": moments, "param_groups": self._optimiser.state_dict()["param_groups"]}
        )
        self.step, self.history, self._recent = state["step"], state["history"], state["recent"]


class Batches:
    """Augmented batches by step, the next one made while the network works on this one."""

    def __init__(self, config: TrainConfig, root: Path, head: Head) -> None:
        self._config = config
        sources = [
            [load_field(entry, head) for entry in read_index(root / source.folder, "train")]
            for source in config.sources
        ]
        shares = [source.share for source in config.sources]
        self._sampler = CropSampler(sources, shares, config.model.mpp, config.schedule.crop_px)
        self._thread = ThreadPoolExecutor(1, "batches")
        self._coming: dict[int, Any] = {}

    def get(self, step: int) -> tuple[Tensor, Tensor]:
        """Give (n, 3, h, w) normalised pixels and (n, maps, h, w) targets of a step."""
        pixels, targets = self._coming.pop(step).result() if step in self._coming else self._make(step)
        self._coming[step + 1] = self._thread.submit(self._make, step + 1)
        model = self._config.model
        truth = torch.from_numpy(targets).permute(0, 3, 1, 2).float() / 255
        return normalised(pixels, model.mean, model.std), truth

    def _make(self, step: int) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
        crops = list(self._crops(step))
        return np.stack([pixels for pixels, _ in crops]), np.stack([targets for _, targets in crops])

    def _crops(self, step: int) -> Iterator[tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]]:
        random = np.random.default_rng([self._config.schedule.seed, step])
        settings = self._config.augmentation
        for _ in range(self._config.schedule.batch):
            span = math.log(settings.scale_min), math.log(settings.scale_max)
            crop = self._sampler.draw(random, math.exp(random.uniform(*span)))
            yield augment(*crop, settings, random)


def rate_at(step: int, schedule: ScheduleConfig) -> float:
    """Give the learning rate of a step as a share of the highest: a linear rise, then a cosine to 0."""
    if step < schedule.warmup_steps:
        return (step + 1) / schedule.warmup_steps
    done = (step - schedule.warmup_steps) / max(schedule.steps - schedule.warmup_steps, 1)
    return 0.5 * (1 + math.cos(math.pi * done))


def _decay_groups(network: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Leave biases and normalisation out of weight decay: they have no scale to keep small."""
    parameters = list(network.parameters())
    return [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]
