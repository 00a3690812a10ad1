"""Nuclei as QuPath detections: one feature a line, in one `.geojson.gz` or a `.geojson.zip` of parts.

QuPath parses a file whole, but the parts of a zip one after another: it needs a heap of 12 GB to open a million
nuclei as one file and 3 GB as parts of 50,000 (measured with 0.6 and 0.7). A single invalid polygon, a class
without a colour or an open ring makes it refuse the file, or lose a part without a word.
"""

from __future__ import annotations

import gzip
import hashlib
import zipfile
from itertools import islice
from typing import TYPE_CHECKING
from uuid import NAMESPACE_URL, uuid5

import numpy as np
import orjson

from wsiseg import fsio
from wsiseg.export.lines import rings, write_lines
from wsiseg.nuclei import SURROUNDINGS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from pathlib import Path

    from wsiseg.export import ExportHeader
    from wsiseg.export.lines import Writable
    from wsiseg.models.bundle import ClassSpec
    from wsiseg.nuclei import Nuclei

SINGLE_FILE_MAX = 100_000
"""Nuclei that QuPath opens as one file on a small machine; more go into a zip of parts."""

PART_SIZE = 50_000
"""Features in a part of the zip at most."""

MEASUREMENTS = {
    "Area \u00b5m^2": "area_um2",
    "Length \u00b5m": "perimeter_um",
    "Circularity": "circularity",
    "Solidity": "solidity",
    "Major axis \u00b5m": "major_axis_um",
    "Minor axis \u00b5m": "minor_axis_um",
    "Eccentricity": "eccentricity",
    "Probability": "probability",
    "Hematoxylin: Mean": "haematoxylin_od_mean",
    "Hematoxylin: Std.Dev.": "haematoxylin_od_std",
    "Eosin: Mean": "eosin_od_mean",
    "Eosin: Std.Dev.": "eosin_od_std",
    "Smoothed: 50 \u00b5m: Nearby detection counts": "neighbours_50um",
    "Nearest nucleus \u00b5m": "nearest_um",
}
"""Name in QuPath -> column. Area to solidity, stains and counts are what QuPath's own features of detections are
called and mean; QuPath's diameters are Feret's, which the axes are not, so these have names of their own. The last
ones, `SURROUNDINGS`, are left out where they are not known; before them stand the probabilities of the classes."""

_ID_NAMESPACE = uuid5(NAMESPACE_URL, "https://wsiseg/nucleus")


def export_geojson(batches: Iterable[Nuclei], total: int, stem: Path, header: ExportHeader) -> list[Path]:
    """Write nuclei for QuPath; see `wsiseg.export.Exporter`."""
    lines = (line for nuclei in batches for line in _features(nuclei, header))
    if total <= SINGLE_FILE_MAX:
        path = stem.with_name(stem.name + ".geojson.gz")
        written = _write_gz(path, lines, header)
    else:
        path = stem.with_name(stem.name + ".geojson.zip")
        written = _write_zip(path, lines, total, header)
    if written != total or next(lines, None) is not None:
        raise ValueError(f"{total} nuclei were announced, but {written} or more came")
    return [path]


def _write_gz(path: Path, lines: Iterator[bytes], header: ExportHeader) -> int:
    with (
        fsio.explained(path),
        fsio.open_new(fsio.partial_name(path)) as raw,
        # Neither the time nor the name of the partial file goes into the gzip header.
        gzip.GzipFile("", "wb", compresslevel=1, fileobj=raw, mtime=0) as packed,
    ):
        return _write_collection(packed, lines, header)


def _write_zip(path: Path, lines: Iterator[bytes], total: int, header: ExportHeader) -> int:
    written = 0
    with (
        fsio.explained(path),
        fsio.open_new(fsio.partial_name(path)) as raw,
        zipfile.ZipFile(raw, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive,
    ):
        for number in range(1, -(-total // PART_SIZE) + 1):
            # Opened by name, an entry gets the fixed date of 1980.
            with archive.open(f"part-{number:04d}.geojson", "w") as part:
                written += _write_collection(part, islice(lines, PART_SIZE), header)
    return written


def _write_collection(file: Writable, lines: Iterator[bytes], header: ExportHeader) -> int:
    """Write one FeatureCollection of the given features; give their number."""
    about = header.about() | {"origin": _origin(header), "coords": header.coords}
    head = b'{"type":"FeatureCollection","wsiseg":%b,"features":[' % orjson.dumps(about)
    return write_lines(file, head, lines, b"]}\n")


def _origin(header: ExportHeader) -> tuple[int, int]:
    """Give the level-0 point that is (0, 0) in the file."""
    return header.origin if header.coords == "qupath" else (0, 0)


def _features(nuclei: Nuclei, header: ExportHeader) -> Iterator[bytes]:
    """Give a batch's features as JSON, in order."""
    nuclei.check_finite()
    columns = [getattr(nuclei, column) for column in MEASUREMENTS.values()]
    before = len(columns) - len(SURROUNDINGS)
    rows = np.stack([*columns[:before], *nuclei.class_probability.T, *columns[before:]], axis=1, dtype=float)
    # All at once, as [[a,b,...],[a,b,...],...].
    measurements = orjson.dumps(rows.round(4), option=orjson.OPT_SERIALIZE_NUMPY)[2:-2].split(b"],[")
    known = (~np.isnan(rows)).sum(axis=1).tolist()
    names = measurement_names(header.classes)
    forms = {(c.value, count): _form(c, names[:count]) for c in header.classes for count in set(known)}
    feature_id = _feature_ids(header.fingerprint)
    for index, ring in enumerate(rings(nuclei, _origin(header))):
        name = feature_id(int(nuclei.id[index]))
        outline = orjson.dumps(ring, option=orjson.OPT_SERIALIZE_NUMPY)
        count = known[index]
        values = measurements[index].split(b",")[:count]
        yield forms[int(nuclei.class_value[index]), count] % (name, outline, *values)


def measurement_names(classes: Sequence[ClassSpec]) -> list[str]:
    """Name the measurements of a feature, with one of each class' probability where there are several."""
    names = list(MEASUREMENTS)
    if len(classes) > 1:
        names[-len(SURROUNDINGS) : -len(SURROUNDINGS)] = [f"Probability: {one.name}" for one in classes]
    return names


def _form(one: ClassSpec, names: Sequence[str]) -> bytes:
    """Give what all features of a class have in common, with `%b` for id, ring and each measurement.

    To fill in a form takes two thirds of the time that making a dictionary for each nucleus would.
    """
    blank = orjson.Fragment(b"%b")
    look = orjson.dumps({"name": one.name, "color": list(one.color)})
    feature = {
        "type": "Feature",
        "id": orjson.Fragment(b'"%b"'),
        "geometry": {"type": "Polygon", "coordinates": [blank]},
        "properties": {
            "objectType": "detection",
            "classification": orjson.Fragment(look.replace(b"%", b"%%")),
            "measurements": {name.replace("%", "%%"): blank for name in names},
        },
    }
    return orjson.dumps(feature)


def _feature_ids(fingerprint: str) -> Callable[[int], bytes]:
    """Make the function that gives the UUID of a nucleus: version 5 of RFC 9562, of slide and number.

    The same nucleus has the same id in every export, so QuPath can update what it imported before. `uuid.uuid5`
    would take as long as all the rest of a feature.
    """
    slide = hashlib.sha1(uuid5(_ID_NAMESPACE, fingerprint).bytes, usedforsecurity=False)

    def feature_id(number: int) -> bytes:
        digest = slide.copy()
        digest.update(str(number).encode())
        text = digest.hexdigest()
        variant = "89ab"[int(text[16], 16) & 3]
        return f"{text[:8]}-{text[8:12]}-5{text[13:16]}-{variant}{text[17:20]}-{text[20:32]}".encode()

    return feature_id
