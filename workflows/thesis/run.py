"""From a NuCLS folder to the thesis' table and figures: prepare, train three networks, evaluate, compare.

    python run.py NUCLS OUT

OUT/nucls gets the prepared fields, OUT/<network> each training, OUT/comparison table, figures and one page.
Kill it whenever you like: the same command goes on where it stopped.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from wsiseg.cli.train import Report
from wsiseg.errors import WsisegError
from wsiseg.fsio import write_atomic
from wsiseg.models.bundle import SPEC_FILE
from wsiseg.train.card import FAILURES_FILE, write_card
from wsiseg.train.compare.comparison import compare_runs
from wsiseg.train.config import TrainConfig
from wsiseg.train.evaluate import evaluate_bundle
from wsiseg.train.failures import draw_failures
from wsiseg.train.loop import train
from wsiseg.train.nucls.prepare import prepare_nucls

if TYPE_CHECKING:
    from wsiseg.models.bundle import ModelBundle

HERE = Path(__file__).resolve().parent
NETWORKS = "inceptionv3", "efficientnet-b2", "resnet34"
FIELDS = "nucls"
"""The folder that the three configs name as their source."""
QUICK_EPOCHS, QUICK_STEPS, QUICK_BATCH = 2, 2, 2


def main(arguments: list[str] | None = None) -> None:
    """Run the workflow."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("nucls", type=Path, help="the published folder, with rgb, csv and mask")
    parser.add_argument("out", type=Path)
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or mps")
    parser.add_argument(
        "--encoder-weights", default="imagenet", metavar="imagenet|none|FOLDER",
        help="what the encoders begin with: the hub's ImageNet weights, random ones,\n"
        "or FOLDER/<network>.safetensors",
    )  # fmt: skip
    parser.add_argument("--quick", action="store_true", help="a few steps only, to see that everything works")
    options = parser.parse_args(arguments)
    try:
        page = reproduce(options)
    except WsisegError as error:
        print(error, file=sys.stderr)
        sys.exit(error.exit_status)
    print(page)


def reproduce(options: argparse.Namespace) -> Path:
    """Take all steps that are not done yet, and give the comparison's page."""
    fields = options.out / FIELDS
    if not (fields / "index.csv").is_file():  # it gets its name when it is whole
        say(f"preparing {options.nucls}")
        prepare_nucls(options.nucls, fields, "thesis")
    for name in NETWORKS:
        say(f"training {name}")
        config = recipe(name, options.encoder_weights, quick=options.quick)
        outcome = train(config, options.out / name, options.out, options.device, progress=Report())
        say(f"evaluating {name}")
        describe(outcome.bundle, fields, options.device)
    say("comparing")
    runs = [options.out / name for name in NETWORKS]
    return compare_runs(runs, options.out / "comparison", fields, "val", options.device, say)


def recipe(name: str, encoder_weights: str, *, quick: bool) -> TrainConfig:
    """Read a network's config and change in it what the command line asks for."""
    config = TrainConfig.from_toml(HERE / f"{name}.toml")
    weights = {"imagenet": "imagenet", "none": ""}.get(encoder_weights)
    if weights is None:
        weights = str(Path(encoder_weights).resolve() / f"{name}.safetensors")
    model, schedule = dataclasses.replace(config.model, encoder_weights=weights), config.schedule
    if quick:
        schedule = dataclasses.replace(
            schedule, epochs=QUICK_EPOCHS, steps_per_epoch=QUICK_STEPS, batch=QUICK_BATCH
        )
    return dataclasses.replace(config, model=model, schedule=schedule)


def describe(bundle: ModelBundle, fields: Path, device: str) -> None:
    """Put a bundle's figures on the validation fields into it, and write its card."""
    result = evaluate_bundle(bundle, fields, "val", device)
    spec = dataclasses.replace(bundle.spec, metrics={f"{FIELDS} val": result.summary()})
    write_atomic(bundle.folder / FAILURES_FILE, draw_failures(bundle, [(fields, result)], each=4, device=device))
    write_card(dataclasses.replace(bundle, spec=spec), HERE / "card.md")
    write_atomic(bundle.folder / SPEC_FILE, spec.to_json())


def say(line: str) -> None:
    """Tell what is going on."""
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
