"""A table of nuclei as Arrow columns: what GeoParquet, FlatGeobuf and CSV have in common.

Coordinates are level-0 pixels of the slide, x right and y down; the anchor alone is a pixel of the masks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import shapely

from wsiseg.nuclei import MEASUREMENTS, SURROUNDINGS

if TYPE_CHECKING:
    from collections.abc import Iterable

    from wsiseg.models.bundle import ClassSpec
    from wsiseg.nuclei import Nuclei

CORNERS = ("xmin", "ymin", "xmax", "ymax")
"""Members of the column `bbox`."""

SCHEMA = pa.schema(
    [
        pa.field("id", pa.uint32(), nullable=False),
        pa.field("class", pa.dictionary(pa.int32(), pa.string()), nullable=False),
        pa.field("class_value", pa.uint8(), nullable=False),
        *(pa.field(name, pa.float32(), nullable=False) for name in MEASUREMENTS),
        *(pa.field(name, pa.float32()) for name in SURROUNDINGS),
        pa.field("centroid_x", pa.float64(), nullable=False),
        pa.field("centroid_y", pa.float64(), nullable=False),
        pa.field("anchor_x", pa.int32(), nullable=False),
        pa.field("anchor_y", pa.int32(), nullable=False),
        pa.field("bbox", pa.struct([pa.field(n, pa.float64(), nullable=False) for n in CORNERS]), nullable=False),
        pa.field("geometry", pa.binary(), nullable=False),
    ]
)
"""Columns of `Nuclei` under their names there; the geometry is WKB. What may be NaN there is null here."""

PLAIN = tuple(name for name in SCHEMA.names if name not in ("bbox", "geometry"))
"""Columns with one number or text a nucleus."""


def as_record_batch(nuclei: Nuclei, classes: Iterable[ClassSpec]) -> Any:  # noqa: ANN401 - pyarrow
    """Give nuclei as one record batch of `SCHEMA`.

    Raises
    ------
    InternalError
        E-NONFINITE.
    """
    nuclei.check_finite()
    names = {one.value: one.name for one in classes}
    index = {value: place for place, value in enumerate(names)}
    places = np.array([index[value] for value in nuclei.class_value.tolist()], np.int32)
    columns: dict[str, Any] = {name: getattr(nuclei, name) for name in SCHEMA.names if hasattr(nuclei, name)}
    columns["class"] = pa.DictionaryArray.from_arrays(places, list(names.values()))
    columns["anchor_x"], columns["anchor_y"] = nuclei.anchor.T
    columns["bbox"] = pa.StructArray.from_arrays(
        [pa.array(side) for side in shapely.bounds(nuclei.polygon).T], fields=list(SCHEMA.field("bbox").type)
    )
    columns["geometry"] = shapely.to_wkb(nuclei.polygon, byte_order=1)
    arrays = [pa.array(columns[f.name], f.type, from_pandas=f.nullable) for f in SCHEMA]
    return pa.record_batch(arrays, schema=SCHEMA)


def plain_schema(*more: str) -> Any:  # noqa: ANN401 - pyarrow
    """Give the schema of `PLAIN` and further columns, with the class as text."""
    fields = [SCHEMA.field(name) for name in (*PLAIN, *more)]
    return pa.schema([f if f.name != "class" else f.with_type(pa.string()) for f in fields])


def as_plain_batch(nuclei: Nuclei, classes: Iterable[ClassSpec], schema: Any) -> Any:  # noqa: ANN401 - pyarrow
    """Give nuclei as one record batch of a schema that `plain_schema` made; raises as `as_record_batch`."""
    batch = as_record_batch(nuclei, classes)
    return pa.record_batch([batch[field.name].cast(field.type) for field in schema], schema=schema)
