"""Choose the decoding thresholds of a bundle on validation fields, and print them as TOML.

    python tune_decoding.py BUNDLE DATA [--trials 150]

The network runs once over the fields; the search then decodes the same maps again and again. Each source is
seen twice, as it is and as a scanner of half its resolution would have seen it, because slides at 0.5 um/px are
enlarged to the model's resolution. What is maximised is the mean of F1 and panoptic quality over these sets, and
of the F1 of dots on the TCGA fields of BRCA-M2C, where large pale nuclei are easily split: a nucleus is right if
it holds a dot, and each further dot in it is missed.
"""

from __future__ import annotations

import argparse
import csv
import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from wsiseg.models.bundle import ModelSpec, load_bundle
from wsiseg.models.heads import make_head
from wsiseg.models.network import load_network
from wsiseg.train.data import read_index, read_labels, read_rgb
from wsiseg.train.evaluate import FieldPredictor, to_grid
from wsiseg.train.metrics import Counts, compare

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy.typing as npt

    Maps = npt.NDArray[np.uint8]
    FieldMaps = tuple[Maps, npt.NDArray[Any]]

CHOICES: dict[str, Sequence[float]] = {
    "probability": (0.35, 0.4, 0.45, 0.5, 0.55),
    "core_low": (0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4),
    "core_high": (0.45, 0.5, 0.55, 0.6, 0.65, 0.7, 0.8),
    "core_levels": (2, 3, 4, 5, 6),
    "blur_radius_px": (1, 2, 3, 4, 5),
    "prominence": (0.0, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3),
    "seed_area_um2": (0.5, 1.0, 2.0, 3.0, 4.0, 6.0),
    "min_area_um2": (3.0, 4.0, 5.0, 6.0, 8.0),
}
EVERY_NTH_OF_MANY = 3
"""Of a source with many fields every third is taken: the search's time goes with the fields."""


@dataclass(frozen=True, slots=True)
class FieldSet:
    """Predicted fields and how to score them."""

    name: str
    fields: list[FieldMaps]
    score: Callable[[ModelSpec, list[FieldMaps]], tuple[float, ...]]


def predicted(predictor: FieldPredictor, folder: Path, shrink: int) -> list[FieldMaps]:
    """Give maps and truth of a source's validation fields, seen by a scanner that is `shrink` times coarser."""
    entries = read_index(folder, "val")
    found = []
    for entry in entries[:: EVERY_NTH_OF_MANY if len(entries) > 30 else 1]:
        rgb = read_rgb(entry.image)
        height, width = rgb.shape[:2]
        seen = cv2.resize(rgb, (width // shrink, height // shrink), interpolation=cv2.INTER_AREA)
        found.append((predictor.maps(seen, entry.mpp * shrink), read_labels(entry.instances)))
    return found


def predicted_dots(predictor: FieldPredictor, folder: Path) -> list[FieldMaps]:
    """Give maps and dots (x, y), in um, of the validation fields of BRCA-M2C."""
    found = []
    with (folder / "index.csv").open(newline="", encoding="utf-8") as lines:
        rows = [row for row in csv.DictReader(lines) if row["split"] == "val"]
    for row in rows:
        mpp = float(row["mpp"])
        dots = np.loadtxt(folder / row["labels"], ndmin=2)[:, 1::-1] * mpp
        found.append((predictor.maps(read_rgb(folder / row["image"]), mpp), dots))
    return found


def score(spec: ModelSpec, fields: list[FieldMaps]) -> tuple[float, float]:
    """Decode the fields under a spec's settings; give F1 and panoptic quality."""
    head = make_head(spec)
    counts = (compare(truth, to_grid(head.decode(maps), truth.shape)) for maps, truth in fields)
    total = sum(counts, Counts())
    return total.f1, total.pq


def score_dots(spec: ModelSpec, fields: list[FieldMaps]) -> tuple[float]:
    """Decode the fields under a spec's settings; give the F1 of dots in nuclei, one to one."""
    head = make_head(spec)
    hits = everything = 0
    for maps, dots in fields:
        labels = head.decode(maps)
        column, row = np.clip(dots / spec.mpp, 0, np.array(labels.shape)[::-1] - 1).astype(np.intp).T
        hits += np.count_nonzero(np.unique(labels[row, column]))
        everything += len(dots) + int(labels.max())
    return (2 * hits / everything,)


def search(spec: ModelSpec, sets: Sequence[FieldSet], trials: int) -> dict[str, float]:
    """Try settings at random, then change the best ones one at a time; the seed is fixed."""
    random = np.random.default_rng(0)
    best, best_value = dict(spec.head_settings), -1.0
    for trial in range(trials):
        settings = proposal(trial / trials, best, random)
        tried = dataclasses.replace(spec, head_settings=settings)
        figures = [one.score(tried, one.fields) for one in sets]
        value = float(np.mean([np.mean(numbers) for numbers in figures]))
        if value > best_value:
            best, best_value = settings, value
            shown = ", ".join(
                one.name + "".join(f" {number:.3f}" for number in numbers)
                for one, numbers in zip(sets, figures, strict=True)
            )
            print(f"# trial {trial}: {value:.4f}; F1 and PQ: {shown}; {settings}", flush=True)
    return best


def proposal(progress: float, best: dict[str, float], random: np.random.Generator) -> dict[str, float]:
    """Give the next settings: first those of the bundle, then random ones, then neighbours of the best."""
    while True:
        if progress == 0:
            return best
        if progress < 0.5:
            settings = {name: float(random.choice(values)) for name, values in CHOICES.items()}
        else:
            name = str(random.choice(list(CHOICES)))
            settings = best | {name: float(random.choice(CHOICES[name]))}
        if settings.get("core_low", 0.0) < settings.get("core_high", 1.0):
            return settings


def main() -> None:
    """Run the search for a bundle."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("bundle")
    parser.add_argument("data", type=Path)
    parser.add_argument("--trials", type=int, default=150)
    options = parser.parse_args()
    bundle = load_bundle(options.bundle)
    predictor = FieldPredictor(load_network(bundle), bundle.spec)
    sets = [
        FieldSet(f"{source}/{shrink}", predicted(predictor, options.data / source, shrink), score)
        for source in ("tnbc", "nuinsseg")
        for shrink in (1, 2)
    ]
    sets.append(FieldSet("brca_m2c", predicted_dots(predictor, options.data / "brca_m2c"), score_dots))
    best = search(bundle.spec, sets, options.trials)
    print("[model.head_settings]")
    for name, value in sorted(best.items()):
        print(f"{name} = {value}")


if __name__ == "__main__":
    main()
