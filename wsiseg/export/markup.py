"""Pieces of the pages that people read: one file each, which loads nothing from anywhere.

Every text that comes from outside is escaped: a slide's name is whatever somebody called a file. Knows no slide,
no summary and no cohort.
"""

from __future__ import annotations

from base64 import b64encode
from dataclasses import dataclass
from hashlib import sha256
from html import escape
from importlib.resources import files
from math import ceil, floor, log10
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

UNKNOWN = "not known"


@dataclass(frozen=True, slots=True)
class Page:
    """What a page has beside its sections."""

    title: str
    kicker: str
    """What the page is about, above the title."""
    version: str
    """Of wsiseg."""
    css: str = ""
    """Added to the style that all pages share."""
    script: str = ""


def document(page: Page, sections: Iterable[str]) -> str:
    """Give a whole page of sections; empty ones are left out."""
    title = text(page.title)
    style = files("wsiseg.export").joinpath("report.css").read_text("utf-8") + page.css
    # No network, and no script but our own: a browser enforces what this module promises.
    policy = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
    script = ""
    if page.script:
        policy += f"; script-src 'sha256-{b64encode(sha256(page.script.encode()).digest()).decode()}'"
        script = f"<script>{page.script}</script>\n"
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n'
        f"<title>{title}: nuclei</title>\n<style>{style}</style>\n</head>\n<body>\n"
        f'<header><p class="kicker">{text(page.kicker)}</p><h1>{title}</h1></header>\n<main>\n'
        + "\n".join(filter(None, sections))
        + "\n</main>\n<footer><p>For research. Not a medical device: do not use these numbers for a diagnosis.</p>"
        f"<p>Made with wsiseg {text(page.version)}.</p></footer>\n{script}</body>\n</html>\n"
    )


def text(value: object) -> str:
    """Escape anything for HTML; bytes of a file name that are no text become question marks."""
    return escape(str(value).encode("utf-8", "replace").decode())


def number(value: float | None, digits: int = 0) -> str:
    """Write a number for people."""
    return UNKNOWN if value is None else f"{value:,.{digits}f}"


def table(rows: Iterable[tuple[str, str]]) -> str:
    """Give a table of two columns; labels and values are escaped here."""
    body = "".join(f'<tr><th scope="row">{text(label)}</th><td>{text(value)}</td></tr>' for label, value in rows)
    return f"<table>{body}</table>"


def section(title: str, *parts: str) -> str:
    """Give a section under a heading; the parts are HTML."""
    return f"<section><h2>{text(title)}</h2>\n" + "\n".join(parts) + "\n</section>"


def cards(figures: Iterable[tuple[str, str, str]]) -> str:
    """Give the main results as (label, value, unit)."""
    body = "".join(
        f'<div class="card"><dt>{text(label)}</dt>'
        f'<dd>{text(value)} <span class="unit">{text(unit)}</span></dd></div>'
        for label, value, unit in figures
    )
    return f'<section aria-label="Main results"><dl class="cards">{body}</dl></section>'


@dataclass(frozen=True, slots=True)
class Histogram:
    """How often which value occurs."""

    edges: Sequence[float]
    """Ascending, one more than counts."""
    counts: Sequence[int]
    """At least one of them is not zero."""
    median: float
    across: str
    """What the values are, with their unit."""
    up: str
    """What is counted."""
    about: str
    """The chart in one sentence, for those who cannot see it."""
    width: int = 720
    height: int = 260
    left: int = 70
    """Room for the numbers beside the vertical axis; all in units of the chart."""


def draw_histogram(chart: Histogram) -> str:
    """Draw a distribution as SVG; its colours come from the page, so that it suits dark and light."""
    left, right, top, bottom = float(chart.left), chart.width - 25.0, 26.0, chart.height - 50.0
    edges, tallest = chart.edges, max(chart.counts)

    def x(value: float) -> float:
        return left + (value - edges[0]) / (edges[-1] - edges[0]) * (right - left)

    def y(count: float) -> float:
        return bottom - count / tallest * (bottom - top)

    bars = "".join(
        f'<rect class="bar" x="{x(low) + 0.5:.1f}" y="{y(count):.1f}" '
        f'width="{max(x(high) - x(low) - 1, 0.5):.1f}" height="{bottom - y(count):.1f}"/>'
        for low, high, count in zip(edges, edges[1:], chart.counts, strict=False)
    )
    across = "".join(
        f'<text x="{x(tick):.1f}" y="{bottom + 20}" text-anchor="middle">{_short(tick, edges[-1])}</text>'
        for tick in ticks(edges[0], edges[-1], chart.width // 90, least=0.1 if edges[-1] <= 1 else 1.0)
    )
    up = "".join(
        f'<line class="grid" x1="{left}" x2="{right}" y1="{y(tick):.1f}" y2="{y(tick):.1f}"/>'
        f'<text x="{left - 8}" y="{y(tick) + 4:.1f}" text-anchor="end">{tick:,.0f}</text>'
        for tick in ticks(0, tallest, 4)
    )
    at = min(x(chart.median), right)
    # The label stays inside the chart.
    beside = (at + 6, "start") if at < (left + right) / 2 else (at - 6, "end")
    median = f"median {chart.median:,.{2 if edges[-1] <= 1 else 1 if chart.median < 1000 else 0}f}"
    return (
        f'<svg viewBox="0 0 {chart.width} {chart.height}" role="img" aria-label="{text(chart.about)}">'
        f'{up}{bars}<line class="axis" x1="{left}" x2="{right}" y1="{bottom}" y2="{bottom}"/>{across}'
        f'<line class="median" x1="{at:.1f}" x2="{at:.1f}" y1="{top - 6}" y2="{bottom}"/>'
        f'<text x="{beside[0]:.1f}" y="{top - 4}" text-anchor="{beside[1]}" class="strong">{median}</text>'
        f'<text x="{(left + right) / 2}" y="{bottom + 42}" text-anchor="middle">{text(chart.across)}</text>'
        f'<text x="{left}" y="12" text-anchor="end">{text(chart.up)}</text></svg>'
    )


def _short(tick: float, highest: float) -> str:
    """Write a number of an axis so that its neighbours have room: 20k, 1.5M."""
    if tick == 0:
        return "0"
    if highest >= 2e6:
        return f"{tick / 1e6:g}M"
    if highest <= 1:
        return f"{tick:.1f}"
    return f"{tick / 1e3:g}k" if highest >= 2e4 else f"{tick:,.0f}"


def round_step(rough: float, least: float = 1.0) -> float:
    """Give the step nearest to a rough one that people count in: 1, 2 or 5 times a power of ten; or `least`."""
    power = 10.0 ** floor(log10(rough))
    return max(min((1, 2, 5, 10), key=lambda factor: abs(factor * power - rough)) * power, least)


def ticks(low: float, high: float, about: int, least: float = 1.0) -> list[float]:
    """Give about so many round numbers from `low` to `high`, no closer than `least`."""
    step = round_step((high - low) / about, least)
    return [step * k for k in range(ceil(low / step), floor(high / step + 1e-9) + 1)]
