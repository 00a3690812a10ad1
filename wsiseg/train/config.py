"""One training as one frozen value: read from TOML, saved whole in the bundle that it makes."""

from __future__ import annotations

import dataclasses
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from wsiseg.errors import BundleError, SettingsError
from wsiseg.fsio import read_bounded
from wsiseg.models.bundle import ClassSpec, ModelSpec, TypesSpec
from wsiseg.models.encoders import encoder_names, preprocessing
from wsiseg.train.augment import Augmentation
from wsiseg.train.records import record_from, within

if TYPE_CHECKING:
    from collections.abc import Iterator


_MAX_BYTES = 1 << 20
"""Of a TOML file; a config has some 2,000."""


@dataclass(frozen=True, slots=True)
class ModelConfig:
    """The network and what it is for; becomes the bundle's `model.json`."""

    name: str
    version: str
    encoder: str
    """A name of `wsiseg.models.encoders`."""
    decoder_channels: tuple[int, ...]
    head: str
    mpp: float
    classes: tuple[ClassSpec, ...]
    mean: tuple[float, float, float]
    """As in `ModelSpec`; a TOML without mean and std gets those that the encoder's own weights want."""
    std: tuple[float, float, float]
    licence: str
    types: TypesSpec | None = None
    """What tells several classes apart. It alone is learned then, on the outlines of the bundle `start_from`."""
    architecture: str = "unet"
    tile_px: int = 256
    halo_px: int = 32
    encoder_weights: str = ""
    """What the encoder starts from: nothing, `imagenet` (the hub's), or a safetensors, from the data folder."""
    types_start_from: str = ""
    """What the types' encoder starts from: nothing, or a bundle, as `start_from`, whose encoder is the same."""
    start_from: str = ""
    """What the whole network starts from: nothing, a bundle's name, or its folder, from the data folder."""
    start_share: float = within(0, 1, default=0.0)
    """Share of `start_from`'s weights in the bundle, mixed with what was learned since: so what the first training
    knew about slides that this one never sees is kept (Wortsman et al. 2022)."""
    head_settings: dict[str, float] = field(default_factory=dict)
    """Decoding thresholds; they can be changed after training, for the network does not depend on them."""


@dataclass(frozen=True, slots=True)
class SourceConfig:
    """One data folder."""

    folder: str
    """From the data folder."""
    share: float = within(1e-6, default=1.0)
    """Share of the crops, relative to the other sources."""


@dataclass(frozen=True, slots=True)
class ScheduleConfig:
    """How long and how fast to learn, and from which crops."""

    steps_per_epoch: int = within(1)
    epochs: int = within(1)
    batch: int = within(1, default=16)
    """Crops in a step, over all processes together."""
    crop_px: int = within(32, default=256)
    crop: Literal["random", "center"] = "random"
    """Anywhere in a field, at any zoom of the augmentation; or the middle of each field, each once a pass."""
    optimiser: Literal["adam", "adamw"] = "adamw"
    learning_rate: float = within(1e-9, default=1e-3)
    decay: Literal["constant", "cosine"] = "cosine"
    """What the learning rate does after the warm-up: stay, or fall to 0 as a cosine."""
    warmup_steps: int = within(0, default=100)
    """Steps over which the learning rate rises."""
    weight_decay: float = within(0, default=1e-2)
    """Of `adamw`."""
    ema_decay: float = within(0, 0.999999, default=0.995)
    """Memory of the moving average of the weights, which is what the bundle gets; 0 for none."""
    clip_norm: float = within(0, default=5.0)
    """Largest norm of the gradient; 0 for any."""
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """`auto` is half precision where the device is faster with it."""
    checkpoint_every: int = within(1, default=50)
    """Steps; the end of an epoch is always kept."""
    seed: int = within(0, default=0)
    threads: int = within(1, default=2)
    """CPU threads; part of the result, because sums are split by thread."""

    @property
    def steps(self) -> int:
        """Steps of the whole training."""
        return self.steps_per_epoch * self.epochs


@dataclass(frozen=True, slots=True)
class TrainConfig:
    """Everything that decides a training's result."""

    model: ModelConfig
    sources: tuple[SourceConfig, ...]
    schedule: ScheduleConfig
    augmentation: Augmentation = field(default_factory=Augmentation)

    def __post_init__(self) -> None:
        for contradiction in self._contradictions():
            raise ValueError(contradiction)

    def _contradictions(self) -> Iterator[str]:
        schedule, augmentation = self.schedule, self.augmentation
        yield from self._contradictions_of_sources()
        yield from self._contradictions_of_types()
        if schedule.crop_px % 32:
            yield "schedule.crop_px is not a multiple of 32: the encoder halves it five times"
        if schedule.optimiser == "adam" and schedule.weight_decay:
            yield "schedule.weight_decay is not 0: adam has none; take adamw"
        if self.model.encoder_weights and self.model.start_from:
            yield "model.encoder_weights and model.start_from exclude each other"
        if self.model.start_share and not self.model.start_from:
            yield "model.start_share is given, but no model.start_from"
        for name in ("scale", "contrast"):
            if getattr(augmentation, f"{name}_min") > getattr(augmentation, f"{name}_max"):
                yield f"augmentation.{name}_min is above augmentation.{name}_max"
        if schedule.crop == "center":
            yield from self._contradictions_of_center()

    def _contradictions_of_sources(self) -> Iterator[str]:
        folders = [source.folder for source in self.sources]
        if not folders:
            yield "sources is empty: a training needs at least one"
        if len(set(folders)) < len(folders):
            yield "sources names a folder twice"
        if any(Path(folder).is_absolute() for folder in folders):
            yield "sources.folder is an absolute path: name it from the data folder"

    def _contradictions_of_types(self) -> Iterator[str]:
        model = self.model
        if model.types and not model.start_from:
            yield "model.types is given, but no model.start_from: types are learned on a bundle's outlines"
        if model.types and model.start_share:
            yield "model.start_share is given, but with model.types nothing of model.start_from is learned anew"
        if model.types_start_from and not model.types:
            yield "model.types_start_from is given, but no model.types"

    def _contradictions_of_center(self) -> Iterator[str]:
        if (self.augmentation.scale_min, self.augmentation.scale_max) != (1.0, 1.0):
            yield "augmentation.scale_min and scale_max are not 1: schedule.crop 'center' zooms nothing"
        if len({source.share for source in self.sources}) > 1:
            yield "sources.share differs: with schedule.crop 'center' each field comes once a pass"

    @classmethod
    def from_toml(cls, path: Path, encoder_weights: str | None = None) -> TrainConfig:
        """Read a config.

        Parameters
        ----------
        encoder_weights
            Replaces the config's own if given.

        Raises
        ------
        SettingsError
            E-CONFIG: not TOML, an unknown or missing key, a value of the wrong kind, out of range or at odds.
        """
        try:
            text = read_bounded(path, _MAX_BYTES).decode("utf-8")
            table = _completed(tomllib.loads(text), encoder_weights)
            config: TrainConfig = record_from(cls, table)
            ModelSpec.from_json(config.draft_spec().to_json())
        except OSError as error:
            raise SettingsError("E-CONFIG", error.strerror or "it cannot be read", where=path) from error
        except (ValueError, OverflowError, RecursionError) as error:  # a broken TOML and no UTF-8 are ValueErrors
            raise SettingsError("E-CONFIG", str(error), where=path) from error
        except BundleError as error:
            raise SettingsError("E-CONFIG", f"[model] makes no bundle: {error.what}", where=path) from error
        return config

    def as_dict(self) -> dict[str, Any]:
        """Give plain dicts, lists and numbers, as JSON has them.

        Of an absolute path there is the last name alone: where it lies on this machine is nobody else's business.
        """
        table = dataclasses.asdict(self)
        for key in ("encoder_weights", "start_from", "types_start_from"):
            if (path := Path(table["model"][key])).is_absolute():
                table["model"][key] = path.name
        return table

    def draft_spec(self) -> ModelSpec:
        """Describe the bundle that this training makes, before there are weights."""
        fields = {f.name: getattr(self.model, f.name) for f in dataclasses.fields(self.model)}
        for name in ("encoder_weights", "start_from", "start_share", "types_start_from"):
            del fields[name]
        return ModelSpec(**fields, weights_sha256="0" * 64)


def _completed(table: dict[str, Any], encoder_weights: str | None) -> dict[str, Any]:
    """Put in what the TOML leaves to the encoder, and what the caller wants otherwise."""
    model = table.get("model")
    if not isinstance(model, dict) or not isinstance(encoder := model.get("encoder"), str):
        return table
    if encoder not in encoder_names():
        raise ValueError(f"model.encoder is {encoder!r}: there is no such encoder")
    mean, std = preprocessing(encoder)
    changed = {} if encoder_weights is None else {"encoder_weights": encoder_weights}
    return {**table, "model": {"mean": mean, "std": std, **model, **changed}}
