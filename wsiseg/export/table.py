"""A table of nuclei as Arrow columns: what GeoParquet, FlatGeobuf and CSV have in common.

Coordinates are level-0 pixels of the slide, x right and y down; the anchor alone is a pixel of the masks.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import pyarrow as pa
import shapely

from wsiseg.nuclei import MEASUREMENTS, SURROUNDINGS

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from wsiseg.models.bundle import ClassSpec
    from wsiseg.nuclei import Nuclei

CORNERS = ("xmin", "ymin", "xmax", "ymax")
"""Members of the column `bbox`."""

_BOX = pa.struct([pa.field(name, pa.float64(), nullable=False) for name in CORNERS])


def column_names(names: Iterable[str]) -> list[str]:
    """Make parts of column names of the names of classes: a to z in lower case, digits, and `_` for all else.

    Where two become the same, a number follows the later one.
    """
    found: list[str] = []
    for name in names:
        plain = re.sub(r"[^a-z0-9]", "_", name.lower())
        number = 1
        while (free := plain if number == 1 else f"{plain}_{number}") in found:
            number += 1
        found.append(free)
    return found


class Named(Protocol):
    """A class of a bundle, or of a mask."""

    @property
    def name(self) -> str:
        """What it is called."""


def class_columns(classes: Sequence[Named]) -> list[str]:
    """Name the columns of the classes' probabilities, in the bundle's order; there are none for one class."""
    if len(classes) == 1:
        return []
    return [f"probability_{name}" for name in column_names(one.name for one in classes)]


def table_schema(classes: Sequence[ClassSpec]) -> Any:  # noqa: ANN401 - pyarrow
    """Give the columns of `Nuclei` under their names there, and one of `class_probability` for each class.

    The geometry is WKB. What may be NaN there is null here.
    """
    return pa.schema(
        [
            pa.field("id", pa.uint32(), nullable=False),
            pa.field("class", pa.dictionary(pa.int32(), pa.string()), nullable=False),
            pa.field("class_value", pa.uint8(), nullable=False),
            *(pa.field(name, pa.float32(), nullable=False) for name in (*class_columns(classes), *MEASUREMENTS)),
            *(pa.field(name, pa.float32()) for name in SURROUNDINGS),
            pa.field("centroid_x", pa.float64(), nullable=False),
            pa.field("centroid_y", pa.float64(), nullable=False),
            pa.field("anchor_x", pa.int32(), nullable=False),
            pa.field("anchor_y", pa.int32(), nullable=False),
            pa.field("bbox", _BOX, nullable=False),
            pa.field("geometry", pa.binary(), nullable=False),
        ]
    )


def as_record_batch(nuclei: Nuclei, classes: Sequence[ClassSpec]) -> Any:  # noqa: ANN401 - pyarrow
    """Give nuclei as one record batch of `table_schema`.

    Raises
    ------
    InternalError
        E-NONFINITE.
    """
    nuclei.check_finite()
    names = {one.value: one.name for one in classes}
    index = {value: place for place, value in enumerate(names)}
    places = np.array([index[value] for value in nuclei.class_value.tolist()], np.int32)
    schema = table_schema(classes)
    columns: dict[str, Any] = {name: getattr(nuclei, name) for name in schema.names if hasattr(nuclei, name)}
    columns |= zip(class_columns(classes), nuclei.class_probability.T, strict=True)
    columns["class"] = pa.DictionaryArray.from_arrays(places, list(names.values()))
    columns["anchor_x"], columns["anchor_y"] = nuclei.anchor.T
    columns["bbox"] = pa.StructArray.from_arrays(
        [pa.array(side) for side in shapely.bounds(nuclei.polygon).T], fields=list(_BOX)
    )
    columns["geometry"] = shapely.to_wkb(nuclei.polygon, byte_order=1)
    arrays = [pa.array(columns[f.name], f.type, from_pandas=f.nullable) for f in schema]
    return pa.record_batch(arrays, schema=schema)


def plain_schema(classes: Sequence[ClassSpec], *more: str) -> Any:  # noqa: ANN401 - pyarrow
    """Give the columns with one number or text a nucleus, and further ones, with the class as text."""
    schema = table_schema(classes)
    fields = [f for f in schema if f.name not in ("bbox", "geometry")] + [schema.field(name) for name in more]
    return pa.schema([f if f.name != "class" else f.with_type(pa.string()) for f in fields])


def as_plain_batch(nuclei: Nuclei, classes: Sequence[ClassSpec], schema: Any) -> Any:  # noqa: ANN401 - pyarrow
    """Give nuclei as one record batch of a schema that `plain_schema` made; raises as `as_record_batch`."""
    batch = as_record_batch(nuclei, classes)
    return pa.record_batch([batch[field.name].cast(field.type) for field in schema], schema=schema)
