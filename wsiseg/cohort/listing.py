"""Which slides a cohort holds, each with an id of its own; the same slide given twice is named, and runs once."""

from __future__ import annotations

import hashlib
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from wsiseg.cohort.ids import automatic_id, folded
from wsiseg.cohort.search import find_slides
from wsiseg.cohort.sheet import ListedSlide, read_sheet
from wsiseg.errors import SettingsError, SlideError
from wsiseg.slides import fingerprint
from wsiseg.slides.precheck import slide_file

if TYPE_CHECKING:
    from collections.abc import Sequence

    from wsiseg.run import RunSettings

_READERS = 8
"""Slides looked at in parallel: on a network disk the time goes into waiting."""


@dataclass(frozen=True, slots=True)
class CohortSlide:
    """One slide of a cohort and what was said of it alone."""

    id: str
    """Name of its run directory."""
    path: Path
    """As given; it need not exist."""
    mpp: float | None = None
    """um per pixel of level 0; None if the cohort's setting counts, as below."""
    roi: Path | None = None
    tissue: str | None = None

    def settings(self, shared: RunSettings) -> RunSettings:
        """Give the cohort's settings with this slide's values in their place."""
        return replace(
            shared,
            slide=self.path,
            mpp=shared.mpp if self.mpp is None else self.mpp,
            roi=shared.roi if self.roi is None else self.roi,
            tissue=shared.tissue if self.tissue is None else self.tissue,
        )


@dataclass(frozen=True, slots=True)
class Listing:
    """The slides of a cohort."""

    slides: tuple[CohortSlide, ...]
    """Those to run, in the order of the list; their ids differ."""
    duplicates: tuple[tuple[CohortSlide, str], ...]
    """(what was given again, id of the slide that runs for it)."""


def read_listing(sources: Sequence[str]) -> Listing:
    """Find the slides that arguments name.

    Parameters
    ----------
    sources
        Files, folders (searched with their subfolders), patterns such as `slides/**/*.svs`, or one `.csv` list.

    Raises
    ------
    SettingsError
        E-COHORT-LIST: the list is wrong, nothing is found, or two slides would share an id. A slide that is
        missing or broken is no error of the list.
    """
    listed = _listed(sources)
    if not listed:
        raise SettingsError("E-COHORT-LIST", "no slide was found", where=", ".join(sources))
    with ThreadPoolExecutor(_READERS, "identify") as threads:
        contents = list(threads.map(_content, [one.path for one in listed]))
    return _assembled(listed, contents)


def _listed(sources: Sequence[str]) -> list[ListedSlide]:
    lists = [source for source in sources if source.lower().endswith(".csv")]
    if not lists:
        return [ListedSlide(path, str(path)) for source in sources for path in find_slides(source)]
    if len(sources) > 1:
        raise SettingsError(
            "E-COHORT-LIST", "a list stands alone", where=lists[0], fix="add the slides to the list"
        )
    return read_sheet(Path(lists[0]))


def _content(path: Path) -> str:
    """Give the slide's fingerprint; of one that cannot be read, a digest of its path."""
    try:
        return fingerprint(slide_file(path))
    except SlideError:
        return hashlib.sha256(os.fsencode(os.path.abspath(path))).hexdigest()


def _assembled(listed: Sequence[ListedSlide], contents: Sequence[str]) -> Listing:
    """Give each slide its id, and tell repeated ones from new ones."""
    owners: dict[str, tuple[object, str]] = {}
    first: dict[object, CohortSlide] = {}
    duplicates = []
    for one, content in zip(listed, contents, strict=True):
        name = one.id or automatic_id(_stem(one.path), content)
        slide = CohortSlide(name, one.path, one.mpp, one.roi, one.tissue)
        work = (content, slide.mpp, _real(slide.roi), _real(slide.tissue))
        owner, place = owners.setdefault(folded(name), (work, one.place))
        if owner != work:
            raise SettingsError(
                "E-COHORT-LIST",
                f"two slides, or one slide with two settings, have the id {name!r}",
                where=f"{place} and {one.place}",
                fix="give each an id of its own in the column id of a CSV list",
            )
        if work in first:
            duplicates.append((slide, first[work].id))
        else:
            first[work] = slide
    return Listing(tuple(first.values()), tuple(duplicates))


def _stem(path: Path) -> str:
    return path.name if os.path.isdir(path) else path.stem


def _real(path: Path | str | None) -> str:
    return "" if path is None else os.path.realpath(path)
