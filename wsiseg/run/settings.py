"""What a user may choose for a run, and what of it decides the result."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from wsiseg.errors import SettingsError
from wsiseg.fsio import sha256_of
from wsiseg.models.bundle import DEFAULT_BUNDLE

NGFF_VERSIONS = ("0.5", "0.4")


@dataclass(frozen=True)
class RunSettings:
    """The choices of one run. Facts of the model are not among them: the bundle knows those."""

    slide: Path
    """The slide's file, or the folder of a DICOM slide."""
    model: str = DEFAULT_BUNDLE
    """A bundle's name or folder."""
    reader: str = "openslide"
    mpp: float | None = None
    """um per pixel of level 0; overrides what the slide states."""
    tissue: str = "auto"
    """`auto`, `none` for every tile, or the path of a mask or GeoJSON."""
    roi: Path | None = None
    """A GeoJSON of polygons, as QuPath writes it; tiles outside are not looked at."""
    device: str = "auto"
    """`auto`, `cpu`, `cuda`, `cuda:1`, `mps` or `openvino`."""
    batch: int | None = None
    """Tiles in one forward pass on a GPU at most; chosen by memory if None. Nothing on a CPU."""
    workers: int | None = None
    """Threads that read and decode; the usable cores if None. Does not change the result."""
    ngff: Literal["0.5", "0.4"] = "0.5"
    """OME-Zarr version of the masks; 0.4 is for Bio-Formats."""
    max_unreadable: float = 0.0
    """Share of the tissue's tiles that may be unreadable, 0 to 1. Does not change the result, only whether there
    is one."""
    keep_work: bool = False
    """Keep the maps and block results after completion."""

    def __post_init__(self) -> None:
        if self.ngff not in NGFF_VERSIONS:
            raise SettingsError("E-USAGE", f"ngff must be one of {', '.join(NGFF_VERSIONS)}")
        for name in ("batch", "workers"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise SettingsError("E-USAGE", f"{name} must be at least 1, not {value}")
        if not 0 <= self.max_unreadable <= 1:
            what = f"--max-unreadable {self.max_unreadable} is not a share from 0 to 1"
            raise SettingsError("E-USAGE", what)
        if self.mpp is not None and not 0.01 <= self.mpp <= 100:
            raise SettingsError("E-USAGE", f"--mpp {self.mpp} is not a pixel size in um", fix="40x is about 0.25")

    @property
    def tissue_file(self) -> Path | None:
        """The tissue mask's file, if the tissue is given by one."""
        return None if self.tissue in ("auto", "none") else Path(self.tissue)

    def decisive(self) -> dict[str, Any]:
        """Give the settings that decide the result, files by their content, as JSON values."""
        return {
            "reader": self.reader,
            "mpp_given": self.mpp,
            "tissue": f"sha256:{_digest(self.tissue_file)}" if self.tissue_file else self.tissue,
            "roi": f"sha256:{_digest(self.roi)}" if self.roi else None,
            "ngff": self.ngff,
        }


def _digest(path: Path) -> str:
    # A file that is not there is refused by whoever reads it, with a better text than here.
    return sha256_of(path) if path.is_file() else hashlib.sha256(b"").hexdigest()
