"""The models to compare: what each bundle knows of its training."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING

from wsiseg.errors import BundleError, SettingsError
from wsiseg.models.bundle import SPEC_FILE, ModelBundle, load_bundle
from wsiseg.models.facts import began_with

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

BUNDLE_FOLDER = "bundle"
"""Where `wsiseg train` puts the bundle in its output folder."""


@dataclass(frozen=True, slots=True)
class Figures:
    """Means over the batches of an epoch; IoU and F-score are means over background and nucleus too."""

    loss: float
    iou: float
    fscore: float


@dataclass(frozen=True, slots=True)
class Epoch:
    """One line of `epochs.csv`, which the bundle repeats."""

    epoch: int
    """Counted from 1."""
    train: Figures
    val: Figures


@dataclass(frozen=True, slots=True)
class Run:
    """One model to compare."""

    name: str
    """What the tables and figures call it."""
    folder: Path
    bundle: ModelBundle
    epochs: tuple[Epoch, ...]
    """Empty where the bundle tells nothing of them."""

    @property
    def best(self) -> Epoch:
        """The epoch of the highest validation IoU, the first of equals."""
        return max(self.epochs, key=lambda epoch: epoch.val.iou)

    @property
    def start(self) -> str:
        """What the training began with."""
        return began_with(self.bundle.spec)


def read_runs(folders: Sequence[Path]) -> list[Run]:
    """Read output folders of `wsiseg train`, and bundles, and give each a name of its own.

    Raises
    ------
    BundleError
        E-BUNDLE-MISSING: a folder holds no bundle, say because its training is not finished.
    SettingsError
        E-USAGE: a folder is named twice.
    """
    if len({folder.resolve() for folder in folders}) < len(folders):
        raise SettingsError("E-USAGE", "a folder is named twice", fix="name each once")
    runs = [_read(folder) for folder in folders]
    for name_of in (lambda run: run.folder.resolve().name, lambda run: str(run.folder)):
        often = Counter(run.name for run in runs)
        runs = [replace(run, name=name_of(run)) if often[run.name] > 1 else run for run in runs]
    return runs


def _read(folder: Path) -> Run:
    places = [place for place in (folder, folder / BUNDLE_FOLDER) if (place / SPEC_FILE).is_file()]
    if not places:
        raise BundleError(
            "E-BUNDLE-MISSING",
            "the folder is neither a bundle nor a finished training",
            where=folder,
            fix="let `wsiseg train` finish it; the same command continues",
        )
    bundle = load_bundle(places[0])
    return Run(bundle.spec.name, folder, bundle, _epochs(bundle.spec.training.get("history")))


def _epochs(history: object) -> tuple[Epoch, ...]:
    """Read the epochs of a bundle's history; none where it has another form."""
    try:
        return tuple(Epoch(int(row["epoch"]), _figures(row, "train"), _figures(row, "val")) for row in history)  # type: ignore[attr-defined]
    except (KeyError, TypeError, ValueError):
        return ()


def _figures(row: dict[str, float], part: str) -> Figures:
    return Figures(**{field.name: float(row[f"{part}_{field.name}"]) for field in fields(Figures)})
