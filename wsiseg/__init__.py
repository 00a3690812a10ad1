"""wsiseg: whole-slide nucleus segmentation that is exact, restartable and as fast as the network."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from os import PathLike

    from wsiseg.results import Results

__version__ = "0.1.0"


def open(path: str | PathLike[str]) -> Results:
    """Check a finished run, file by file, and open it for notebooks and scripts.

    Parameters
    ----------
    path
        A run directory: what `wsiseg run -o` was given, or a slide's folder in a cohort.

    Raises
    ------
    OutputError
        E-OUT-MISSING: there is no complete run.
    DamageError
        E-DAMAGED: a file is not what it was.
    """
    from wsiseg.results import Results

    return Results(path)
