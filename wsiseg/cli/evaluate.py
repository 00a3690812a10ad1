"""`wsiseg evaluate`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from wsiseg.cli import print_json
from wsiseg.cli.options import json_option

if TYPE_CHECKING:
    from collections.abc import Iterator

_TITLES = {
    "dice": "Dice", "iou": "IoU", "f1": "F1", "precision": "precision", "recall": "recall",
    "pq": "PQ", "aji": "AJI", "pooled_dice": "pooled Dice",
}  # fmt: skip
_COUNTED = {
    "ignore": "Nuclei match at IoU over 0.5. Left out: what is outside the field; nuclei that only a box marks.",
    "count": "Nuclei match at IoU over 0.5; boxes count as nuclei. Left out: what is outside the field.",
    "dots": "A nucleus that holds a dot is found; each further dot in it is missed.",
}


@click.command()
@click.option("--model", metavar="BUNDLE", help="A bundle's name or folder.  [default: the package's]")
@click.option(
    "--data",
    type=click.Path(path_type=Path),
    required=True,
    metavar="DIR",
    help="Folder with index.csv, images and instance maps or dots.",
)
@click.option("--split", default="test", show_default=True, help="A split of index.csv, or all.")
@click.option(
    "--boxes",
    type=click.Choice(["ignore", "count"]),
    default="ignore",
    show_default=True,
    help="What to do with nuclei that only a box marks.",
)
@click.option("--device", default="auto", show_default=True, metavar="auto|cpu|cuda|mps|openvino")
@json_option
def evaluate(model: str | None, data: Path, split: str, boxes: str, device: str, *, as_json: bool) -> None:
    """Score a bundle on labelled fields.

    Dice, IoU, F1 at IoU 0.5, PQ and AJI at the resolution of the truth, pooled and as means over images, with 95 %
    intervals over patients; IoU and F-score as in the thesis. Where the truth is dots, F1 of dots in nuclei. Where
    model and truth tell types, F1 of each, confusion and calibration.
    """
    from wsiseg.models.bundle import DEFAULT_BUNDLE, load_bundle
    from wsiseg.train.evaluate import evaluate_bundle

    bundle = load_bundle(model or DEFAULT_BUNDLE)
    result = evaluate_bundle(bundle, data, split, device, _show_images, count_boxes=boxes == "count")
    if as_json:
        print_json(result.as_dict())
        return
    for line in _lines(result.summary()):
        click.echo(line)


def _show_images(done: int, total: int) -> None:
    if done % 20 == 0 or done == total:
        click.echo(f"{done}/{total} images", err=True)


def _lines(found: dict[str, Any]) -> Iterator[str]:
    """Lay the summary out for a person."""
    groups = "1 group" if found["groups"] == 1 else f"{found['groups']} groups"
    scored = f"{found['data']}, {found['split']}: {found['images']} images of {groups}"
    yield f"{found['bundle']} {found['version']} on {scored}"
    yield f"{found['nuclei_predicted']:,} nuclei found, {found['nuclei_true']:,} true"
    yield ""
    yield f"{'':<13} pooled   95 % interval      mean of images"
    for name, value in found["pooled"].items():
        yield f"{_row(name, value, found['intervals'])}   {found['mean_of_images'][name]:.4f}"
    if outlined := found["outlined"]:
        yield f"Each of {outlined['nuclei']:,} outlined nuclei with the one found that fits best:"
        yield from (_row(name, outlined[name], outlined["intervals"]) for name in outlined["intervals"])
    if thesis := found["thesis"]:
        yield (
            f"As in the thesis: IoU {thesis['iou']:.4f}, F-score {thesis['fscore']:.4f}, "
            f"Keras mean IoU {thesis['keras_mean_iou']:.4f}"
        )
    yield ""
    yield _COUNTED["dots" if found["truth"] == "dots" else found["boxes"]]
    if types := found.get("types"):
        yield from _type_lines(types)


def _type_lines(types: dict[str, Any]) -> Iterator[str]:
    """Lay out what nuclei were taken for."""
    from wsiseg.train import typetables
    from wsiseg.train.tables import aligned_lines

    yield ""
    yield from aligned_lines(typetables.class_table(types))
    yield typetables.counted_how(types)
    yield ""
    yield from aligned_lines(typetables.confusion_table(types))
    yield "A row for each true class, a column for what nuclei were taken for."
    if types["calibration"]:
        yield ""
        yield from aligned_lines(typetables.calibration_table(types))
        yield typetables.calibration_line(types)


def _row(name: str, value: float, intervals: dict[str, list[float] | None]) -> str:
    interval = intervals[name]
    ends = f"{interval[0]:.4f} to {interval[1]:.4f}" if interval else "one group only"
    return f"{_TITLES[name]:<13} {value:.4f}   {ends:<16}"
