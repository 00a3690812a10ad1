"""One training as one frozen value: read from TOML, saved whole in the bundle that it makes."""

from __future__ import annotations

import dataclasses
import tomllib
import types
import typing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from wsiseg.errors import SettingsError
from wsiseg.models.bundle import ClassSpec, ModelSpec
from wsiseg.train.augment import Augmentation

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class ModelConfig:
    """The network and what it is for; becomes the bundle's `model.json`."""

    name: str
    version: str
    encoder: str
    decoder_channels: tuple[int, ...]
    head: str
    mpp: float
    classes: tuple[ClassSpec, ...]
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    licence: str
    architecture: str = "unet"
    tile_px: int = 256
    halo_px: int = 32
    encoder_weights: str = ""
    """Safetensors with the encoder's tensors, below the data folder; empty begins at random."""
    head_settings: dict[str, float] = field(default_factory=dict)
    """Decoding thresholds; they can be changed after training, for the network does not depend on them."""


@dataclass(frozen=True, slots=True)
class SourceConfig:
    """One data folder."""

    folder: str
    """Relative to the data folder."""
    share: float = 1.0
    """Share of the crops, relative to the other sources."""


@dataclass(frozen=True, slots=True)
class ScheduleConfig:
    """How long and how fast to learn."""

    steps: int
    batch: int = 16
    crop_px: int = 256
    learning_rate: float = 1e-3
    weight_decay: float = 1e-2
    warmup_steps: int = 100
    """Steps over which the learning rate rises; a cosine lowers it to 0 over the rest."""
    ema_decay: float = 0.995
    """Memory of the moving average of the weights, which is what the bundle gets."""
    clip_norm: float = 5.0
    """Largest norm of the gradient."""
    validate_every: int = 250
    checkpoint_every: int = 50
    seed: int = 0
    threads: int = 2
    """CPU threads; part of the result, because sums are split by thread."""


@dataclass(frozen=True, slots=True)
class TrainConfig:
    """Everything that decides a training's result."""

    model: ModelConfig
    sources: tuple[SourceConfig, ...]
    schedule: ScheduleConfig
    augmentation: Augmentation = field(default_factory=Augmentation)

    def __post_init__(self) -> None:
        if not self.sources:
            raise ValueError("a training needs at least one source")
        if self.schedule.steps < 1 or self.schedule.batch < 1:
            raise ValueError("steps and batch are at least 1")
        if self.schedule.crop_px % 32:
            raise ValueError("crop_px is a multiple of 32: the encoder halves it five times")

    @classmethod
    def from_toml(cls, path: Path) -> TrainConfig:
        """Read a config.

        Raises
        ------
        SettingsError
            E-CONFIG: not TOML, an unknown or missing key, a value of the wrong kind or out of range.
        """
        try:
            table = tomllib.loads(path.read_text("utf-8"))
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            raise SettingsError("E-CONFIG", str(error), where=path) from error
        try:
            config: TrainConfig = _value(cls, table, "")
        except (TypeError, ValueError) as error:
            raise SettingsError("E-CONFIG", str(error), where=path) from error
        return config

    def as_dict(self) -> dict[str, Any]:
        """Give plain dicts, lists and numbers, as JSON has them."""
        return dataclasses.asdict(self)

    def draft_spec(self) -> ModelSpec:
        """Describe the bundle that this training makes, before there are weights."""
        fields = {f.name: getattr(self.model, f.name) for f in dataclasses.fields(self.model)}
        del fields["encoder_weights"]
        return ModelSpec(**fields, weights_sha256="0" * 64)


def _value(kind: Any, value: Any, where: str) -> Any:  # noqa: ANN401 - a type and a value of it
    """Check a TOML value against a type and build dataclasses and tuples on the way."""
    origin = typing.get_origin(kind)
    if dataclasses.is_dataclass(kind) and isinstance(kind, type):
        return _record(kind, value, where)
    if origin is tuple:
        return _tuple(typing.get_args(kind), value, where)
    if origin is dict and isinstance(value, dict):
        _, inner = typing.get_args(kind)
        return {key: _value(inner, item, f"{where}.{key}") for key, item in value.items()}
    if kind is float and type(value) is int:
        return float(value)
    if isinstance(origin or kind, types.GenericAlias) or type(value) is not (origin or kind):
        raise ValueError(f"{where} is {value!r}, not a {getattr(kind, '__name__', kind)}")
    return value


def _record(kind: type, value: Any, where: str) -> Any:  # noqa: ANN401 - any of the dataclasses above
    if not isinstance(value, dict):
        raise ValueError(f"{where or 'the config'} is not a table")
    hints = typing.get_type_hints(kind)
    names = [f.name for f in dataclasses.fields(kind)]
    if unknown := sorted(set(value) - set(names)):
        raise ValueError(f"unknown key in [{where}]: {', '.join(unknown)}")
    prefix = f"{where}." if where else ""
    return kind(**{name: _value(hints[name], item, prefix + name) for name, item in value.items()})


def _tuple(kinds: tuple[Any, ...], value: Any, where: str) -> tuple[Any, ...]:  # noqa: ANN401
    if not isinstance(value, list | tuple):
        raise ValueError(f"{where} is not a list")
    if len(kinds) == 2 and kinds[1] is Ellipsis:
        kinds = (kinds[0],) * len(value)
    if len(kinds) != len(value):
        raise ValueError(f"{where} has {len(value)} values instead of {len(kinds)}")
    return tuple(
        _value(kind, item, f"{where}[{i}]") for i, (kind, item) in enumerate(zip(kinds, value, strict=True))
    )
