"""A network in training: what one step does to it, and everything that a checkpoint must hold."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from wsiseg.errors import InternalError
from wsiseg.host import keep_freed_memory
from wsiseg.models.network import stored_tensors
from wsiseg.train.optimiser import depthwise_in_fp32, make_optimiser, rate_at, training_dtype
from wsiseg.train.pixels import normalised, targets_and_weight
from wsiseg.train.start import kept_training, start_network
from wsiseg.train.tasks import task_of

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor, nn

    from wsiseg.train.batches import Batch
    from wsiseg.train.config import TrainConfig
    from wsiseg.train.distributed import World
    from wsiseg.train.epochs import BatchFigures

    Tensors = dict[str, dict[str, Tensor]]


class Trainer:
    """Network, optimiser, averaged weights and the step that they have reached."""

    def __init__(self, config: TrainConfig, root: Path, world: World) -> None:
        self.config = config
        self.step = 0
        schedule = config.schedule
        torch.set_num_threads(schedule.threads)
        self._dtype = training_dtype(schedule.precision, world.device)
        torch.backends.cudnn.deterministic = True
        torch.manual_seed(schedule.seed)
        self._world = world
        self._task = task_of(config.draft_spec())
        network = start_network(config, root)
        self._network = self._task.part(network).to(world.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._fixed = _unlearned(network, self._task.prefix)
        self._outlines = kept_training(config, root)
        if world.device.type == "cpu":
            keep_freed_memory()
            depthwise_in_fp32(self._network)
        self._spread = world.spread(self._network)
        self._averaged = _copied(self._network) if schedule.ema_decay else {}
        self._start = _copied(self._network) if config.model.start_share else {}
        self._optimiser = make_optimiser(self._network, schedule)
        self._scaler = torch.amp.GradScaler(world.device.type, enabled=self._dtype is torch.float16)

    @property
    def weights(self) -> dict[str, Tensor]:
        """The tensors of what learns, as the bundle gets them."""
        return _learned(self.state()[0], self.config.model.start_share)

    @property
    def numerics(self) -> dict[str, Any]:
        """What decides the bits of a step besides config and data."""
        on_gpu = self._world.device.type == "cuda"
        return {
            "torch_version": torch.__version__,
            "device": torch.cuda.get_device_name(self._world.device) if on_gpu else self._world.device.type,
            "dtype": str(self._dtype).removeprefix("torch."),
            "processes": self._world.size,
        }

    def autocast(self) -> torch.autocast:
        """Give the context in which the network computes."""
        enabled = self._dtype is not torch.float32
        return torch.autocast(self._world.device.type, dtype=self._dtype if enabled else None, enabled=enabled)

    def advance(self, batch: Batch) -> BatchFigures:
        """Take one step and give its batch's figures before it.

        Raises
        ------
        InternalError
            E-NONFINITE: the loss is not a number.
        """
        seed = self.config.schedule.seed * 1_000_003 + self.step
        torch.manual_seed(seed * self._world.size + self._world.rank)  # for the encoder's stochastic depth
        for group in self._optimiser.param_groups:
            group["lr"] = rate_at(self.step, self.config.schedule)
        model, device = self.config.model, self._world.device
        self._spread.train()
        with self.autocast():
            part = self._spread(normalised(batch.pixels, model.mean, model.std, device))
        logits = self._world.gathered(part.float())
        targets, weight = (self._world.gathered(t) for t in targets_and_weight(batch.planes, device))
        loss = self._task.loss(logits, targets, weight)
        if not bool(torch.isfinite(loss)):
            raise InternalError("E-NONFINITE", "the loss is not a number", where=f"step {self.step}")
        self._change_weights(loss)
        self.step += 1
        return self._task.figures(loss, logits.detach(), targets, weight)

    def _change_weights(self, loss: Tensor) -> None:
        self._optimiser.zero_grad()
        self._scaler.scale(loss * self._world.size).backward()  # type: ignore[no-untyped-call]
        if clip := self.config.schedule.clip_norm:
            self._scaler.unscale_(self._optimiser)
            torch.nn.utils.clip_grad_norm_(self._network.parameters(), clip)
        self._scaler.step(self._optimiser)
        self._scaler.update()
        if self._averaged:
            self._average()

    @torch.no_grad()
    def _average(self) -> None:
        # The first steps are forgotten sooner: (1 + step) / (10 + step), as TensorFlow's moving average does.
        decay = min(self.config.schedule.ema_decay, (1 + self.step) / (10 + self.step))
        for name, value in self._network.state_dict().items():
            if value.is_floating_point():
                self._averaged[name].lerp_(value, 1 - decay)
            else:
                self._averaged[name].copy_(value)

    def state(self) -> tuple[Tensors, dict[str, Any]]:
        """Give the whole state: tensors by group and name, and what JSON can hold."""
        moments = {
            f"{index}/{name}": value
            for index, members in self._optimiser.state_dict()["state"].items()
            for name, value in members.items()
        }
        groups = {"network": self._network.state_dict(), "moments": moments}
        if self._averaged:
            groups["averaged"] = self._averaged
        if self._start:
            groups["start"] = self._start
        if self._fixed:
            groups["fixed"] = self._fixed
        kept = {"outlines": self._outlines} if self._outlines else {}
        scaler = self._scaler.state_dict()
        return groups, {"step": self.step, "scaler": scaler, "numerics": self.numerics, **kept}

    def restore(self, groups: Tensors, state: dict[str, Any]) -> None:
        """Continue from what `state` gave for the same config."""
        self._network.load_state_dict(groups["network"])
        for name, value in groups.get("averaged", {}).items():
            self._averaged[name].copy_(value)
        self._start = groups.get("start", {})
        moments: dict[int, dict[str, Tensor]] = {}
        for key, value in groups["moments"].items():
            index, _, name = key.partition("/")
            # As the parameters lie in memory: steps over two layouts would be slow.
            laid = value.to(memory_format=torch.channels_last) if value.ndim == 4 else value
            moments.setdefault(int(index), {})[name] = laid
        groups_of_optimiser = self._optimiser.state_dict()["param_groups"]
        self._optimiser.load_state_dict({"state": moments, "param_groups": groups_of_optimiser})
        if state["scaler"]:
            self._scaler.load_state_dict(state["scaler"])
        self.step = state["step"]


def bundle_weights(groups: Tensors, config: TrainConfig) -> dict[str, Tensor]:
    """Give a bundle's tensors from a training's state: what was learned, and what was left alone."""
    prefix = task_of(config.draft_spec()).prefix
    learned = {prefix + name: value for name, value in _learned(groups, config.model.start_share).items()}
    return learned | groups.get("fixed", {})


def _learned(groups: Tensors, start_share: float) -> dict[str, Tensor]:
    """Give what was learned.

    It is averaged over steps where the config wants that, and mixed with what the training started from.
    """
    weights, start = groups.get("averaged", groups["network"]), groups.get("start", {})
    return {
        name: value.lerp(start[name].to(value.device), start_share)
        if name in start and value.is_floating_point()
        else value
        for name, value in weights.items()
    }


def _unlearned(network: nn.Module, prefix: str) -> dict[str, Tensor]:
    """Give a bundle's tensors that do not learn, by their names there."""
    return {name: value for name, value in stored_tensors(network).items() if not name.startswith(prefix)}


def _copied(network: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in network.state_dict().items()}
