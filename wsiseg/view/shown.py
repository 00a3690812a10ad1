"""One finished run as a viewer sees it: its picture, its mask, its nuclei and what is said of it."""

from __future__ import annotations

import threading
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson

from wsiseg import fsio
from wsiseg.errors import DamageError, OutputError, SlideError, WsisegError
from wsiseg.export.table import class_columns
from wsiseg.geometry import Frame
from wsiseg.run.folder import MASKS, PARQUET, SUMMARY
from wsiseg.slides import PatchedSlide, fingerprint, open_slide
from wsiseg.tissue import tissue_of
from wsiseg.view.density import Density
from wsiseg.view.masks import MaskStore
from wsiseg.view.nuclei import NucleiIndex
from wsiseg.view.picture import SlidePicture

if TYPE_CHECKING:
    from pathlib import Path


class Shown:
    """A finished run, open; for any number of threads.

    Parameters
    ----------
    folder
        The run directory.
    slide
        Where its slide should be; None if nobody knows.

    Raises
    ------
    DamageError
        E-DAMAGED: the run's files are not what wsiseg writes.
    """

    def __init__(self, folder: Path, slide: Path | None) -> None:
        self._folder = folder
        self.summary = read_summary(folder)
        self.masks = MaskStore(folder / MASKS)
        self.slide, self.slide_note = _slide_of(self.summary, slide)
        self.picture = SlidePicture(self.slide, self.masks.overview, self.masks.overview_frame)
        self._once = threading.Lock()

    @cached_property
    def _indexed(self) -> tuple[NucleiIndex, dict[int, bytes], dict[str, Any]]:
        mask = self.masks.frame
        side = mask.downsample
        area = Frame(max(round(mask.width * side), 1), max(round(mask.height * side), 1), 1.0, mask.origin)
        classes = self.masks.classes
        density = Density(area, self.masks.mpp, [one.value for one in classes])
        index = NucleiIndex(self._folder / PARQUET, self.masks.mpp, density.add)
        pictures, top = density.pictures([one.rgb for one in classes])
        return index, pictures, {**_plane(density.frame), "top": round(top)}

    def indexed(self) -> tuple[NucleiIndex, dict[int, bytes], dict[str, Any]]:
        """Give the nuclei by place, the density of each class as PNG, and what these show.

        The first to ask makes the index.
        """
        with self._once:
            return self._indexed

    def about(self) -> dict[str, Any]:
        """Give what a page needs before it shows anything, as JSON values; places are level-0 pixels."""
        summary = self.summary
        return {
            "name": summary["slide"]["name"],
            "mpp": self.masks.mpp,
            "area": _plane(self.picture.pyramid.frames[0]),
            "picture": self.picture.pyramid.as_dict(),
            "mask": self.masks.pyramid.as_dict(),
            "slide_note": self.slide_note,
            "classes": [
                {"value": one.value, "name": one.name, "rgb": list(one.rgb)} for one in self.masks.classes
            ],
            "gaps": [
                [tile[name] for name in ("x", "y", "width", "height")] for tile in summary["unreadable_tiles"]
            ],
            "facts": {name: summary[name] for name in ("nuclei", "nuclei_per_mm2", "tissue_mm2", "warnings")},
            "model": f"{summary['model']['name']} {summary['model']['version']}",
        }

    def about_nuclei(self) -> dict[str, Any]:
        """Give what a page needs before it shows nuclei, as JSON values."""
        index, _, density = self.indexed()
        return {
            "total": index.total,
            "side": index.side_px,
            "ranges": index.ranges,
            "classes": {
                str(value): int(index.class_counts[value]) for value in np.flatnonzero(index.class_counts)
            },
            "density": density,
        }

    def nucleus(self, number: int) -> dict[str, Any] | None:
        """Give all that is known of the nucleus of an id, as JSON values; None without one.

        Its `measurements`, its `bbox` in level-0 pixels, and the probability of each class that it may be of.
        """
        found = self.indexed()[0].nucleus(number)
        if found is None:
            return None
        columns, measurements = class_columns(self.masks.classes), found["measurements"]
        classes = [
            {"value": one.value, "probability": measurements.pop(column)}
            for one, column in zip(self.masks.classes, columns, strict=False)
            if column in measurements
        ]
        return {**found, "classes": classes}

    def outline(self) -> list[list[list[float]]]:
        """Give the rings around the tissue that the run looked at, as level-0 (x, y); none if that is not known.

        Tissue is found again, as the run found it: no deliverable holds it.
        """
        if self.slide is None or self.summary["settings"].get("tissue") != "auto":
            return []
        tissue = tissue_of(self.slide, "auto")
        polygons = tissue.outline(self.masks.mpp) if tissue else []
        rings = (ring for polygon in polygons for ring in (polygon.exterior, *polygon.interiors))
        return [np.round(np.asarray(ring.coords), 1).tolist() for ring in rings]

    def close(self) -> None:
        """Close the slide; no thread may be reading."""
        if self.slide is not None:
            self.slide.close()


def _plane(frame: Frame) -> dict[str, float]:
    """Give the level-0 rectangle under a frame."""
    x, y = frame.origin
    return {"x": x, "y": y, "width": frame.width * frame.downsample, "height": frame.height * frame.downsample}


def read_summary(folder: Path) -> dict[str, Any]:
    """Read a run's `summary.json`, or refuse it with E-DAMAGED."""
    try:
        content = orjson.loads(fsio.read(folder / SUMMARY))
        _ = content["slide"]["name"], content["slide"]["fingerprint"], content["unreadable_tiles"]
    except (orjson.JSONDecodeError, KeyError, TypeError) as error:
        what = f"the summary cannot be read ({error})"
        raise DamageError("E-DAMAGED", what, where=folder / SUMMARY, fix="see `wsiseg verify`") from error
    return dict(content)


def open_same(summary: dict[str, Any], path: Path) -> PatchedSlide:
    """Open a slide, if it is the one of the run.

    Raises
    ------
    OutputError
        E-SLIDE-CHANGED: it is another one.
    SlideError
        There is none, or it is refused.
    """
    about = summary["slide"]
    if not path.exists():
        raise SlideError("E-SLIDE-MISSING", "there is no such slide", where=path)
    if fingerprint(path) != about["fingerprint"]:
        what = f"this is not the slide of the run, which had another {about['name']!r}"
        raise OutputError("E-SLIDE-CHANGED", what, where=path, fix="name the right file with --slide")
    return PatchedSlide(open_slide(path, reader=about["reader"], mpp=about["mpp"]))


def _slide_of(summary: dict[str, Any], path: Path | None) -> tuple[PatchedSlide | None, str]:
    """Open the slide if it can be had; else say why it is not shown."""
    if path is None:
        return None, "The slide is not at hand, so this is the run's small overview: name its file with --slide."
    try:
        return open_same(summary, path), ""
    except WsisegError as error:
        return None, f"The slide is not shown, but the run's small overview: {error.what}."
