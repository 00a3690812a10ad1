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
import dataclasses
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np

from wsiseg.models.bundle import ModelSpec, load_bundle
from wsiseg.models.heads import make_head
from wsiseg.models.network import load_network
from wsiseg.train.data import read_index, read_labels, read_rgb
from wsiseg.train.dots import DOTS, compare_dots, read_dots
from wsiseg.train.evaluate import FieldPredictor
from wsiseg.train.metrics import compare
from wsiseg.train.scoring import to_grid
from wsiseg.train.sums import pooled

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy.typing as npt

    from wsiseg.train.metrics import Counts, Detections

    Labels = npt.NDArray[np.int32]
    Field = tuple[npt.NDArray[np.uint8], Callable[[Labels], Detections]]

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
    """Predicted fields and what is wanted of them."""

    name: str
    fields: list[Field]
    """Maps, and what compares labels with the field's truth."""
    figures: tuple[str, ...]
    """What is maximised."""


def predicted(predictor: FieldPredictor, folder: Path, shrink: int) -> list[Field]:
    """Predict a source's validation fields as a scanner that is `shrink` times coarser would have seen them."""
    entries = read_index(folder, "val")
    found: list[Field] = []
    for entry in entries[:: EVERY_NTH_OF_MANY if len(entries) > 30 else 1]:
        rgb = read_rgb(entry.image)
        height, width = rgb.shape[:2]
        seen = cv2.resize(rgb, (width // shrink, height // shrink), interpolation=cv2.INTER_AREA)
        truth = read_labels(entry.instances)
        found.append((predictor.maps(seen, entry.mpp * shrink), partial(compare_at_truth, truth=truth)))
    return found


def compare_at_truth(labels: Labels, truth: Labels) -> Counts:
    """Compare labels with the truth at its resolution."""
    return compare(truth, to_grid(labels, truth.shape))


def predicted_dots(predictor: FieldPredictor, folder: Path) -> list[Field]:
    """Predict the validation fields of BRCA-M2C."""
    found: list[Field] = []
    for entry in read_index(folder, "val", DOTS):
        rgb = read_rgb(entry.image)
        dots = read_dots(entry.instances, rgb.shape).places
        found.append((predictor.maps(rgb, entry.mpp), partial(compare_dots, dots=dots, shape=rgb.shape)))
    return found


def score(spec: ModelSpec, one: FieldSet) -> list[float]:
    """Decode the fields under a spec's settings; give the figures of all of them together."""
    head = make_head(spec)
    total = pooled(compared(head.decode(maps).image()) for maps, compared in one.fields)
    return [getattr(total, name) for name in one.figures]


def search(spec: ModelSpec, sets: Sequence[FieldSet], trials: int) -> dict[str, float]:
    """Try settings at random, then change the best ones one at a time; the seed is fixed."""
    random = np.random.default_rng(0)
    best, best_value = dict(spec.head_settings), -1.0
    for trial in range(trials):
        settings = proposal(trial / trials, best, random)
        tried = dataclasses.replace(spec, head_settings=settings)
        figures = [score(tried, one) for one in sets]
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
        FieldSet(f"{source}/{shrink}", predicted(predictor, options.data / source, shrink), ("f1", "pq"))
        for source in ("tnbc", "nuinsseg")
        for shrink in (1, 2)
    ]
    sets.append(FieldSet("brca_m2c", predicted_dots(predictor, options.data / "brca_m2c"), ("f1",)))
    best = search(bundle.spec, sets, options.trials)
    print("[model.head_settings]")
    for name, value in sorted(best.items()):
        print(f"{name} = {value}")


if __name__ == "__main__":
    main()
