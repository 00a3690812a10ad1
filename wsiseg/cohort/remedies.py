"""What people can do about a slide of a cohort that failed, by its code. The message says what and where."""

from __future__ import annotations

_COPY = "Copy or download the slide again."
_MPP = "Give the true pixel size in the column mpp of a CSV list: about 0.25 for a 40x scan, 0.5 for 20x."
_AGAIN = "Run the same command again; it does only what is missing."
_REPORT = "Report it with the message below and the output of `wsiseg doctor`."

REMEDIES: dict[str, str] = {
    "E-SLIDE-MISSING": "Check the path and whether its disk is mounted.",
    "E-SLIDE-KIND": "List slide files, or folders of DICOM files.",
    "E-SLIDE-EMPTY": _COPY,
    "E-SLIDE-FORMAT": "Convert the slide, or list it without this file if it is no slide.",
    "E-SLIDE-TRUNCATED": _COPY,
    "E-SLIDE-READ": _COPY + " The message names the place that cannot be read.",
    "E-LIMIT-DIMS": _COPY,
    "E-LIMIT-TILE": _COPY,
    "E-UNREADABLE": _COPY + " Or allow a share of gaps with --max-unreadable.",
    "E-SLIDE-CHANGED": "Remove the slide's folder, or use another -o, if the new file is meant.",
    "E-SLIDE-DARK": "List bright-field slides only.",
    "E-NO-PYRAMID": "List the file that holds the slide; this one has a label or macro image only.",
    "E-PIXEL-FORMAT": "Convert the slide to 8-bit RGB.",
    "E-MPP-MISSING": _MPP,
    "E-MPP-IMPLAUSIBLE": _MPP,
    "E-ROI": "Export the region from QuPath as GeoJSON again; it must hold polygons that meet the slide.",
    "E-TISSUE": "Mend the tissue file, or leave the column tissue empty to have the tissue found.",
    "E-OUT-FOREIGN": "Move what lies in the slide's folder elsewhere, or use another -o.",
    "E-OUT-MISSING": "Remove the slide's folder; the same command then makes it again.",
    "E-OUT-SETTINGS": "Use another -o for the new settings, or remove the slide's folder.",
    "E-NUMERICS": "Finish the slide where it was begun, or remove its folder.",
    "E-LOCKED": "Wait for the other process. " + _AGAIN,
    "E-NOSPACE": "Free some disk space. " + _AGAIN,
    "E-MEMORY": "Give each worker more memory, or use fewer workers. " + _AGAIN,
    "E-IO": _AGAIN + " Check the disk if it repeats.",
    "E-DAMAGED": "Remove the slide's folder; the same command then makes it again.",
    "E-NONFINITE": _REPORT,
    "E-POISON": "Give each worker more memory, or use fewer workers. "
    + _REPORT
    + " Leave the slide out until then.",
    "E-BUG": _REPORT,
}


def remedy_for(code: str) -> str:
    """Give what to do about a code; trying again costs only what failed."""
    return REMEDIES.get(code, _AGAIN)
