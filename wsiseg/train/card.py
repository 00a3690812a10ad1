"""The model card: a bundle's README.md, made of words by hand and of what `model.json` knows.

The words are a Markdown file with marks, `<!-- card: NAME -->` on a line of their own. In their places come the
parts that must not drift from the bundle.
"""

from __future__ import annotations

import re
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from wsiseg import fsio
from wsiseg.errors import SettingsError
from wsiseg.models.bundle import WEIGHTS_FILE
from wsiseg.models.facts import began_with, trained_for, trained_on
from wsiseg.models.heads import make_head
from wsiseg.models.network import count_parameters
from wsiseg.train.tables import Table, markdown_table, with_interval
from wsiseg.train.typetables import calibration_line, class_table, confusion_table, counted_how

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from wsiseg.models.bundle import ModelBundle, ModelSpec

CARD_FILE = "README.md"
FAILURES_FILE = "failures.jpg"
"""What `wsiseg.train.failures` draws; shown where it lies beside `model.json`."""
_MARK = re.compile(r"^<!-- card: (\w+) -->$", re.MULTILINE)
_WITH_INTERVAL = (("dice", "Dice"), ("f1", "F1"), ("pq", "PQ"), ("aji", "AJI"))


def write_card(bundle: ModelBundle, words: Path | None = None) -> None:
    """Write a bundle's card into its folder, where its weights and pictures already are.

    Parameters
    ----------
    words
        The part by hand, Markdown with marks; by default, words that hold for any bundle.

    Raises
    ------
    SettingsError
        E-CONFIG: the words cannot be read, or a mark is missing or unknown.
    """
    source = words or files("wsiseg.train").joinpath("card.md")
    try:
        card = render_card(bundle, source.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise SettingsError("E-CONFIG", f"no words of a card: {error}", where=source) from error
    fsio.write_atomic(bundle.folder / CARD_FILE, card.encode())


def render_card(bundle: ModelBundle, words: str) -> str:
    """Put what the bundle knows in the places of the marks.

    Raises
    ------
    ValueError
        A mark is missing, unknown or there twice.
    """
    parts = {"title": _title, "facts": _facts, "figures": _figures, "failures": _failures}
    marks = _MARK.findall(words)
    if sorted(marks) != sorted(parts):
        raise ValueError(f"the marks are {', '.join(marks) or 'none'}, not {', '.join(parts)}, each once")
    return _MARK.sub(lambda mark: parts[mark[1]](bundle), words)


def _title(bundle: ModelBundle) -> str:
    spec = bundle.spec
    return (
        f"# {spec.name} {spec.version}\n\nFor research, **not for diagnosis**: no clinical study stands behind it."
    )


def _facts(bundle: ModelBundle) -> str:
    spec = bundle.spec
    size = f"{count_parameters(spec) / 1e6:.1f} million parameters"
    megabytes = (bundle.folder / WEIGHTS_FILE).stat().st_size / 1e6
    rows = [
        ("Network", f"{spec.architecture}, encoder {spec.encoder}, {size}"),
        ("Weights", f"{megabytes:.1f} MB, {spec.licence}"),
        ("Resolution", f"{spec.mpp:g} um/px"),
        ("Head", f"{spec.head}: {', '.join(make_head(spec).maps)}"),
        ("Classes", ", ".join(kind.name for kind in spec.classes)),
        *_training(spec),
    ]
    return markdown_table(Table(("", ""), tuple(rows)))


def _training(spec: ModelSpec) -> list[tuple[str, str]]:
    """Say what the weights were learned from, as far as the bundle tells."""
    data, steps = trained_on(spec), trained_for(spec)
    if not (data and steps):
        return []
    return [("Trained on", data), ("Training", f"{steps}, begun with {began_with(spec)}")]


def _figures(bundle: ModelBundle) -> str:
    metrics = bundle.spec.metrics
    if not metrics:
        return "No figures are recorded: nobody has evaluated this bundle yet."
    titles = (title for _, title in _WITH_INTERVAL)
    header = ("data", "split", "fields", "groups", "nuclei", *titles, "precision", "recall")
    table = Table(header, tuple(_figure_row(summary) for summary in metrics.values()))
    words = (
        "By `wsiseg evaluate`: each field predicted whole and compared at its own resolution; nuclei match at an\n"
        "IoU above 0.5; all fields of a split are pooled. In brackets the 95 % interval, from drawing whole\n"
        "groups, which are patients or organs."
    )
    types = (_types(summary) for summary in metrics.values() if "types" in summary)
    return "\n\n".join((markdown_table(table), words, *types))


def _figure_row(summary: Mapping[str, Any]) -> tuple[str, ...]:
    """Lay out one evaluation's summary; dots have no areas, so no Dice."""
    pooled, intervals = summary["pooled"], summary["intervals"]
    return (
        summary["data"],
        summary["split"],
        f"{summary['images']:,}",
        f"{summary['groups']:,}",
        f"{summary['nuclei_true']:,}",
        *(with_interval(pooled.get(name), intervals.get(name)) for name, _ in _WITH_INTERVAL),
        f"{pooled['precision']:.3f}",
        f"{pooled['recall']:.3f}",
    )


def _types(summary: Mapping[str, Any]) -> str:
    """Lay out what nuclei were taken for in one evaluation of a bundle of several classes."""
    types = summary["types"]
    return "\n\n".join(
        part
        for part in (
            f"### Types: {summary['data']}, {summary['split']}",
            markdown_table(class_table(types)),
            f"{counted_how(types)} The confusion, whatever the class of those that match:",
            markdown_table(confusion_table(types)),
            calibration_line(types),
        )
        if part
    )


def _failures(bundle: ModelBundle) -> str:
    # Without figures a picture is one of earlier weights.
    if not (bundle.spec.metrics and (bundle.folder / FAILURES_FILE).is_file()):
        return "No pictures of failures have been drawn."
    return (
        f"![Fields with the true nuclei and the outlines found]({FAILURES_FILE})\n\n"
        "The fields of the lowest F1: the image, and beside it the true nuclei, filled, with the outlines that\n"
        "the model found. Only the middle of a large field is shown; the numbers are of the whole."
    )
