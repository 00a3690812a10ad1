"""Make the default model: train it, export it, score it.

    python build.py DATA OUT [--config nuclei-025.toml]

DATA holds `tnbc/`, `nuinsseg/` and `weights/`; OUT gets the checkpoint and the finished bundle. Kill it whenever
you like: the same command goes on where it stopped. `tune_decoding.py` then proposes the thresholds that belong
under [model.head_settings] in the config; after that the same command writes the bundle anew without training.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from wsiseg.train.evaluate import evaluate_bundle
from wsiseg.train.export import export_bundle
from wsiseg.train.loop import train

if TYPE_CHECKING:
    from collections.abc import Callable

    from wsiseg.train.loop import Progress

SCORED = {"tnbc val": ("tnbc", "val"), "nuinsseg val": ("nuinsseg", "val")}
SCORED_LAST = {"tnbc test": ("tnbc", "test"), "nuinsseg test": ("nuinsseg", "test")}
"""Looked at once, when everything is decided."""


def printer() -> Callable[[Progress], None]:
    """Print a line every ten steps and at each validation, with the time left."""
    began, first = time.monotonic(), 0

    def show(now: Progress) -> None:
        nonlocal first
        first = first or now.step
        if now.step % 10 and not now.validation:
            return
        seconds = (time.monotonic() - began) / (now.step - first + 1)
        left = seconds * (now.steps - now.step) / 60
        figures = " ".join(f"{name} {value:.3f}" for name, value in (now.validation or {}).items())
        print(f"step {now.step}/{now.steps} loss {now.loss:.3f} {left:.0f} min left {figures}", flush=True)

    return show


def main() -> None:
    """Run the recipe."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--config", type=Path, default=Path(__file__).parent / "nuclei-025.toml")
    parser.add_argument("--test", action="store_true", help="score the test splits too: once, at the end")
    options = parser.parse_args()
    checkpoint = train(options.config, options.out, options.data, progress=printer())
    folder = options.out / "bundle"
    bundle = export_bundle(options.config, checkpoint, folder)
    metrics = {}
    for name, (source, split) in (SCORED | (SCORED_LAST if options.test else {})).items():
        metrics[name] = evaluate_bundle(bundle, options.data / source, split).as_dict()
        print(name, metrics[name], file=sys.stderr)
    export_bundle(options.config, checkpoint, folder, metrics)
    print(folder)


if __name__ == "__main__":
    main()
