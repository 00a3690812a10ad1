"""A small document of text, tables and pictures that is written as Markdown and as one HTML page."""

from __future__ import annotations

from base64 import b64encode
from dataclasses import dataclass
from html import escape
from importlib.resources import files
from typing import TYPE_CHECKING

from wsiseg.train.figures import DPI
from wsiseg.train.tables import markdown_table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from wsiseg.train.tables import Table


_CSS_DPI = 96
"""Pixels of a page per inch."""


@dataclass(frozen=True, slots=True)
class Picture:
    """A PNG beside the Markdown file; inside the HTML page."""

    file: str
    png: bytes
    alternative: str
    """What it shows, for those who cannot see it."""


@dataclass(frozen=True, slots=True)
class Section:
    """A heading and what stands below it, in this order."""

    title: str
    text: tuple[str, ...] = ()
    """Paragraphs above table and picture."""
    table: Table | None = None
    picture: Picture | None = None
    notes: tuple[str, ...] = ()
    """Remarks below, as a list."""


def as_markdown(title: str, sections: Sequence[Section]) -> str:
    """Write the document as Markdown; its pictures are files beside it."""
    parts = [f"# {title}"]
    for section in sections:
        parts += [f"## {section.title}", *section.text]
        if section.table:
            parts.append(markdown_table(section.table))
        if section.picture:
            parts.append(f"![{section.picture.alternative}]({section.picture.file})")
        if section.notes:
            parts.append("\n".join(f"- {note}" for note in section.notes))
    return "\n\n".join(parts) + "\n"


def as_html(title: str, sections: Sequence[Section], footer: str) -> str:
    """Write the document as one HTML page that loads nothing; every text is escaped."""
    body = "\n".join(_html_section(section) for section in sections)
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        # No script, no network: a browser enforces what this module promises.
        '<meta http-equiv="Content-Security-Policy" '
        "content=\"default-src 'none'; img-src data:; style-src 'unsafe-inline'\">\n"
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{_css()}</style>\n</head>\n<body>\n<main>\n"
        f"<h1>{escape(title)}</h1>\n{body}\n</main>\n<footer>{escape(footer)}</footer>\n</body>\n</html>\n"
    )


def _css() -> str:
    return files("wsiseg.train.compare").joinpath("document.css").read_text("utf-8")


def _html_section(section: Section) -> str:
    parts = [f"<h2>{escape(section.title)}</h2>", *(f"<p>{escape(text)}</p>" for text in section.text)]
    if section.table:
        parts.append(_html_table(section.table))
    if section.picture:
        parts.append(_html_picture(section.picture))
    if section.notes:
        parts.append("<ul>" + "".join(f"<li>{escape(note)}</li>" for note in section.notes) + "</ul>")
    return "<section>\n" + "\n".join(parts) + "\n</section>"


def _html_picture(picture: Picture) -> str:
    data = b64encode(picture.png).decode("ascii")
    # The picture has more pixels than the page shows, so that print and sharp screens get all of them.
    width = round(int.from_bytes(picture.png[16:20], "big") * _CSS_DPI / DPI)  # IHDR
    return f'<img src="data:image/png;base64,{data}" width="{width}" alt="{escape(picture.alternative)}">'


def _html_table(table: Table) -> str:
    kinds = [' class="figure"' if table.is_figures(i) else "" for i in range(len(table.header))]
    titles = [escape(cell).replace("-", "&#8209;") for cell in table.header]  # no line breaks at this hyphen
    head = "".join(f"<th{kind}>{title}</th>" for kind, title in zip(kinds, titles, strict=True))
    rows = ""
    for index, row in enumerate(table.rows):
        kind_of_row = ' class="quiet"' if index in table.quiet else ""
        cells = "".join(f"<td{kind}>{escape(cell)}</td>" for kind, cell in zip(kinds, row, strict=True))
        rows += f"<tr{kind_of_row}>{cells}</tr>\n"
    return f'<div class="table"><table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{rows}</tbody>\n</table></div>'
