"""A network in training: what one step does to it, and everything that a checkpoint must hold."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from wsiseg.errors import InternalError, SettingsError
from wsiseg.host import keep_freed_memory
from wsiseg.models.bundle import bundle_names, load_bundle
from wsiseg.models.encoders import load_encoder_weights, load_imagenet
from wsiseg.models.heads import make_head
from wsiseg.models.network import build_network, load_network
from wsiseg.train.epochs import BatchFigures
from wsiseg.train.optimiser import depthwise_in_fp32, make_optimiser, rate_at, training_dtype
from wsiseg.train.pixels import normalised, targets_and_weight

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor, nn

    from wsiseg.models.heads import Head
    from wsiseg.train.batches import Batch
    from wsiseg.train.config import ModelConfig, TrainConfig
    from wsiseg.train.distributed import World

    Tensors = dict[str, dict[str, Tensor]]

_SAME_NETWORK = ("architecture", "encoder", "decoder_channels", "head", "mean", "std")
"""What a bundle must share with a config that starts from it."""


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
        self._network = start_network(config, root).to(world.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        if world.device.type == "cpu":
            keep_freed_memory()
            depthwise_in_fp32(self._network)
        self._spread = world.spread(self._network)
        self._averaged = _copied(self._network) if schedule.ema_decay else {}
        self._start = _copied(self._network) if config.model.start_share else {}
        self._optimiser = make_optimiser(self._network, schedule)
        self._scaler = torch.amp.GradScaler(world.device.type, enabled=self._dtype is torch.float16)
        self._head: Head = make_head(config.draft_spec())

    @property
    def weights(self) -> dict[str, Tensor]:
        """The tensors that the bundle gets."""
        return bundle_weights(self.state()[0], self.config.model.start_share)

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
        loss = self._head.loss(logits, targets, weight)
        if not bool(torch.isfinite(loss)):
            raise InternalError("E-NONFINITE", "the loss is not a number", where=f"step {self.step}")
        self._change_weights(loss)
        self.step += 1
        return BatchFigures.of(loss, self._head.activate(logits.detach()), targets, weight)

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
        return groups, {"step": self.step, "scaler": self._scaler.state_dict(), "numerics": self.numerics}

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


def bundle_weights(groups: Tensors, start_share: float) -> dict[str, Tensor]:
    """Give the tensors that a bundle gets from a training's state.

    They are averaged over steps where the config wants that, and mixed with those that the training started from.
    """
    weights, start = groups.get("averaged", groups["network"]), groups.get("start", {})
    return {
        name: value.lerp(start[name].to(value.device), start_share)
        if name in start and value.is_floating_point()
        else value
        for name, value in weights.items()
    }


def _copied(network: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in network.state_dict().items()}


def start_network(config: TrainConfig, root: Path) -> nn.Module:
    """Build the network with the weights that a training starts from.

    Raises
    ------
    SettingsError
        E-WEIGHTS, or E-CONFIG: the bundle to start from holds another network.
    BundleError
        There is no such bundle, or it is damaged.
    """
    model = config.model
    if model.start_from:
        return _network_of_bundle(model, root)
    network = build_network(config.draft_spec())
    if model.encoder_weights == "imagenet":
        load_imagenet(network, model.encoder)
    elif model.encoder_weights:
        load_encoder_weights(network, root / model.encoder_weights)
    return network


def _network_of_bundle(model: ModelConfig, root: Path) -> nn.Module:
    name = model.start_from
    bundle = load_bundle(name if name in bundle_names() else root / name)
    for key in _SAME_NETWORK:
        wanted, found = getattr(model, key), getattr(bundle.spec, key)
        if wanted != found:
            what = f"model.start_from names a bundle whose {key} is {found}, but model.{key} is {wanted}"
            raise SettingsError("E-CONFIG", what, where=bundle.folder, fix="change the one or the other")
    return load_network(bundle)
