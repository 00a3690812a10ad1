"""`report.html`: a run for people, in one file that loads nothing from anywhere.

Knows `summary.json` and pictures, no slide and no run directory.
"""

from __future__ import annotations

from base64 import b64encode
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from wsiseg.export.markup import UNKNOWN, Histogram, Page, cards, document, draw_histogram, number, section, text

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    import numpy.typing as npt
    from shapely import Polygon

FIELD_OUTLINE = (0, 255, 140)
"""Green: the hue that H&E does not have."""
LONGEST_PX = 1600
"""Long side of a picture in the report; the files beside it have every pixel."""
MOST_GAPS = 100
"""Squares that could not be read, at most so many in the list."""
TILE_PX = 256
"""Side of the squares that the slide is divided into, px of the model's frame; fixed for every bundle."""

STAGES = {
    "open": "Opening the slide",
    "tissue": "Finding the tissue",
    "read": "Reading pixels",
    "forward": "Recognising nuclei",
    "decode": "Separating and outlining nuclei",
    "stitch": "Assembling the masks",
    "export": "Writing tables and pictures",
}
"""Keys of `summary["seconds"]` in the order of a run, and what each means."""


@dataclass(frozen=True)
class ReportImages:
    """The pictures of a report, each as PNG."""

    overview: bytes
    fields: Sequence[tuple[str, bytes]] = ()
    """(title, picture) of example fields."""


def draw_field(rgb: npt.NDArray[np.uint8], polygons: Iterable[Polygon]) -> bytes:
    """Draw outlines of nuclei on a piece of the slide, twice as large, and give it as PNG.

    Parameters
    ----------
    polygons
        In pixels of `rgb`; holes are not drawn.
    """
    zoom, bits = 2, 4
    height, width = rgb.shape[:2]
    canvas = cv2.resize(rgb, (zoom * width, zoom * height), interpolation=cv2.INTER_CUBIC)
    # Polygons have (0, 0) at the corner of the first pixel, cv2 at its centre.
    rings = [
        np.rint((np.asarray(polygon.exterior.coords)[:, :2] * zoom - 0.5) * 2**bits).astype(np.int32)
        for polygon in polygons
    ]
    cv2.polylines(canvas, rings, isClosed=True, color=FIELD_OUTLINE, thickness=2, lineType=cv2.LINE_AA, shift=bits)
    _, png = cv2.imencode(".png", canvas[..., ::-1])
    return png.tobytes()


def render_report(summary: Mapping[str, Any], images: ReportImages) -> str:
    """Give the report as HTML.

    Parameters
    ----------
    summary
        The content of `summary.json`; with `seconds`, `device` and `tiles_per_second` if a record of the time is
        wanted. What is missing is left out or called unknown.
    """
    sections = (
        _warnings(summary),
        _headline(summary),
        _overview(summary, images),
        _gaps(summary),
        _areas(summary),
        _fields(images),
        _tiles(summary),
        _outlines(summary),
        _times(summary),
        _provenance(summary),
    )
    return document(Page(summary["slide"]["name"], "Nuclei of a slide", summary["wsiseg_version"]), sections)


def _table(rows: Iterable[tuple[str, str]]) -> str:
    """Give a table of two columns; labels and values are escaped here."""
    body = "".join(f'<tr><th scope="row">{text(label)}</th><td>{text(value)}</td></tr>' for label, value in rows)
    return f"<table>{body}</table>"


def _picture(png: bytes, alternative: str) -> str:
    """Embed a picture, small enough to be sent by mail."""
    pixels = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_COLOR)
    if pixels is None:
        raise ValueError("a picture of the report is not a PNG")
    height, width = pixels.shape[:2]
    shrink = min(LONGEST_PX / max(height, width), 1.0)
    size = max(round(width * shrink), 1), max(round(height * shrink), 1)
    _, jpeg = cv2.imencode(
        ".jpg", cv2.resize(pixels, size, interpolation=cv2.INTER_AREA), [cv2.IMWRITE_JPEG_QUALITY, 88]
    )
    data = b64encode(jpeg.tobytes()).decode("ascii")
    place = f'width="{size[0]}" height="{size[1]}" alt="{text(alternative)}"'
    return f'<img src="data:image/jpeg;base64,{data}" {place}>'


def _warnings(summary: Mapping[str, Any]) -> str:
    notes = list(summary.get("warnings", ()))
    unreadable = summary["tiles"].get("unreadable", 0)
    if unreadable:
        notes.append(f"{unreadable:,} squares of the slide could not be read. Their nuclei are missing below.")
    if not notes:
        return ""
    items = "".join(f"<li>{text(note)}</li>" for note in notes)
    return f'<section class="warning"><h2>Please note</h2><ul>{items}</ul></section>'


def _headline(summary: Mapping[str, Any]) -> str:
    area = summary["area_um2"]
    return cards(
        [
            ("Nuclei", number(summary["nuclei"]), ""),
            ("Tissue", number(summary["tissue_mm2"], 2), "mm²"),
            ("Density", number(summary["nuclei_per_mm2"]), "per mm²"),
            ("Median nuclear area", number(area["median"], 1), "µm²"),
        ]
    )


def _overview(summary: Mapping[str, Any], images: ReportImages) -> str:
    caption = (
        f"The slide with the density of its {summary['nuclei']:,} nuclei: the darker the blue, the more nuclei "
        "per mm² of tissue. The legend below the picture has the scale."
    )
    picture = _picture(images.overview, "The slide, with a map of how dense the nuclei lie")
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
        _table(rows),
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


def _fields(images: ReportImages) -> str:
    if not images.fields:
        return ""
    figures = "".join(
        f"<figure>{_picture(png, f'Example field: {title}')}<figcaption>{text(title)}</figcaption></figure>"
        for title, png in images.fields
    )
    explanation = (
        "<p>Pieces of the slide at full zoom, with the outline of each nucleus. Look whether they fit.</p>"
    )
    return section("Examples", explanation, f'<div class="fields">{figures}</div>')


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
        _table(
            [
                ("Drawn", f"{summary['nuclei']:,}"),
                ("Repaired, because a line crossed itself", f"{polygons['repaired']:,}"),
                ("Left out, because nothing drawable remained", f"{polygons['dropped']:,}"),
                ("Left out, because larger than any nucleus", f"{polygons['oversized']:,}"),
            ]
        ),
    )


def _times(summary: Mapping[str, Any]) -> str:
    seconds = summary.get("seconds")
    if not seconds:
        return ""
    rows = [(label, f"{seconds[key]:,.1f} s") for key, label in STAGES.items() if key in seconds]
    if "total" in seconds:
        rows.append(("From start to end", f"{seconds['total']:,.1f} s"))
    if "tiles_per_second" in summary:
        rows.append(("Squares a second", number(summary["tiles_per_second"], 1)))
    device = summary.get("device", {})
    if "name" in device:
        rows.append(("Computed on", f"{device['name']} ({device.get('dtype', UNKNOWN)})"))
    if device.get("busy_share") is not None:
        rows.append(("Processor busy recognising nuclei", f"{100 * device['busy_share']:.0f} %"))
    explanation = "<p>Steps run side by side, so their times add up to more than the whole.</p>"
    return section("Time", explanation, _table(rows))


def _provenance(summary: Mapping[str, Any]) -> str:
    slide, model, frame = summary["slide"], summary["model"], summary["frame"]
    slide_rows = [
        ("Name", str(slide["name"])),
        ("Size", f"{slide['width']:,} x {slide['height']:,} pixels"),
        ("Pixel size", f"{slide['mpp']:.4g} µm ({slide['mpp_source']})"),
        ("Objective", f"{slide['objective_power']:g}x" if slide.get("objective_power") else UNKNOWN),
        ("File format", str(slide.get("vendor") or UNKNOWN)),
        ("Read with", str(slide["reader"])),
    ]
    model_rows = [
        ("Name", f"{model['name']} {model['version']}"),
        ("Looks at pixels of", f"{model['mpp']:g} µm"),
        ("Slide scaled to", f"{frame['mpp']:.4g} µm, {frame['width']:,} x {frame['height']:,} pixels"),
        ("Licence", str(model["licence"])),
        ("Fingerprint (SHA-256)", str(model["sha256"])),
    ]
    settings = _table((str(key), str(value)) for key, value in summary.get("settings", {}).items())
    return section(
        "Slide, model and settings",
        f"<h3>Slide</h3>{_table(slide_rows)}<h3>Model</h3>{_table(model_rows)}",
        f"<details><summary>All settings</summary>{settings}</details>",
    )
