"""Make the models that ship: train them, export them, score them.

    python build.py nuclei-025 DATA OUT
    python build.py nuclei-025-types DATA OUT
    python build.py nuclei-050 DATA OUT

DATA holds `tnbc/`, `nuinsseg/`, `brca_m2c/`, `weights/` and, where it is at hand, `nucls/` as published; it gets
`first/`, the first training, `brca_pseudo/`, which that training and the dots of `brca_m2c/` make, `brca_types/`,
which the outlines of nuclei-025 and the dots make, and `nucls_strict/`, on which the bundles are checked. OUT gets
the model's training and the finished bundle. Kill it whenever you like: the same command goes on where it stopped.
`tune_decoding.py` then proposes the thresholds that belong under [model.head_settings] in the config; then the
same command writes the bundle anew without training.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from pseudo_labels import outline_dots
from type_labels import label_types

from wsiseg.cli.train import Report
from wsiseg.fsio import write_atomic
from wsiseg.models.bundle import load_bundle
from wsiseg.train.card import FAILURES_FILE
from wsiseg.train.config import TrainConfig
from wsiseg.train.evaluate import evaluate_bundle
from wsiseg.train.export import export_bundle
from wsiseg.train.failures import draw_failures
from wsiseg.train.folder import CHECKPOINT
from wsiseg.train.loop import train
from wsiseg.train.nucls.prepare import prepare_nucls

HERE = Path(__file__).parent
CARDS = {"nuclei-025": None, "nuclei-025-types": "nuclei-025.md", "nuclei-050": "nuclei-050.md"}
"""Config, a `.toml` -> the words of the model card; the first makes outlines for the second, and never ships."""
SCORED = {"tnbc val": ("tnbc", "val"), "nuinsseg val": ("nuinsseg", "val"), "brca_m2c val": ("brca_m2c", "val")}
SCORED_LAST = {
    "tnbc test": ("tnbc", "test"),
    "nuinsseg test": ("nuinsseg", "test"),
    "brca_m2c test": ("brca_m2c", "test"),
    "nucls": ("nucls_strict", "all"),
}
"""Looked at once, when everything is decided."""
OUTLINED = ("tnbc val", "nuinsseg val")
"""Whose failures can be drawn."""


def main() -> None:
    """Run the recipe."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("model", choices=CARDS)
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--test", action="store_true", help="score the test splits too: once, at the end")
    options = parser.parse_args()
    if not (options.data / "brca_pseudo" / "index.csv").exists():
        config = TrainConfig.from_toml(HERE / "first.toml")
        first = train(config, options.data / "first", options.data, progress=Report())
        outline_dots(first.bundle, options.data / "brca_m2c", options.data / "brca_pseudo")
    config = TrainConfig.from_toml(HERE / f"{options.model}.toml")
    if config.model.types and not (options.data / "brca_types" / "index.csv").exists():
        outlines = load_bundle(config.model.start_from)
        label_types(outlines, options.data / "brca_m2c", options.data / "brca_types")
    if options.test and (options.data / "nucls").is_dir() and not (options.data / "nucls_strict").exists():
        prepare_nucls(options.data / "nucls", options.data / "nucls_strict")
    bundle = train(config, options.out, options.data, progress=Report()).bundle
    results = {}
    for name, (source, split) in (SCORED | (SCORED_LAST if options.test else {})).items():
        if not (options.data / source).is_dir():  # NuCLS need not be at hand
            continue
        results[name] = evaluate_bundle(bundle, options.data / source, split)
        print(name, results[name].summary(), file=sys.stderr)
    failures = draw_failures(bundle, [(options.data / SCORED[name][0], results[name]) for name in OUTLINED])
    write_atomic(bundle.folder / FAILURES_FILE, failures)
    metrics = {name: result.summary() for name, result in results.items()}
    words = CARDS[options.model]
    export_bundle(config, options.out / CHECKPOINT, bundle.folder, metrics, words and HERE / words)
    print(bundle.folder)


if __name__ == "__main__":
    main()
