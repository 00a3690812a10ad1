"""Every error that wsiseg raises on purpose, with its stable code and exit status.

::

    WsisegError
      SettingsError    exit 2   the command line or a config is wrong
      SlideError       exit 3   the slide is refused or unreadable
      BundleError      exit 4   the model bundle is refused
      OutputError      exit 5   the output folder is refused
      ResourceError    exit 6   disk, memory or files ran out: rerun when there is more
      CohortError      exit 7   a cohort is through, and some of its slides failed
      DamageError      exit 8   a deliverable no longer matches its record
      InternalError    exit 1   numbers that must not occur; a bug or a broken device

Only the command line catches them, prints one line and turns them into an exit status. Any other exception is
a bug in wsiseg and keeps its traceback.
"""

from __future__ import annotations

CODES: dict[str, str] = {
    "E-USAGE": "the command line or a setting makes no sense",
    "E-CONFIG": "a training config is not valid",
    "E-DATA": "a training or evaluation data set cannot be used",
    "E-COHORT-LIST": "the slides of a cohort cannot be listed",
    "E-COHORT-FAILED": "some slides of a cohort failed",
    "E-POISON": "the slide ended the process that worked on it, twice",
    "E-BUG": "an error that wsiseg did not expect ended the work on a slide",
    "E-SCHEDULER": "the Dask scheduler cannot be reached",
    "E-WORKERS": "Dask workers cannot take part",
    "E-ROI": "the region of interest is not a GeoJSON of polygons inside the slide",
    "E-TISSUE": "the tissue mask file cannot be used",
    "E-SLIDE-MISSING": "there is no slide at that path",
    "E-SLIDE-KIND": "the path is not a regular file or slide folder",
    "E-SLIDE-EMPTY": "the file is empty",
    "E-SLIDE-FORMAT": "no reader knows this file",
    "E-SLIDE-TRUNCATED": "the file ends before its last tile",
    "E-SLIDE-READ": "a region of the slide cannot be decoded",
    "E-LIMIT-DIMS": "the slide claims to be larger than any slide",
    "E-LIMIT-TILE": "the slide claims tiles larger than any slide's",
    "E-FORK": "a slide was used in a process that did not open it",
    "E-UNREADABLE": "more tiles of the tissue cannot be read than are allowed",
    "E-GAPS": "the run is complete with gaps, and --strict allows none",
    "E-SLIDE-CHANGED": "the slide is not the one that this run began with",
    "E-SLIDE-DARK": "the slide is not bright-field: its background is dark",
    "E-NO-PYRAMID": "the file holds no slide image, only a label or a macro",
    "E-PIXEL-FORMAT": "the pixels are not 8-bit RGB",
    "E-MPP-MISSING": "the slide states no pixel size",
    "E-MPP-IMPLAUSIBLE": "the stated pixel size cannot be true",
    "E-BUNDLE-MISSING": "there is no model bundle of that name or path",
    "E-BUNDLE-SPEC": "model.json is not a valid bundle description",
    "E-BUNDLE-WEIGHTS": "weights.safetensors does not fit model.json",
    "E-WEIGHTS": "there are no such encoder weights, or they do not fit the encoder",
    "E-HUB": "an encoder's ImageNet weights cannot be fetched",
    "E-OUT-FOREIGN": "the output folder holds files that are not a run of ours",
    "E-OUT-SETTINGS": "the output folder holds a run with other settings",
    "E-OUT-READONLY": "the output folder cannot be written",
    "E-OUT-SCHEMA": "the output folder was written by another version's layout",
    "E-OUT-MISSING": "the folder holds no run, or not a complete one",
    "E-NUMERICS": "the run began under other numerics, which would mix results",
    "E-LOCKED": "another process works in this folder",
    "E-NOSPACE": "the disk is full",
    "E-MEMORY": "memory ran out",
    "E-DEVICE": "the device asked for is not there",
    "E-DEVICE-FAILED": "the device failed while it computed",
    "E-IO": "the operating system refused to read or write a file",
    "E-DAMAGED": "a deliverable no longer matches COMPLETE.json",
    "E-NONFINITE": "the network or a measurement gave a number that is not finite",
    "E-SAMPLE": "the sample slide cannot be fetched",
}
"""Every code and what it means; the user documentation prints this table."""


def printable(text: str) -> str:
    """Give a text as one line that moves no terminal's cursor: a file may be called anything."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


class WsisegError(Exception):
    """An expected failure: what happened, where, and what to do about it.

    Parameters
    ----------
    code
        A key of `CODES`.
    what
        What is wrong, without a full stop.
    where
        The file, folder, tile or key concerned.
    fix
        What the user can do.
    """

    exit_status = 1

    def __init__(self, code: str, what: str, *, where: object = "", fix: str = "") -> None:
        if code not in CODES:
            raise KeyError(code)
        self.code = code
        self.what = what
        self.where = str(where)
        self.fix = fix
        super().__init__(str(self))

    def __str__(self) -> str:
        parts = [part for part in (self.what, self.where, self.fix) if part]
        return printable(f"error[{self.code}]: " + "; ".join(parts))

    def __reduce__(self) -> tuple[object, ...]:
        return _rebuild, (type(self), self.code, self.what, self.where, self.fix)


def _rebuild(kind: type[WsisegError], code: str, what: str, where: str, fix: str) -> WsisegError:
    return kind(code, what, where=where, fix=fix)


class SettingsError(WsisegError, ValueError):
    """The command line, a setting or a config is wrong."""

    exit_status = 2


class SlideError(WsisegError):
    """The slide is refused or cannot be read."""

    exit_status = 3


class BundleError(WsisegError):
    """The model bundle is refused."""

    exit_status = 4


class OutputError(WsisegError):
    """The output folder is refused."""

    exit_status = 5


class ResourceError(WsisegError):
    """Disk, memory or another resource ran out; the same command continues when there is more."""

    exit_status = 6


class CohortError(WsisegError):
    """A cohort is through, and some of its slides failed."""

    exit_status = 7


class DamageError(WsisegError):
    """A deliverable no longer matches its record."""

    exit_status = 8


class InternalError(WsisegError):
    """A number that must not occur: a bug or a broken device."""

    exit_status = 1
