"""Choose the decoding thresholds of a bundle on validation fields, and print them as TOML.

    python tune_decoding.py BUNDLE DATA [--trials 150]

The network runs once over the fields; the search then decodes the same maps again and again. Each source is
seen twice, as it is and as a scanner of half its resolution would have seen it, because slides at 0.5 um/px are
enlarged to the model's resolution. What is maximised is the mean of F1 and panoptic quality over these sets.
"""

from __future__ import annotations

import argparse
import dataclasses
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np

from wsiseg.models.bundle import ModelSpec, load_bundle
from wsiseg.models.heads import make_head
from wsiseg.models.network import load_network
from wsiseg.train.data import read_index, read_labels, read_rgb
from wsiseg.train.evaluate import FieldPredictor, to_grid
from wsiseg.train.metrics import Counts, compare

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    FieldMaps = tuple[npt.NDArray[np.uint8], npt.NDArray[np.int32]]

CHOICES: dict[str, Sequence[float]] = {
    "probability": (0.35, 0.4, 0.45, 0.5, 0.55),
    "core_low": (0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4),
    "core_high": (0.45, 0.5, 0.55, 0.6, 0.65, 0.7, 0.8),
    "core_levels": (2, 3, 4, 5, 6),
    "prominence": (0.0, 0.05, 0.1, 0.15, 0.2),
    "seed_area_um2": (0.5, 1.0, 1.5, 2.0, 3.0, 4.0),
    "min_area_um2": (3.0, 4.0, 5.0, 6.0, 8.0),
}
EVERY_NTH_OF_MANY = 3
"""Of a source with many fields every third is taken: the search's time goes with the fields."""


def predicted(spec: ModelSpec, predictor: FieldPredictor, folder: Path, shrink: int) -> list[FieldMaps]:
    """Give maps and truth of a source's validation fields, seen by a scanner that is `shrink` times coarser."""
    entries = read_index(folder, "val")
    found = []
    for entry in entries[:: EVERY_NTH_OF_MANY if len(entries) > 30 else 1]:
        rgb = read_rgb(entry.image)
        height, width = rgb.shape[:2]
        seen = cv2.resize(rgb, (width // shrink, height // shrink), interpolation=cv2.INTER_AREA)
        found.append((predictor.maps(seen, entry.mpp * shrink), read_labels(entry.instances)))
    return found


def score(spec: ModelSpec, fields: list[FieldMaps]) -> Counts:
    """Decode and compare the fields under a spec's settings."""
    head = make_head(spec)
    return sum((compare(truth, to_grid(head.decode(maps), truth.shape)) for maps, truth in fields), Counts())


def search(spec: ModelSpec, sets: dict[str, list[FieldMaps]], trials: int) -> dict[str, float]:
    """Try settings at random, then change the best ones one at a time; the seed is fixed."""
    random = np.random.default_rng(0)
    best, best_value = dict(spec.head_settings), -1.0
    for trial in range(trials):
        settings = proposal(trial / trials, best, random)
        tried = dataclasses.replace(spec, head_settings=settings)
        with ThreadPoolExecutor(2) as threads:
            counts = list(threads.map(partial(score, tried), sets.values()))
        value = float(np.mean([(c.f1 + c.pq) / 2 for c in counts]))
        if value > best_value:
            best, best_value = settings, value
            shown = " ".join(f"{n} {c.f1:.3f}/{c.pq:.3f}" for n, c in zip(sets, counts, strict=True))
            print(f"# trial {trial}: {value:.4f}  F1/PQ {shown}  {settings}", flush=True)
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
    sets = {
        f"{source} / {shrink}": predicted(bundle.spec, predictor, options.data / source, shrink)
        for source in ("tnbc", "nuinsseg")
        for shrink in (1, 2)
    }
    best = search(bundle.spec, sets, options.trials)
    print("[model.head_settings]")
    for name, value in sorted(best.items()):
        print(f"{name} = {value}")


if __name__ == "__main__":
    main()
