"""Formats that a finished run can be written to; each is one module and one line of `EXPORTERS`."""

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

EXPORTERS: dict[str, str] = {
    "geojson": "wsiseg.export.geojson:export_geojson",
    "geoparquet": "wsiseg.export.parquet:export_geoparquet",
}
"""Name of a table's format -> module:attribute, loaded on use."""


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


def load_exporter(name: str) -> Exporter:
    """Give the exporter of that name.

    Raises
    ------
    KeyError
        No such format.
    """
    module, _, attribute = EXPORTERS[name].partition(":")
    exporter: Exporter = getattr(import_module(module), attribute)
    return exporter
