"""`cohort.html`: how a cohort ended, for people: what failed and why, what was found, and every slide.

One file that loads nothing. It can be read without its script, which only sorts and filters the table.
"""

from __future__ import annotations

import os
from base64 import b64encode
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from importlib.resources import files
from math import floor
from statistics import median
from typing import TYPE_CHECKING
from urllib.parse import quote

import numpy as np

from wsiseg import __version__, fsio
from wsiseg.cohort.book import COMPLETE, FAILED, WAITING
from wsiseg.cohort.classes import classes_section, has_share
from wsiseg.cohort.remedies import remedy_for
from wsiseg.cohort.table import DUPLICATE, GAPS, CohortRow, class_names
from wsiseg.errors import CODES
from wsiseg.export.markup import (
    Histogram,
    Page,
    cards,
    document,
    draw_histogram,
    number,
    round_step,
    section,
    text,
)
from wsiseg.export.overview import shrink_overview
from wsiseg.host import usable_cores
from wsiseg.run.folder import OVERVIEW, REPORT

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

PAGE = "cohort.html"
THUMBNAIL_PX = 96
THUMBNAIL_BYTES = 6000
"""Of a thumbnail at most; most have 2,000, so that the page of 1,000 slides stays below 5 MB."""
SHOWN = 5
"""Failed slides of one cause that are listed at once; the others are one click away."""
_ORDER = (FAILED, GAPS, WAITING, COMPLETE, DUPLICATE)
"""What needs somebody's attention comes first."""


def write_page(out: Path, rows: Sequence[CohortRow]) -> None:
    """Write `cohort.html` into the cohort's folder, with a thumbnail of each finished run."""
    finished = [row.folder for row in rows if row.state in (COMPLETE, GAPS) and row.folder]
    with ThreadPoolExecutor(usable_cores(), "thumbnail") as threads:
        pictures = threads.map(lambda folder: _thumbnail(out / folder / OVERVIEW), finished)
        thumbnails = dict(zip(finished, pictures, strict=True))
    page = render_page(out.resolve().name, rows, thumbnails)
    fsio.write_atomic(out / PAGE, page.encode())


def _thumbnail(overview: Path) -> bytes:
    """Give a small JPEG, or nothing where there is no picture: a page does without, `verify` tells."""
    try:
        return shrink_overview(overview.read_bytes(), THUMBNAIL_PX, THUMBNAIL_BYTES)
    except (OSError, ValueError):
        return b""


def render_page(name: str, rows: Sequence[CohortRow], thumbnails: Mapping[str, bytes]) -> str:
    """Give the page as HTML.

    Parameters
    ----------
    name
        What the cohort is called.
    thumbnails
        JPEG of each run directory; empty or absent where there is none.
    """
    style, script = (files("wsiseg.cohort").joinpath(file).read_text("utf-8") for file in ("page.css", "page.js"))
    page = Page(name, "Nuclei of a cohort", __version__, style, script)
    ordered = sorted(rows, key=lambda row: _ORDER.index(row.state))
    found = (_headline(rows), classes_section(rows), _distributions(rows))
    return document(page, (_failures(rows), _notes(rows), *found, _slides(ordered, thumbnails)))


def _count(rows: Sequence[CohortRow], *states: str) -> int:
    return sum(row.state in states for row in rows)


def _slides_text(count: int) -> str:
    return "1 slide" if count == 1 else f"{count:,} slides"


# -- what failed ------------------------------------------------------------------------------------------


def _failures(rows: Sequence[CohortRow]) -> str:
    """Say which slides failed and why, the most frequent cause first."""
    by_code: dict[str, list[CohortRow]] = defaultdict(list)
    for row in rows:
        if row.state == FAILED:
            by_code[row.code or ""].append(row)
    if not by_code:
        return ""
    causes = sorted(by_code.items(), key=lambda item: (-len(item[1]), item[0]))
    title = f"{_count(rows, FAILED):,} of {_slides_text(len(rows))} failed"
    intro = (
        "<p>The other slides are not affected. Mend the cause, then run the same command again: "
        "it does only what is missing.</p>"
    )
    listed = "".join(_cause(code, group) for code, group in causes)
    return f'<section class="failures"><h2>{title}</h2>{intro}{listed}</section>'


def _cause(code: str, group: Sequence[CohortRow]) -> str:
    """Give one cause: what it means, what to do, and whom it concerns."""
    meaning = CODES.get(code, "it is not known why")
    items = [_failed_slide(row) for row in group]
    more = ""
    if len(items) > SHOWN:
        rest = "".join(items[SHOWN:])
        more = f"<details><summary>{len(items) - SHOWN:,} more</summary><ul>{rest}</ul></details>"
    label = f"<code>{text(code)}</code> " if code else ""
    return (
        f'<div class="cause"><h3>{_slides_text(len(group))}: {text(meaning)} {label}</h3>'
        f'<p class="remedy"><b>What to do:</b> {text(remedy_for(code))}</p>'
        f"<ul>{''.join(items[:SHOWN])}</ul>{more}</div>"
    )


def _failed_slide(row: CohortRow) -> str:
    # The path stands beside the message, which repeats it, perhaps from the root.
    paths = {row.slide, os.path.abspath(row.slide)}
    message = "; ".join(part for part in (row.message or "").split("; ") if part not in paths)
    return f'<li><b>{text(row.id)}</b> <span class="path">{text(row.slide)}</span><br>{text(message)}</li>'


# -- what was found ---------------------------------------------------------------------------------------


def _notes(rows: Sequence[CohortRow]) -> str:
    """Say what else a reader of the numbers should know."""
    gaps, waiting = _count(rows, GAPS), _count(rows, WAITING)
    notes = []
    if gaps:
        notes.append(f"{_slides_text(gaps)} could not be read everywhere: the nuclei of those places are missing.")
    if waiting:
        notes.append(f"{_slides_text(waiting)} not finished yet: the numbers below are without them.")
    if not notes:
        return ""
    return f'<section class="warning"><ul>{"".join(f"<li>{text(note)}</li>" for note in notes)}</ul></section>'


def _headline(rows: Sequence[CohortRow]) -> str:
    done = _count(rows, COMPLETE, GAPS)
    densities = [row.nuclei_per_mm2 for row in rows if row.nuclei_per_mm2 is not None]
    others = [(state, _count(rows, state)) for state in (FAILED, WAITING, DUPLICATE)]
    figures = [
        ("Slides", f"{len(rows):,}", "listed"),
        ("Complete", f"{done:,}", ""),
        *((state.capitalize(), f"{count:,}", "") for state, count in others if count or state == FAILED),
        ("Tissue", number(sum(row.tissue_mm2 or 0.0 for row in rows), 1), "mm²"),
        ("Nuclei", number(sum(row.nuclei or 0 for row in rows)), ""),
        ("Median density", number(median(densities) if densities else None), "per mm²"),
    ]
    return cards(figures)


def _distributions(rows: Sequence[CohortRow]) -> str:
    charts = [
        _distribution([row.nuclei_per_mm2 for row in rows], "Density", "nuclei per mm² of tissue"),
        _distribution([row.mean_area_um2 for row in rows], "Size", "mean area of a nucleus, µm²"),
        _distribution([row.nuclei for row in rows], "Number", "nuclei per slide"),
    ]
    if not any(charts):
        return ""
    return section("How the slides differ", f'<div class="charts">{"".join(charts)}</div>')


def _distribution(values: Sequence[float | None], title: str, across: str) -> str:
    """Draw how many slides have which value."""
    known = [value for value in values if value is not None]
    if not known:
        return ""
    edges, counts = _binned(known)
    middle = median(known)
    about = f"How many slides have which {across}; the median is {middle:,.1f}"
    chart = Histogram(edges, counts, middle, across, "slides", about, width=360, height=220, left=48)
    return f"<figure><figcaption>{title}</figcaption>{draw_histogram(chart)}</figure>"


def _binned(values: Sequence[float]) -> tuple[list[float], list[int]]:
    """Count values in bins with round edges, more bins for more slides."""
    low, high = min(values), max(values)
    step = round_step((high - low) / min(max(len(values) ** 0.5, 5), 20) or 1.0)
    first, last = floor(low / step), floor(high / step)
    edges = [step * k for k in range(first, last + 2)]
    return edges, np.histogram(values, edges)[0].tolist()


# -- every slide ------------------------------------------------------------------------------------------

_COLUMNS = (
    ("Slide", ""),
    ("State", ""),
    ("Nuclei", "number"),
    ("Tissue, mm²", "number"),
    ("Nuclei per mm²", "number"),
    ("Mean area, µm²", "number"),
    ("Pixel, µm", "number"),
    ("Time, s", "number"),
)


def _slides(rows: Sequence[CohortRow], thumbnails: Mapping[str, bytes]) -> str:
    names, share = class_names(rows), has_share(rows)
    more = [(f"{name} per mm²", "number") for name in names] + [("Stromal lymphocyte share", "number")] * share
    heads = "".join(
        f'<th scope="col" class="{kind}"><button type="button">{text(name)}</button></th>'
        for name, kind in (*_COLUMNS, *more)
    )
    states = "".join(f"<option>{state}</option>" for state in _ORDER if _count(rows, state))
    pictures = (thumbnails.get(row.folder or "", b"") for row in rows)
    body = "\n".join(
        f"{_slide(row, picture)}{_classes(row, names)}{_share(row) if share else ''}</tr>"
        for row, picture in zip(rows, pictures, strict=True)
    )
    return section(
        "Every slide",
        '<div id="find" hidden><label>Find <input type="search" placeholder="part of a name or code"></label>'
        f'<label>State <select><option value="">all</option>{states}</select></label><output></output></div>',
        f'<div class="scroll"><table id="slides"><thead><tr>{heads}</tr></thead>',
        f"<tbody>{body}</tbody></table></div>",
        _models(rows),
    )


def _models(rows: Sequence[CohortRow]) -> str:
    models = sorted({row.model for row in rows if row.model})
    return f"<p>Model: {text(', '.join(models))}.</p>" if models else ""


def _slide(row: CohortRow, thumbnail: bytes) -> str:
    """Give a slide's line of the table, without its end."""
    name = text(row.id)
    if row.state in (COMPLETE, GAPS) and row.folder:
        name = f'<a href="{text(quote(row.folder, errors="replace"))}/{REPORT}">{name}</a>'
    picture = ""
    if thumbnail:
        data = b64encode(thumbnail).decode("ascii")
        picture = f'<img src="data:image/jpeg;base64,{data}" alt="" loading="lazy" decoding="async">'
    why = "" if row.state == COMPLETE else f'<span class="why">{text(row.code or row.message or "")}</span>'
    source = f' title="{text(row.mpp_source)}"' if row.mpp_source else ""
    return (
        f'<tr data-state="{row.state}"><td><div class="slide"><span class="thumb">{picture}</span>'
        f'<span>{name}<br><span class="path">{text(row.slide)}</span></span></div></td>'
        f'<td><span class="state">{row.state}</span>{why}</td>'
        + _cell(row.nuclei, 0)
        + _cell(row.tissue_mm2, 2)
        + _cell(row.nuclei_per_mm2, 0)
        + _cell(row.mean_area_um2, 1)
        + _cell(row.mpp, 4, source)
        + _cell(row.seconds, 0)
    )


def _classes(row: CohortRow, names: Sequence[str]) -> str:
    """Give the density of each class, above the number of its nuclei."""
    found = {one.name: one for one in row.classes}
    cells = ""
    for name in names:
        one = found.get(name)
        if one is None or one.nuclei_per_mm2 is None:
            cells += "<td></td>"
        else:
            count = f'<span class="why">{one.nuclei:,} nuclei</span>'
            cells += f'<td data-value="{one.nuclei_per_mm2!r}">{number(one.nuclei_per_mm2)}{count}</td>'
    return cells


def _share(row: CohortRow) -> str:
    """Give the stromal lymphocyte share."""
    share = row.stromal_lymphocyte_share
    return "<td></td>" if share is None else f'<td data-value="{share!r}">{100 * share:.1f} %</td>'


def _cell(value: float | None, digits: int, attributes: str = "") -> str:
    """Give a number with its exact value, by which the script sorts."""
    if value is None:
        return "<td></td>"
    return f'<td data-value="{value!r}"{attributes}>{number(value, digits)}</td>'
