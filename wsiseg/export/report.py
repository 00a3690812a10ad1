"""`report.html`: a run for people, in one file that loads nothing from anywhere.

Knows `summary.json`, `run.json` and pictures, no slide and no run directory.
"""

from __future__ import annotations

from base64 import b64encode
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import cv2

from wsiseg.export.classes import class_keys, classes_section
from wsiseg.export.markup import Histogram, Page, cards, document, draw_histogram, number, section, table, text
from wsiseg.export.provenance import making_section, model_section, slide_section
from wsiseg.export.trust import VERDICTS, findings, verdict

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np
    import numpy.typing as npt

    from wsiseg.export.field import Field

LONGEST_PX, FIELD_PX = 1600, 800
"""Long side of a picture and of an example field in the report; the files beside it have every pixel."""
MOST_GAPS = 100
"""Squares that could not be read, at most so many in the list."""
TILE_PX = 256
"""Side of the squares that the slide is divided into, px of the model's frame; fixed for every bundle."""
GRADES = {"good": "Good", "look": "Look", "bad": "Problem"}
SHAPES = {
    "circularity": ("Circularity", "1 is a disc; ragged and long outlines have less"),
    "eccentricity": ("Eccentricity", "0 is round, 1 a line"),
    "probability": ("Probability", "how sure the network is of each nucleus, 0 to 1"),
}
"""Keys of the summary whose distributions are drawn small, and what they mean."""


@dataclass(frozen=True)
class ReportImages:
    """The pictures of a report."""

    overview: npt.NDArray[np.uint8]
    """(height, width, 3) RGB."""
    fields: Sequence[Field] = ()


def render_report(summary: Mapping[str, Any], record: Mapping[str, Any], images: ReportImages) -> str:
    """Give the report as HTML.

    Parameters
    ----------
    summary
        The content of `summary.json`.
    record
        The content of `run.json`.
    """
    sections = (
        _headline(summary),
        _trust(summary),
        _overview(summary, images),
        classes_section(summary),
        _gaps(summary),
        _examples(summary, images),
        _areas(summary),
        _shapes(summary),
        _tiles(summary),
        _outlines(summary),
        slide_section(summary),
        model_section(summary),
        making_section(summary, record),
    )
    return document(Page(summary["slide"]["name"], "Nuclei of a slide", summary["wsiseg_version"]), sections)


def _picture(rgb: npt.NDArray[np.uint8], alternative: str, longest_px: int) -> str:
    """Embed a picture, small enough to be sent by mail."""
    height, width = rgb.shape[:2]
    shrink = min(longest_px / max(height, width), 1.0)
    size = max(round(width * shrink), 1), max(round(height * shrink), 1)
    smaller = cv2.resize(rgb, size, interpolation=cv2.INTER_AREA)[..., ::-1]
    _, jpeg = cv2.imencode(".jpg", smaller, [cv2.IMWRITE_JPEG_QUALITY, 88])
    data = b64encode(jpeg.tobytes()).decode("ascii")
    place = f'width="{size[0]}" height="{size[1]}" alt="{text(alternative)}"'
    return f'<img src="data:image/jpeg;base64,{data}" {place}>'


def _headline(summary: Mapping[str, Any]) -> str:
    area = summary["area_um2"]
    return cards(
        [
            ("Nuclei per mm² of tissue", number(summary["nuclei_per_mm2"]), ""),
            ("Nuclei", number(summary["nuclei"]), ""),
            ("Tissue", number(summary["tissue_mm2"], 2), "mm²"),
            ("Median nuclear area", number(area["median"], 1), "µm²"),
        ]
    )


def _trust(summary: Mapping[str, Any]) -> str:
    """Answer the question that comes after the numbers."""
    found = findings(summary)
    items = "".join(
        f'<li><span class="grade {one.grade}">{GRADES[one.grade]}</span>'
        f"<div><b>{text(one.about)}.</b> {text(one.text)}</div></li>"
        for one in found
    )
    answer = f'<p class="answer">{text(VERDICTS[verdict(found)])}</p>'
    return section("Can this be trusted?", answer, f'<ul class="findings">{items}</ul>')


def _overview(summary: Mapping[str, Any], images: ReportImages) -> str:
    caption = (
        f"The slide with the density of its {summary['nuclei']:,} nuclei: the darker the blue, the more nuclei "
        "per mm² of tissue. The legend below the picture has the scale."
    )
    alternative = "The slide, with a map of how dense the nuclei lie"
    if "classes" in summary:
        caption = f"The slide with its {summary['nuclei']:,} nuclei, each a dot in the colour of its class."
        alternative = "The slide, with its nuclei in the colours of their classes"
    picture = _picture(images.overview, alternative, LONGEST_PX)
    return section("Overview", f'<figure class="wide">{picture}<figcaption>{caption}</figcaption></figure>')


def _gaps(summary: Mapping[str, Any]) -> str:
    """List where the slide could not be read."""
    lost = summary.get("unreadable_tiles", ())
    if not lost:
        return ""
    rows = [
        (f"Row {tile['row']}, column {tile['column']}", f"x {tile['x']:,}, y {tile['y']:,}")
        for tile in lost[:MOST_GAPS]
    ]
    more = f"<p>And {len(lost) - MOST_GAPS:,} more; summary.json has all.</p>" if len(lost) > MOST_GAPS else ""
    return section(
        "What could not be read",
        "<p>These squares are orange in the overview and have the value 255 (unknown) in the mask of the classes. "
        "The numbers are the top left corner of each, in pixels of the slide at full size.</p>",
        table(rows),
        more,
    )


def _areas(summary: Mapping[str, Any]) -> str:
    area = summary["area_um2"]
    histogram = area["histogram"]
    if not any(histogram["counts"]):
        return ""
    caption = (
        f"Half of the nuclei are smaller than {number(area['median'], 1)} µm². Nine of ten lie between "
        f"{number(area['p05'], 1)} and {number(area['p95'], 1)} µm²; the mean is {number(area['mean'], 1)} µm²."
    )
    chart = draw_histogram(
        Histogram(
            edges=histogram["edges"],
            counts=histogram["counts"],
            median=area["median"],
            across="area of a nucleus, µm²",
            up="nuclei",
            about=f"How many nuclei have which area; the median is {area['median']:.1f} µm²",
        )
    )
    return section("Size of the nuclei", f"<figure>{chart}<figcaption>{caption}</figcaption></figure>")


def _shapes(summary: Mapping[str, Any]) -> str:
    """Draw how round the nuclei are, and how sure the network was."""
    charts = [_small_chart(name, summary[name]) for name in SHAPES]
    if not any(charts):
        return ""
    return section("Shape and probability", f'<div class="charts">{"".join(charts)}</div>')


def _small_chart(name: str, distribution: Mapping[str, Any]) -> str:
    title, meaning = SHAPES[name]
    histogram, middle = distribution["histogram"], distribution["median"]
    if not any(histogram["counts"]):
        return ""
    chart = Histogram(
        edges=histogram["edges"],
        counts=histogram["counts"],
        median=middle,
        across=meaning,
        up="nuclei",
        about=f"How many nuclei have which {title.lower()}; the median is {middle:.2f}",
        width=360,
        height=220,
        left=54,
    )
    return f"<figure><figcaption>{title}</figcaption>{draw_histogram(chart)}</figure>"


def _examples(summary: Mapping[str, Any], images: ReportImages) -> str:
    """Show pieces of the slide at full zoom, kind by kind."""
    if not images.fields:
        return ""
    kinds = dict.fromkeys(field.kind for field in images.fields)
    rows = "".join(
        f'<h3>{text(kind)}</h3><div class="fields">{"".join(map(_example, fields))}</div>'
        for kind in kinds
        if (fields := [field for field in images.fields if field.kind == kind])
    )
    words = (
        "<p>Pieces of the slide at full zoom, with the outline of each nucleus. Do the outlines fit, and which "
        "nuclei have none? Those drawn at random show the slide as it is, the others its extremes. Places are "
        "pixels of the slide at full size.</p>"
    )
    return f'<section class="examples"><h2>Examples</h2>{words}{class_keys(summary)}{rows}</section>'


def _example(field: Field) -> str:
    picture = _picture(field.picture, f"Example field: {field.kind}", FIELD_PX)
    return f"<figure>{picture}<figcaption>{text(field.caption)}</figcaption></figure>"


def _tiles(summary: Mapping[str, Any]) -> str:
    """Account for the whole slide: each square of it is in one of three groups."""
    tiles = summary["tiles"]
    groups = [
        ("tissue", tiles["tissue"], "Tissue, searched for nuclei"),
        ("blank", tiles["blank"], "Empty glass, not searched"),
        ("outside", tiles["outside"], "Outside the chosen region, not searched"),
    ]
    total = max(tiles["grid"], 1)
    bars, rows, x = "", "", 0.0
    for name, count, label in groups:
        width = 720 * count / total
        bars += f'<rect class="{name}" x="{x:.2f}" y="0" width="{width:.2f}" height="22"/>'
        rows += (
            f'<tr><th scope="row"><span class="key {name}"></span>{label}</th>'
            f"<td>{count:,} ({100 * count / total:.1f} %)</td></tr>"
        )
        x += width
    rows += f'<tr><th scope="row">The whole slide</th><td>{tiles["grid"]:,} squares</td></tr>'
    if missing := tiles.get("missing", 0):
        rows += f'<tr><th scope="row">Of them not written by the scanner</th><td>{missing:,}</td></tr>'
    return section(
        "What was searched",
        f"<p>The slide was divided into squares of {_tile_um(summary)}, and each was sorted by what it shows.</p>",
        f'<svg viewBox="0 0 720 22" role="img" aria-label="Shares of tissue, glass and outside">{bars}</svg>',
        f"<table>{rows}</table>",
    )


def _tile_um(summary: Mapping[str, Any]) -> str:
    side_um = TILE_PX * summary["frame"]["mpp"]
    return f"{side_um:.0f} x {side_um:.0f} µm"


def _outlines(summary: Mapping[str, Any]) -> str:
    polygons = summary["polygons"]
    return section(
        "Outlines",
        table(
            [
                ("Drawn", f"{summary['nuclei']:,}"),
                ("Repaired, because a line crossed itself", f"{polygons['repaired']:,}"),
                ("Left out, because nothing drawable remained", f"{polygons['dropped']:,}"),
                ("Left out, because larger than any nucleus", f"{polygons['oversized']:,}"),
            ]
        ),
    )
