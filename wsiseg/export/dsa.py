"""Nuclei as an annotation of the Digital Slide Archive, which HistomicsUI shows: one element a line.

The form is that of girder's large_image_annotation (`AnnotationSchema`): closed polylines of (x, y, z) in level-0
pixels, for DSA shows a slide whole, without regard to its bounds. It takes uploads of 1 GiB at most, and more than
about 140,000 elements are known to be hard for it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import orjson

from wsiseg import fsio
from wsiseg.export.lines import rings, write_lines
from wsiseg.export.table import class_columns

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from wsiseg.export import ExportHeader
    from wsiseg.nuclei import Nuclei

MEASUREMENTS = ("area_um2", "probability")
"""Columns that an element carries beside its number and class, and the probabilities of several classes; each
costs 20 bytes a nucleus on the server."""

_DESCRIPTION = "Nuclei found by wsiseg; coordinates are level-0 pixels"


def export_dsa(batches: Iterable[Nuclei], total: int, stem: Path, header: ExportHeader) -> list[Path]:
    """Write nuclei for the Digital Slide Archive; see `wsiseg.export.Exporter`."""
    path = stem.with_name(stem.name + ".json")
    facts = {"name": "wsiseg nuclei", "description": _DESCRIPTION, "attributes": {"wsiseg": header.about_level0()}}
    head = orjson.dumps(facts)[:-1] + b',"elements":['
    lines = (line for nuclei in batches for line in _elements(nuclei, header))
    with fsio.explained(path), fsio.open_new(fsio.partial_name(path)) as file:
        written = write_lines(file, head, lines, b"]}\n")
    if written != total:
        raise ValueError(f"{total} nuclei were announced, but {written} came")
    return [path]


def _elements(nuclei: Nuclei, header: ExportHeader) -> Iterator[bytes]:
    """Give a batch's elements as JSON, in order."""
    nuclei.check_finite()
    names = (*MEASUREMENTS, *class_columns(header.classes))
    columns = [*(getattr(nuclei, name) for name in MEASUREMENTS), *nuclei.class_probability.T]
    rows = np.stack(columns, axis=1, dtype=np.float64).round(4).tolist()
    looks = {one.value: _look(one.name, one.color) for one in header.classes}
    for index, ring in enumerate(rings(nuclei)):
        element = {
            "type": "polyline",
            "closed": True,
            # What is closed does not name its first point twice.
            "points": np.pad(ring[:-1], ((0, 0), (0, 1))),
            **looks[int(nuclei.class_value[index])],
            "user": {"id": int(nuclei.id[index]), **dict(zip(names, rows[index], strict=True))},
        }
        yield orjson.dumps(element, option=orjson.OPT_SERIALIZE_NUMPY)


def _look(name: str, color: tuple[int, int, int]) -> dict[str, Any]:
    """Give what all elements of a class have in common; HistomicsUI styles by group."""
    red, green, blue = color
    return {
        "label": {"value": name},
        "group": name,
        "lineColor": f"rgb({red}, {green}, {blue})",
        "fillColor": f"rgba({red}, {green}, {blue}, 0.25)",
        "lineWidth": 1,
    }
