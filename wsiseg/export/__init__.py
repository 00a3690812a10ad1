"""Formats that a finished run can be written to; each is one module and one line of a table."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any, Literal, Protocol

from wsiseg import __version__

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from wsiseg.models.bundle import ClassSpec
    from wsiseg.nuclei import Nuclei


@dataclass(frozen=True, slots=True)
class Format:
    """Who writes a format, and how its files end."""

    exporter: str
    """module:attribute, loaded on use."""
    endings: tuple[str, ...]
    """What the exporter adds to a stem: one of these."""

    def load(self) -> Any:  # noqa: ANN401 - of either protocol
        """Give the exporter."""
        module, _, attribute = self.exporter.partition(":")
        return getattr(import_module(module), attribute)


EXPORTERS: dict[str, Format] = {
    "geojson": Format("wsiseg.export.geojson:export_geojson", (".geojson.gz", ".geojson.zip")),
    "geoparquet": Format("wsiseg.export.parquet:export_geoparquet", (".parquet",)),
    "flatgeobuf": Format("wsiseg.export.flatgeobuf:export_flatgeobuf", (".fgb",)),
    "csv": Format("wsiseg.export.csv:export_csv", (".csv",)),
    "dsa": Format("wsiseg.export.dsa:export_dsa", (".json",)),
}
"""Formats of nuclei, by name; `load_exporter` gives an `Exporter`."""

MASK_EXPORTERS: dict[str, Format] = {
    "ome-tiff": Format("wsiseg.export.ometiff:export_ome_tiff", (".ome.tif",)),
}
"""Formats of masks, by name; `load_mask_exporter` gives a `MaskExporter`."""

RUN_EXPORTERS: dict[str, Format] = {
    "spatialdata": Format("wsiseg.export.spatialdata:export_spatialdata", (".sdata.zarr",)),
}
"""Formats of nuclei and masks together, by name; `load_run_exporter` gives a `RunExporter`."""

FORMATS = EXPORTERS | MASK_EXPORTERS | RUN_EXPORTERS


@dataclass(frozen=True)
class ExportHeader:
    """What a file of nuclei says about itself. No paths and no times: equal runs give equal files."""

    slide: str
    """The slide's file name, without its folder."""
    fingerprint: str
    """What tells the slide from all others; ids that are unique in the world are made from it."""
    mpp: float
    """um per pixel of level 0."""
    origin: tuple[int, int]
    """Level-0 (x, y) of the slide's bounds, which QuPath shows as (0, 0); (0, 0) where it states none."""
    classes: tuple[ClassSpec, ...]
    """The bundle's classes."""
    model_sha256: str = ""
    """Which bundle found the nuclei: the SHA-256 of its `model.json`."""
    coords: Literal["qupath", "slide"] = "qupath"
    """Where GeoJSON has its (0, 0): at `origin`, as QuPath does, or at level 0's. Tables always use level 0."""

    def about(self) -> dict[str, Any]:
        """Give what every format says of the slide and the program, as JSON values."""
        # A file name need not be text on Linux; what is not becomes a question mark.
        slide = self.slide.encode("utf-8", "replace").decode()
        return {"version": __version__, "slide": slide, "mpp": self.mpp, "model_sha256": self.model_sha256}

    def about_level0(self) -> dict[str, Any]:
        """Give the same of a file whose coordinates are level-0 pixels of the slide."""
        return self.about() | {"origin": list(self.origin), "coords": "level 0"}


class Exporter(Protocol):
    """Writes nuclei as they come, in memory that does not depend on their number."""

    def __call__(self, batches: Iterable[Nuclei], total: int, stem: Path, header: ExportHeader) -> list[Path]:
        """Write `total` nuclei, numbered in the slide, to files whose names begin with `stem`.

        Returns
        -------
        list of Path
            The final paths. Their content lies under `fsio.partial_name`, for the caller to publish.

        Raises
        ------
        InternalError
            E-NONFINITE.
        """


class MaskExporter(Protocol):
    """Writes the masks of a run, a piece at a time."""

    def __call__(self, masks: Path, stem: Path, header: ExportHeader) -> list[Path]:
        """Write what the mask store `masks` holds to files whose names begin with `stem`; as `Exporter` does."""


class RunExporter(Protocol):
    """Writes the masks and the nuclei of a run together."""

    def __call__(
        self, masks: Path, batches: Iterable[Nuclei], total: int, stem: Path, header: ExportHeader
    ) -> list[Path]:
        """Write both to files or folders whose names begin with `stem`; as `Exporter` does."""


def load_exporter(name: str) -> Exporter:
    """Give the exporter of nuclei of that name.

    Raises
    ------
    KeyError
        No such format.
    """
    exporter: Exporter = EXPORTERS[name].load()
    return exporter


def load_mask_exporter(name: str) -> MaskExporter:
    """Give the exporter of masks of that name.

    Raises
    ------
    KeyError
        No such format.
    """
    exporter: MaskExporter = MASK_EXPORTERS[name].load()
    return exporter


def load_run_exporter(name: str) -> RunExporter:
    """Give the exporter of masks and nuclei of that name.

    Raises
    ------
    KeyError
        No such format.
    """
    exporter: RunExporter = RUN_EXPORTERS[name].load()
    return exporter
