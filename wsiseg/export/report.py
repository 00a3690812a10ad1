"""`report.html`: a run for people, in one file that loads nothing from anywhere.

Knows `summary.json` and pictures, no slide and no run directory. Every text that comes from outside is escaped: a
slide's name is whatever somebody called a file.
"""

from __future__ import annotations

from base64 import b64encode
from dataclasses import dataclass
from html import escape
from importlib.resources import files
from math import ceil, floor, log10
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    import numpy.typing as npt
    from shapely import Polygon

FIELD_OUTLINE = (0, 255, 140)
"""Green: the hue that H&E does not have."""
LONGEST_PX = 1600
"""Long side of a picture in the report; the files beside it have every pixel."""
TILE_PX = 256
"""Side of the squares that the slide is divided into, px of the model's frame; fixed for every bundle."""
UNKNOWN = "not known"

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
    title = _text(summary["slide"]["name"])
    sections = [
        _warnings(summary),
        _headline(summary),
        _overview(summary, images),
        _areas(summary),
        _fields(images),
        _tiles(summary),
        _outlines(summary),
        _times(summary),
        _provenance(summary),
    ]
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        # No script, no network: a browser enforces what this module promises.
        '<meta http-equiv="Content-Security-Policy" '
        "content=\"default-src 'none'; img-src data:; style-src 'unsafe-inline'\">\n"
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n'
        f"<title>{title}: nuclei</title>\n<style>{_css()}</style>\n</head>\n<body>\n"
        f'<header><p class="kicker">Nuclei of a slide</p><h1>{title}</h1></header>\n<main>\n'
        + "\n".join(section for section in sections if section)
        + "\n</main>\n<footer><p>For research. Not a medical device: do not use these numbers for a diagnosis.</p>"
        f"<p>Made with wsiseg {_text(summary['wsiseg_version'])}.</p></footer>\n</body>\n</html>\n"
    )


def _text(value: object) -> str:
    """Escape anything for HTML; bytes of a file name that are no text become question marks."""
    return escape(str(value).encode("utf-8", "replace").decode())


def _css() -> str:
    return files("wsiseg.export").joinpath("report.css").read_text("utf-8")


def _number(value: float | None, digits: int = 0) -> str:
    return UNKNOWN if value is None else f"{value:,.{digits}f}"


def _section(title: str, *parts: str) -> str:
    return f"<section><h2>{_text(title)}</h2>\n" + "\n".join(parts) + "\n</section>"


def _table(rows: Iterable[tuple[str, str]]) -> str:
    """Give a table of two columns; labels and values are escaped here."""
    body = "".join(f'<tr><th scope="row">{_text(label)}</th><td>{_text(value)}</td></tr>' for label, value in rows)
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
    place = f'width="{size[0]}" height="{size[1]}" alt="{_text(alternative)}"'
    return f'<img src="data:image/jpeg;base64,{data}" {place}>'


def _warnings(summary: Mapping[str, Any]) -> str:
    texts = list(summary.get("warnings", ()))
    unreadable = summary["tiles"].get("unreadable", 0)
    if unreadable:
        texts.append(f"{unreadable:,} squares of the slide could not be read. Their nuclei are missing below.")
    if not texts:
        return ""
    items = "".join(f"<li>{_text(text)}</li>" for text in texts)
    return f'<section class="warning"><h2>Please note</h2><ul>{items}</ul></section>'


def _headline(summary: Mapping[str, Any]) -> str:
    area = summary["area_um2"]
    cards = [
        ("Nuclei", _number(summary["nuclei"]), ""),
        ("Tissue", _number(summary["tissue_mm2"], 2), "mm²"),
        ("Density", _number(summary["nuclei_per_mm2"]), "per mm²"),
        ("Median nuclear area", _number(area["median"], 1), "µm²"),
    ]
    body = "".join(
        f'<div class="card"><dt>{label}</dt><dd>{value} <span class="unit">{unit}</span></dd></div>'
        for label, value, unit in cards
    )
    return f'<section aria-label="Main results"><dl class="cards">{body}</dl></section>'


def _overview(summary: Mapping[str, Any], images: ReportImages) -> str:
    text = (
        f"The slide with the density of its {summary['nuclei']:,} nuclei: the darker the blue, the more nuclei "
        "per mm² of tissue. The legend below the picture has the scale."
    )
    picture = _picture(images.overview, "The slide, with a map of how dense the nuclei lie")
    return _section("Overview", f'<figure class="wide">{picture}<figcaption>{text}</figcaption></figure>')


def _areas(summary: Mapping[str, Any]) -> str:
    area = summary["area_um2"]
    histogram = area["histogram"]
    if not any(histogram["counts"]):
        return ""
    text = (
        f"Half of the nuclei are smaller than {_number(area['median'], 1)} µm². Nine of ten lie between "
        f"{_number(area['p05'], 1)} and {_number(area['p95'], 1)} µm²; the mean is {_number(area['mean'], 1)} µm²."
    )
    chart = _histogram(histogram["edges"], histogram["counts"], area["median"])
    return _section("Size of the nuclei", f"<figure>{chart}<figcaption>{text}</figcaption></figure>")


def _histogram(edges: Sequence[float], counts: Sequence[int], median: float) -> str:
    """Draw the distribution of areas as SVG; its colours come from the page, so that it suits dark and light."""
    left, right, top, bottom = 70.0, 695.0, 26.0, 210.0
    span, tallest = edges[-1] - edges[0], max(counts)

    def x(value: float) -> float:
        return left + (value - edges[0]) / span * (right - left)

    def y(count: float) -> float:
        return bottom - count / tallest * (bottom - top)

    bars = "".join(
        f'<rect class="bar" x="{x(low) + 0.5:.1f}" y="{y(count):.1f}" '
        f'width="{max(x(high) - x(low) - 1, 0.5):.1f}" height="{bottom - y(count):.1f}"/>'
        for low, high, count in zip(edges, edges[1:], counts, strict=False)
    )
    across = "".join(
        f'<text x="{x(tick):.1f}" y="{bottom + 20}" text-anchor="middle">{tick:g}</text>'
        for tick in _ticks(edges[0], edges[-1], 8)
    )
    up = "".join(
        f'<line class="grid" x1="{left}" x2="{right}" y1="{y(tick):.1f}" y2="{y(tick):.1f}"/>'
        f'<text x="{left - 8}" y="{y(tick) + 4:.1f}" text-anchor="end">{tick:,.0f}</text>'
        for tick in _ticks(0, tallest, 4)
    )
    at = min(x(median), right)
    # The label stays inside the chart.
    beside = (at + 6, "start") if at < (left + right) / 2 else (at - 6, "end")
    about = f"How many nuclei have which area; the median is {median:.1f} µm²"
    return (
        f'<svg viewBox="0 0 720 260" role="img" aria-label="{about}">'
        f'{up}{bars}<line class="axis" x1="{left}" x2="{right}" y1="{bottom}" y2="{bottom}"/>{across}'
        f'<line class="median" x1="{at:.1f}" x2="{at:.1f}" y1="{top - 6}" y2="{bottom}"/>'
        f'<text x="{beside[0]:.1f}" y="{top}" text-anchor="{beside[1]}" class="strong">median {median:.1f}</text>'
        f'<text x="{(left + right) / 2}" y="{bottom + 42}" text-anchor="middle">area of a nucleus, µm²</text>'
        f'<text x="{left}" y="12" text-anchor="end">nuclei</text></svg>'
    )


def _ticks(low: float, high: float, about: int) -> list[float]:
    """Give round whole numbers from `low` to `high`."""
    rough = (high - low) / about
    power = 10.0 ** floor(log10(rough))
    step = max(min((1, 2, 5, 10), key=lambda factor: abs(factor * power - rough)) * power, 1.0)
    return [step * k for k in range(ceil(low / step), floor(high / step) + 1)]


def _fields(images: ReportImages) -> str:
    if not images.fields:
        return ""
    figures = "".join(
        f"<figure>{_picture(png, f'Example field: {title}')}<figcaption>{_text(title)}</figcaption></figure>"
        for title, png in images.fields
    )
    text = "<p>Pieces of the slide at full zoom, with the outline of each nucleus. Look whether they fit.</p>"
    return _section("Examples", text, f'<div class="fields">{figures}</div>')


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
    return _section(
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
    return _section(
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
        rows.append(("Squares a second", _number(summary["tiles_per_second"], 1)))
    device = summary.get("device", {})
    if "name" in device:
        rows.append(("Computed on", f"{device['name']} ({device.get('dtype', UNKNOWN)})"))
    if device.get("busy_share") is not None:
        rows.append(("Processor busy recognising nuclei", f"{100 * device['busy_share']:.0f} %"))
    text = "<p>Steps run side by side, so their times add up to more than the whole.</p>"
    return _section("Time", text, _table(rows))


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
    return _section(
        "Slide, model and settings",
        f"<h3>Slide</h3>{_table(slide_rows)}<h3>Model</h3>{_table(model_rows)}",
        f"<details><summary>All settings</summary>{settings}</details>",
    )
