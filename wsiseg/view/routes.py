"""The addresses of the viewer. A path is matched as it was sent: nothing is decoded, so nothing hides in it."""

from __future__ import annotations

import re
import threading
from http import HTTPStatus
from importlib.resources import files
from typing import TYPE_CHECKING

import orjson

from wsiseg.host import usable_cores
from wsiseg.view.pictures import as_jpeg
from wsiseg.view.server import Answer, plain

if TYPE_CHECKING:
    from collections.abc import Callable

    from wsiseg.view.library import Library
    from wsiseg.view.shown import Shown

_HTML, _CSS, _JS = "text/html; charset=utf-8", "text/css; charset=utf-8", "text/javascript; charset=utf-8"
_PAGES = {"slide": ("slide.html", _HTML), "list": ("list.html", _HTML)}
STATIC = {
    "view.css": _CSS,
    "openseadragon.min.js": _JS,
    "slide.js": _JS,
    "layers.js": _JS,
    "nuclei.js": _JS,
    "outlines.js": _JS,
    "colours.js": _JS,
    "classes.js": _JS,
    "marks.js": _JS,
    "place.js": _JS,
    "scale-bar.js": _JS,
    "panel.js": _JS,
    "page.js": _JS,
    "world.js": _JS,
    "list.js": _JS,
}
"""Every file that a page may load, and its media type."""

_PATH = re.compile(
    r"/(?:static/(?P<static>[a-z.-]{1,40})|slides\.json|slide/(?P<number>[0-9]{1,6})/(?P<rest>[a-z0-9/._-]{0,60}))?"
)
_TILE = re.compile(r"(picture|mask)/([0-9]{1,2})/([0-9]{1,6})_([0-9]{1,6})")
_DENSITY = re.compile(r"density/([0-9]{1,3})")
_NUCLEI = re.compile(r"nuclei/([0-9]{1,6})_([0-9]{1,6})")
_NUCLEUS = re.compile(r"nucleus/([0-9]{1,10})")

MISSING = plain(HTTPStatus.NOT_FOUND)


class Routes:
    """Answers for the runs of a library.

    Parameters
    ----------
    library
        What there is to show.
    """

    def __init__(self, library: Library) -> None:
        self._library = library
        # As many at a time as there are cores: a tile may take 50 MB while it is made.
        self._working = threading.Semaphore(usable_cores())

    def __call__(self, path: str) -> Answer:
        """Answer a path; 404 for what there is not."""
        found = _PATH.fullmatch(path)
        if found is None:
            return MISSING
        if path == "/":
            return _page("list") if self._library.cohort else _redirected("/slide/0/")
        if path == "/slides.json":
            return _json(self._library.listing())
        if name := found["static"]:
            return _static(name, STATIC[name]) if name in STATIC else MISSING
        if found["number"] is None:
            return MISSING
        with self._library.shown(int(found["number"])) as run:
            if run is None:
                return MISSING
            return _page("slide") if found["rest"] == "" else self._of_run(run, found["rest"])

    def _of_run(self, run: Shown, rest: str) -> Answer:
        fixed: dict[str, Callable[[], Answer]] = {
            "about.json": lambda: _json({**run.about(), "cohort": self._library.cohort}),
            "nuclei.json": lambda: _json(run.about_nuclei()),
            "outline.json": lambda: _json(run.outline()),
        }
        with self._working:
            if rest in fixed:
                return fixed[rest]()
            if found := _TILE.fullmatch(rest):
                return _tile(run, found[1], *(int(part) for part in found.groups()[1:]))
            if found := _DENSITY.fullmatch(rest):
                png = run.indexed()[1].get(int(found[1]))
                return MISSING if png is None else Answer(png, "image/png")
            if found := _NUCLEI.fullmatch(rest):
                data = run.indexed()[0].tile(int(found[1]), int(found[2]))
                return Answer(data, "application/octet-stream")
            if found := _NUCLEUS.fullmatch(rest):
                nucleus = run.nucleus(int(found[1]))
                return MISSING if nucleus is None else _json(nucleus)
        return MISSING


def _tile(run: Shown, layer: str, level: int, column: int, row: int) -> Answer:
    if layer == "mask":
        png = run.masks.tile(level, column, row)
        return MISSING if png is None else Answer(png, "image/png")
    pixels = run.picture.tile(level, column, row)
    return MISSING if pixels is None else Answer(as_jpeg(pixels), "image/jpeg")


def _page(name: str) -> Answer:
    return _static(*_PAGES[name])


def _static(name: str, kind: str) -> Answer:
    return Answer(files("wsiseg.view").joinpath("static", name).read_bytes(), kind)


def _redirected(path: str) -> Answer:
    return Answer(b"", "text/plain", HTTPStatus.SEE_OTHER, path)


def _json(content: object) -> Answer:
    return Answer(orjson.dumps(content), "application/json")
