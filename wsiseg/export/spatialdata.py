"""A run as a SpatialData store: masks, outlines and measurements in one.

The extra `spatialdata` brings the library. It takes outlines and measurements whole, about 2 kB a nucleus in
memory; masks pass through a shard at a time. Coordinate systems: `global` is level-0 pixels of the slide, `um` is
micrometres from the same corner.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from wsiseg import fsio
from wsiseg.errors import SettingsError
from wsiseg.export.omezarr import mask_arrays, read_provenance
from wsiseg.export.table import as_record_batch, class_columns
from wsiseg.nuclei import MEASUREMENTS

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from wsiseg.export import ExportHeader
    from wsiseg.nuclei import Nuclei

OUTLINES, TABLE = "nuclei", "measurements"
"""Names of the outlines and of the table that describes them; masks are `labels_classes` and `labels_nuclei`."""


def export_spatialdata(
    masks: Path, batches: Iterable[Nuclei], total: int, stem: Path, header: ExportHeader
) -> list[Path]:
    """Write a store of masks, outlines and measurements; see `wsiseg.export.RunExporter`.

    Raises
    ------
    SettingsError
        E-USAGE: the extra is not installed.
    """
    sd = _library()
    path = stem.with_name(stem.name + ".sdata.zarr")
    tables = [as_record_batch(nuclei, header.classes) for nuclei in batches]
    table = pa.Table.from_batches(tables) if tables else None
    if (0 if table is None else table.num_rows) != total:
        raise ValueError(f"{total} nuclei were announced, but others came")
    with fsio.explained(path), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the library's own dependencies
        data = sd.SpatialData(labels=_labels(masks, header), attrs={"wsiseg": header.about_level0()})
        if table is not None:
            data.shapes[OUTLINES] = _outlines(table, header)
            data.tables[TABLE] = _measurements(table, [*MEASUREMENTS, *class_columns(header.classes)])
        data.write(fsio.partial_name(path))
    return [path]


def _library() -> Any:  # noqa: ANN401 - untyped
    try:
        import spatialdata
    except ImportError as error:
        fix = "pip install 'wsiseg[spatialdata]'"
        raise SettingsError("E-USAGE", "the format needs SpatialData", where="spatialdata", fix=fix) from error
    return spatialdata


def _labels(masks: Path, header: ExportHeader) -> dict[str, Any]:
    """Give the mask pyramids, read as they are written."""
    import dask.array
    import zarr
    from spatialdata.models import Labels2DModel
    from spatialdata.transformations import Scale, Sequence, Translation

    found, frame = mask_arrays(masks), read_provenance(masks)["frame"]
    level0 = [Scale([frame["downsample"]] * 2, ("x", "y")), Translation(frame["origin_level0"], ("x", "y"))]
    transformations = {"global": Sequence(level0), "um": Sequence([*level0, Scale([header.mpp] * 2, ("x", "y"))])}
    labels = {}
    for name, levels in (("classes", found.classes), ("nuclei", found.nuclei)):
        finest = zarr.open_array(str(levels[0]), mode="r")
        labels[f"labels_{name}"] = Labels2DModel.parse(
            dask.array.from_array(finest, chunks=finest.shards or finest.chunks),
            dims=("y", "x"),
            scale_factors=[2] * (len(levels) - 1) or None,
            transformations=transformations,
        )
    return labels


def _outlines(table: Any, header: ExportHeader) -> Any:  # noqa: ANN401 - pyarrow and geopandas
    import geopandas
    from spatialdata.models import ShapesModel
    from spatialdata.transformations import Identity, Scale

    outlines = geopandas.GeoSeries.from_wkb(table["geometry"].to_numpy(zero_copy_only=False))
    frame = geopandas.GeoDataFrame(geometry=outlines).set_index(table["id"].to_numpy())
    return ShapesModel.parse(
        frame, transformations={"global": Identity(), "um": Scale([header.mpp] * 2, ("x", "y"))}
    )


def _measurements(table: Any, names: list[str]) -> Any:  # noqa: ANN401 - pyarrow and anndata
    """Give the measurements as a matrix, one row a nucleus, that annotates the outlines."""
    import pandas
    from anndata import AnnData
    from spatialdata.models import TableModel

    ids = table["id"].to_numpy()
    about = pandas.DataFrame(
        {
            "id": ids.astype(np.int64),
            "class": pandas.Categorical(table["class"].cast(pa.string()).to_pylist()),
            "region": pandas.Categorical([OUTLINES] * len(ids)),
        },
        index=ids.astype(str),
    )
    found = AnnData(np.stack([table[name].to_numpy() for name in names], axis=1), obs=about)
    found.var_names = names
    found.obsm["spatial"] = np.stack([table["centroid_x"].to_numpy(), table["centroid_y"].to_numpy()], axis=1)
    return TableModel.parse(found, region=OUTLINES, region_key="region", instance_key="id")
