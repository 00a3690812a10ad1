"""Make the models that ship: train them, export them, score them.

    python build.py nuclei-025 DATA OUT
    python build.py nuclei-050 DATA OUT

DATA holds `tnbc/`, `nuinsseg/`, `brca_m2c/`, `weights/` and, where it is at hand, `nucls/` as published; it gets
`first/`, the first training, `brca_pseudo/`, which that training and the dots of `brca_m2c/` make, and
`nucls_strict/`, on which the bundles are checked. OUT gets the model's training and the finished bundle. Kill it
whenever you like: the same command goes on where it stopped. `tune_decoding.py` then proposes the thresholds that
belong under [model.head_settings] in the config; then the same command writes the bundle anew without training.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from pseudo_labels import outline_dots

from wsiseg.cli.train import Report
from wsiseg.fsio import write_atomic
from wsiseg.train.card import FAILURES_FILE
from wsiseg.train.config import TrainConfig
from wsiseg.train.evaluate import evaluate_bundle
from wsiseg.train.export import export_bundle
from wsiseg.train.failures import draw_failures
from wsiseg.train.folder import CHECKPOINT
from wsiseg.train.loop import train
from wsiseg.train.nucls.prepare import prepare_nucls

HERE = Path(__file__).parent
MODELS = ("nuclei-025", "nuclei-050")
"""Each with a config, `.toml`, and the words of its model card, `.md`."""
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
    parser.add_argument("model", choices=MODELS)
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--test", action="store_true", help="score the test splits too: once, at the end")
    options = parser.parse_args()
    if not (options.data / "brca_pseudo" / "index.csv").exists():
        config = TrainConfig.from_toml(HERE / "first.toml")
        first = train(config, options.data / "first", options.data, progress=Report())
        outline_dots(first.bundle, options.data / "brca_m2c", options.data / "brca_pseudo")
    if options.test and (options.data / "nucls").is_dir() and not (options.data / "nucls_strict").exists():
        prepare_nucls(options.data / "nucls", options.data / "nucls_strict")
    config = TrainConfig.from_toml(HERE / f"{options.model}.toml")
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
    export_bundle(config, options.out / CHECKPOINT, bundle.folder, metrics, HERE / f"{options.model}.md")
    print(bundle.folder)


if __name__ == "__main__":
    main()
