"""The bundle: everything a run needs to know about a model, in two files.

`model.json` is a `ModelSpec`; `weights.safetensors` holds the network's tensors and is named in it by its
sha256. Nothing here imports torch, so that listing models, planning a run and decoding maps stay light. A bundle
may come from a stranger: reading one runs no code from it, and whatever is odd is refused.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wsiseg.errors import BundleError
from wsiseg.fsio import read_bounded
from wsiseg.models.heads import make_head
from wsiseg.models.spec_rules import check_spec, parse_strict

if TYPE_CHECKING:
    from collections.abc import Mapping

    from wsiseg.models.heads import Head

SPEC_VERSION = 1
DEFAULT_BUNDLE = "nuclei-025"
BUNDLES = Path(__file__).parent / "bundles"
"""Bundles that ship with the package, a folder each."""
SPEC_FILE, WEIGHTS_FILE, CARD_FILE = "model.json", "weights.safetensors", "README.md"
_MAX_SPEC_BYTES = 1 << 20
_MAX_CARD_BYTES = 1 << 20
_MAX_WEIGHTS_BYTES = (1 << 30) + (16 << 20)
"""A quarter of a billion parameters in fp32, and the header."""


@dataclass(frozen=True, slots=True)
class ClassSpec:
    """One class of the model."""

    value: int
    """Pixel value in the mask, 1..254; the background is 0."""
    name: str
    color: tuple[int, int, int]
    """RGB, 0..255."""


@dataclass(frozen=True, slots=True)
class TypesSpec:
    """The network that tells the classes of nuclei from each other (`wsiseg.models.typed`)."""

    encoder: str
    """A name of `wsiseg.models.encoders`."""
    channels: int
    """Of its feature pyramid."""
    mpp: float
    """Micrometres per pixel that it looks at, no fewer than the model's."""


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """What `model.json` says. Build it from a file with `from_json`, which refuses nonsense."""

    name: str
    version: str
    architecture: str
    """A key of ours, not of a library: `unet`."""
    encoder: str
    """A name of `wsiseg.models.encoders`."""
    decoder_channels: tuple[int, ...]
    """Channels of the decoder's five stages, coarse to fine."""
    head: str
    """A key of `wsiseg.models.heads.HEADS`."""
    head_settings: Mapping[str, float]
    """Thresholds of the head's decoding."""
    classes: tuple[ClassSpec, ...]
    """Without the background."""
    mpp: float
    """Micrometres per pixel that the network was trained at."""
    tile_px: int
    halo_px: int
    mean: tuple[float, float, float]
    """Subtracted from RGB on the scale of 0 to 1."""
    std: tuple[float, float, float]
    """What the difference is divided by."""
    licence: str
    weights_sha256: str
    training: Mapping[str, Any] = field(default_factory=dict)
    """Where the weights come from: data, config, steps."""
    metrics: Mapping[str, Any] = field(default_factory=dict)
    """Figures by data set and split."""
    types: TypesSpec | None = None
    """What tells the classes apart, where there are several."""
    spec_version: int = SPEC_VERSION

    @property
    def class_count(self) -> int:
        """Classes without the background."""
        return len(self.classes)

    @classmethod
    def from_json(cls, data: bytes, *, where: object = "") -> ModelSpec:
        """Read `model.json`.

        Raises
        ------
        BundleError
            E-BUNDLE-SPEC: not JSON; a key missing, unknown or twice; a value of the wrong kind or size.
        """
        try:
            if len(data) > _MAX_SPEC_BYTES:
                raise ValueError(f"model.json is larger than {_MAX_SPEC_BYTES} bytes")
            record = parse_strict(data)
            check_spec(record)
            spec = cls(**(record | _rebuilt(record)))
            make_head(spec)  # checks the head's settings
        except (ValueError, RecursionError) as error:
            raise BundleError("E-BUNDLE-SPEC", str(error), where=where) from error
        return spec

    def to_json(self) -> bytes:
        """Write what `from_json` reads."""
        return json.dumps(dataclasses.asdict(self), indent=1, allow_nan=False).encode() + b"\n"


def _rebuilt(record: dict[str, Any]) -> dict[str, Any]:
    """Give the values that are tuples and dataclasses here and lists and objects in JSON."""
    classes = tuple(
        ClassSpec(item["value"], item["name"], (item["color"][0], item["color"][1], item["color"][2]))
        for item in record["classes"]
    )
    tuples = {name: tuple(record[name]) for name in ("decoder_channels", "mean", "std")}
    types = record.get("types")  # which bundles from before there were types lack
    return {"classes": classes, "types": types and TypesSpec(**types), **tuples}


@dataclass(frozen=True, slots=True)
class ModelBundle:
    """A bundle on disk."""

    spec: ModelSpec
    folder: Path
    sha256: str
    """Of `model.json`, which holds the sha256 of the weights: it stands for both."""

    def head(self) -> Head:
        """Build the head that decodes this bundle's maps."""
        return make_head(self.spec)

    def read_weights(self) -> bytes:
        """Read the weights and check them: the bytes that were checked are the bytes that are used.

        Raises
        ------
        BundleError
            E-BUNDLE-WEIGHTS: absent, too large, elsewhere, or not those that `model.json` names.
        """
        path = self.folder / WEIGHTS_FILE
        data = _read(path, _MAX_WEIGHTS_BYTES, "E-BUNDLE-WEIGHTS")
        if hashlib.sha256(data).hexdigest() != self.spec.weights_sha256:
            raise BundleError(
                "E-BUNDLE-WEIGHTS",
                "the weights are not those that model.json names",
                where=path,
                fix="install or copy the bundle again",
            )
        return data

    def read_card(self) -> str:
        """Read the model card, Markdown for people.

        Raises
        ------
        BundleError
            E-BUNDLE-SPEC: absent, too large, elsewhere, or no text.
        """
        path = self.folder / CARD_FILE
        try:
            return _read(path, _MAX_CARD_BYTES, "E-BUNDLE-SPEC").decode("utf-8")
        except UnicodeDecodeError as error:
            raise BundleError("E-BUNDLE-SPEC", "the model card is not UTF-8", where=path) from error


def load_bundle(name_or_path: str | Path) -> ModelBundle:
    """Open a bundle by the name of one that ships with the package, or by its folder.

    Raises
    ------
    BundleError
        E-BUNDLE-MISSING or E-BUNDLE-SPEC.
    """
    folder = BUNDLES / name_or_path if str(name_or_path) in bundle_names() else Path(name_or_path)
    if not os.path.isfile(folder / SPEC_FILE):  # unlike Path.is_file, never raises, whatever the name
        raise BundleError(
            "E-BUNDLE-MISSING",
            f"no bundle of that name, and no folder with a {SPEC_FILE}",
            where=name_or_path,
            fix=f"bundles here: {', '.join(bundle_names()) or 'none'}",
        )
    data = _read(folder / SPEC_FILE, _MAX_SPEC_BYTES, "E-BUNDLE-SPEC")
    spec = ModelSpec.from_json(data, where=folder / SPEC_FILE)
    return ModelBundle(spec, folder, hashlib.sha256(data).hexdigest())


def bundle_names() -> list[str]:
    """Name the bundles that ship with the package."""
    return sorted(path.parent.name for path in BUNDLES.glob(f"*/{SPEC_FILE}"))


def list_bundles() -> list[ModelBundle]:
    """Open the bundles that ship with the package."""
    return [load_bundle(name) for name in bundle_names()]


def _read(path: Path, max_bytes: int, code: str) -> bytes:
    if os.path.dirname(os.path.realpath(path)) != os.path.realpath(path.parent):
        raise BundleError(
            code, "the file is a link out of the bundle's folder", where=path, fix="put the file itself there"
        )
    try:
        return read_bounded(path, max_bytes)
    except OSError as error:
        raise BundleError(code, error.strerror or "the file cannot be read", where=path) from error
