"""The table of nuclei that blocks produce and exporters write: one array a column, one entry a nucleus.

Knows no model, no slide and no file format that a user sees; `to_bytes` is the form in which a block's result
waits until the run is complete.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import shapely

from wsiseg.errors import InternalError

if TYPE_CHECKING:
    import numpy.typing as npt

MEASUREMENTS = (
    "probability",
    "area_um2",
    "perimeter_um",
    "equivalent_diameter_um",
    "major_axis_um",
    "minor_axis_um",
    "eccentricity",
    "circularity",
    "solidity",
    "orientation_deg",
    "haematoxylin_od_mean",
    "haematoxylin_od_std",
    "eosin_od_mean",
    "eosin_od_std",
)
"""The float32 columns, in the order in which tables show them; `wsiseg.instances` has the formulas."""

SURROUNDINGS = ("neighbours_50um", "nearest_um")
"""The float32 columns that follow these, which other nuclei decide; `wsiseg.run.neighbours` has the formulas."""

_PLAIN = {"id": "<u4", "class_value": "<u1", "centroid_x": "<f8", "centroid_y": "<f8"} | dict.fromkeys(
    MEASUREMENTS + SURROUNDINGS, "<f4"
)
"""Columns with one number a nucleus, and their type on the disk."""


@dataclass(frozen=True, eq=False)
class Nuclei:
    """n nuclei as columns of equal length, in a stable order."""

    id: npt.NDArray[np.uint32]
    """From 1 within a block until `renumbered`; the value of the nucleus in the label image."""
    polygon: npt.NDArray[np.object_]
    """shapely Polygons in level-0 px on the 0.01 px grid: valid, counter-clockwise, without holes."""
    class_value: npt.NDArray[np.uint8]
    """The nucleus' value in the class mask, from 1."""
    class_probability: npt.NDArray[np.float32]
    """(n, c): the probability of each class of the bundle, in its order; they add up to 1.

    c is 0 for a bundle of one class, of which nothing needs to be said.
    """
    probability: npt.NDArray[np.float32]
    """Mean foreground probability of its pixels, 0 to 1."""
    anchor: npt.NDArray[np.int32]
    """(n, 2): the model-frame pixel (x, y) whose block owns the nucleus: the whole part of its mean pixel."""
    area_um2: npt.NDArray[np.float32]
    """Area of its pixels, um^2."""
    perimeter_um: npt.NDArray[np.float32]
    """Length of its polygon, um."""
    equivalent_diameter_um: npt.NDArray[np.float32]
    """Diameter of the disc of the same area, um."""
    major_axis_um: npt.NDArray[np.float32]
    """Longer axis of the ellipse with the same second moments, um."""
    minor_axis_um: npt.NDArray[np.float32]
    """Shorter axis of that ellipse, um."""
    eccentricity: npt.NDArray[np.float32]
    """Of that ellipse: 0 is a disc, 1 a line."""
    circularity: npt.NDArray[np.float32]
    """4 pi area / length^2 of its polygon: 1 is a disc."""
    solidity: npt.NDArray[np.float32]
    """Area of its polygon over that of its convex hull."""
    orientation_deg: npt.NDArray[np.float32]
    """From the x axis to the major axis, in (-90, 90], positive clockwise on the screen."""
    haematoxylin_od_mean: npt.NDArray[np.float32]
    """Mean optical density of haematoxylin of its pixels, each from 0 to 2.55; `wsiseg.stains`."""
    haematoxylin_od_std: npt.NDArray[np.float32]
    """Its standard deviation."""
    eosin_od_mean: npt.NDArray[np.float32]
    """Mean optical density of eosin of its pixels."""
    eosin_od_std: npt.NDArray[np.float32]
    """Its standard deviation."""
    neighbours_50um: npt.NDArray[np.float32]
    """Number of other nuclei whose centroid lies within 50 um of its own; NaN within a block."""
    nearest_um: npt.NDArray[np.float32]
    """Distance to the nearest of the other centroids, um; NaN within a block, and where none is near."""
    centroid_x: npt.NDArray[np.float64]
    """Mean of its pixels' centres, level-0 px."""
    centroid_y: npt.NDArray[np.float64]
    """Mean of its pixels' centres, level-0 px."""
    runs: npt.NDArray[np.int32]
    """(m, 4): index in this table, y, first x, x after the last: its exact pixels in the model frame, sorted.

    Empty for nuclei read from a user's table: those are only looked at, never painted.
    """

    def __post_init__(self) -> None:
        lengths = {name: len(getattr(self, name)) for name in (*_PLAIN, "polygon", "anchor", "class_probability")}
        if len(set(lengths.values())) != 1:
            raise ValueError(f"columns of different lengths: {lengths}")

    def __len__(self) -> int:
        return len(self.id)

    @classmethod
    def empty(cls, classes: int = 0) -> Nuclei:
        """Give a table without nuclei, but with the probabilities of so many classes."""
        plain: dict[str, Any] = {name: np.empty(0, kind) for name, kind in _PLAIN.items()}
        return cls(
            polygon=np.empty(0, object),
            anchor=np.empty((0, 2), np.int32),
            runs=np.empty((0, 4), np.int32),
            class_probability=np.empty((0, classes), np.float32),
            **plain,
        )

    def renumbered(self, first_id: int) -> Nuclei:
        """Give the same nuclei with the ids `first_id`, `first_id` + 1, ..."""
        return replace(self, id=np.arange(first_id, first_id + len(self), dtype=np.uint32))

    def take(self, order: npt.ArrayLike) -> Nuclei:
        """Give some of the nuclei, each at most once, in a given order of indices; ids stay as they are."""
        chosen = np.asarray(order, np.intp)
        columns = {f.name: getattr(self, f.name)[chosen] for f in fields(self) if f.name != "runs"}
        return Nuclei(runs=take_runs(self.runs, len(self), chosen), **columns)

    def check_finite(self) -> None:
        """Refuse numbers that no reader of a table could use.

        Raises
        ------
        InternalError
            E-NONFINITE, naming the column and the first nucleus.
        """
        columns = {name: getattr(self, name) for name in (*MEASUREMENTS, "centroid_x", "centroid_y")}
        # Bounds are NaN for an empty polygon, which must not occur either.
        columns["polygon"] = shapely.bounds(self.polygon).sum(axis=1)
        columns["class_probability"] = self.class_probability.sum(axis=1)
        for name, values in columns.items():
            bad = np.flatnonzero(~np.isfinite(values))
            if len(bad):
                raise InternalError(
                    "E-NONFINITE",
                    f"the {name} of {len(bad)} nuclei is not a finite number",
                    where=f"nucleus {self.id[bad[0]]}",
                    fix="run `wsiseg doctor` and report this with its output",
                )

    def to_bytes(self) -> bytes:
        """Give the table as one Arrow IPC stream; the same table always gives the same bytes."""
        columns = {name: pa.array(getattr(self, name).astype(kind)) for name, kind in _PLAIN.items()}
        columns["anchor"] = _fixed_lists(self.anchor.astype("<i4"))
        if self.class_probability.shape[1]:
            columns["class_probability"] = _fixed_lists(self.class_probability.astype("<f4"))
        columns["polygon"] = pa.array(shapely.to_wkb(self.polygon), pa.binary())
        ends = np.searchsorted(self.runs[:, 0], np.arange(len(self) + 1)).astype(np.int32)
        columns["runs"] = pa.ListArray.from_arrays(pa.array(ends), _fixed_lists(self.runs[:, 1:].astype("<i4")))
        batch = pa.record_batch(columns)
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, batch.schema, options=pa.ipc.IpcWriteOptions(compression="zstd")) as writer:
            writer.write_batch(batch)
        data: bytes = sink.getvalue().to_pybytes()
        return data

    @classmethod
    def from_bytes(cls, data: bytes) -> Nuclei:
        """Read what `to_bytes` gave."""
        with pa.ipc.open_stream(data) as reader:
            batch = reader.read_next_batch()
        plain: dict[str, Any] = {name: _numbers(batch[name]) for name in _PLAIN}
        return cls(
            polygon=_polygons(batch),
            anchor=_numbers(batch["anchor"].flatten()).reshape(-1, 2),
            runs=_runs(batch),
            class_probability=_class_probability(batch),
            **plain,
        )


def pixels_from_bytes(data: bytes) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.uint8]]:
    """Read of what `Nuclei.to_bytes` gave just `runs` and `class_value`: painting reads each block nine times."""
    batch = _columns(data, "class_value", "runs")
    return _runs(batch), _numbers(batch["class_value"])


def outlines_from_bytes(data: bytes) -> tuple[npt.NDArray[np.object_], npt.NDArray[np.uint8]]:
    """Read of what `Nuclei.to_bytes` gave just the polygons and `class_value`."""
    batch = _columns(data, "polygon", "class_value")
    return _polygons(batch), _numbers(batch["class_value"])


def places_from_bytes(data: bytes) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.uint8]]:
    """Read of what `Nuclei.to_bytes` gave just the centroids, (n, 2) level-0 (x, y), and `class_value`."""
    batch = _columns(data, "centroid_x", "centroid_y", "class_value")
    centroids = np.stack([_numbers(batch["centroid_x"]), _numbers(batch["centroid_y"])], axis=1)
    return centroids, _numbers(batch["class_value"])


def _columns(data: bytes, *names: str) -> Any:  # noqa: ANN401 - pyarrow has no types
    schema = pa.ipc.open_stream(data).schema
    fields = [schema.get_field_index(name) for name in names]
    with pa.ipc.open_stream(data, options=pa.ipc.IpcReadOptions(included_fields=fields)) as reader:
        return reader.read_next_batch()


def take_runs(runs: npt.NDArray[np.int32], count: int, order: npt.NDArray[np.intp]) -> npt.NDArray[np.int32]:
    """Give the runs of some of `count` nuclei, each at most once, indexed anew in a given order."""
    lengths = np.bincount(runs[:, 0], minlength=count)
    starts = np.cumsum(lengths) - lengths
    taken = runs[expand_ranges(starts[order], lengths[order])]
    taken[:, 0] = np.repeat(np.arange(len(order)), lengths[order])
    return taken


def expand_ranges(starts: npt.NDArray[Any], lengths: npt.NDArray[Any]) -> npt.NDArray[np.intp]:
    """Give the indices start, start + 1, ... of many ranges, one range after another."""
    ends = np.cumsum(lengths, dtype=np.intp)
    total = int(ends[-1]) if len(ends) else 0
    indices: npt.NDArray[np.intp] = np.repeat(starts - (ends - lengths), lengths)
    indices += np.arange(total)
    return indices


def _fixed_lists(rows: npt.NDArray[Any]) -> Any:  # noqa: ANN401 - pyarrow has no types
    return pa.FixedSizeListArray.from_arrays(pa.array(rows.reshape(-1)), rows.shape[1])


def _class_probability(batch: Any) -> npt.NDArray[np.float32]:  # noqa: ANN401 - pyarrow has no types
    if "class_probability" not in batch.schema.names:
        return np.empty((batch.num_rows, 0), np.float32)
    column = batch["class_probability"]
    return _numbers(column.flatten()).reshape(batch.num_rows, column.type.list_size)


def _polygons(batch: Any) -> npt.NDArray[np.object_]:  # noqa: ANN401 - pyarrow has no types
    polygons: npt.NDArray[np.object_] = shapely.from_wkb(_numbers(batch["polygon"]))
    return polygons


def _runs(batch: Any) -> npt.NDArray[np.int32]:  # noqa: ANN401 - pyarrow has no types
    flat = batch["runs"].flatten()
    runs = np.empty((len(flat), 4), np.int32)
    runs[:, 0] = np.repeat(np.arange(batch.num_rows), np.diff(_numbers(batch["runs"].offsets)))
    runs[:, 1:] = _numbers(flat.flatten()).reshape(-1, 3)
    return runs


def _numbers(array: Any) -> npt.NDArray[Any]:  # noqa: ANN401 - pyarrow has no types
    values: npt.NDArray[Any] = array.to_numpy(zero_copy_only=False)
    return values
