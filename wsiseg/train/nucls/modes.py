"""The two ways to make training fields of NuCLS, and how each splits them.

`strict` is what is right. The nuclei come from the table, because a mask cannot tell an outline from a box (the
data set's own words) and lets boxes cover outlines; fields with and without a mask are then labelled alike. Boxes
and what lies outside the field are left out of the loss by an ignore map. Patients are split, not files.

`thesis` repeats the thesis: the mask's pixels, any nucleus = 1 (a label above 0; a field without a mask is drawn
from its table), the center 256 px, boxes as filled rectangles, and files split 90/10 with seed 42. Its own rule,
"253 becomes 0, everything else 1", made nuclei of code 0 too, which is outside the field; that is mended here and
counted. A field smaller than the crop is left out: padding would invent tissue.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from wsiseg.train.data import BOX_ONLY, COUNTED, OUTSIDE_FIELD
from wsiseg.train.nucls.decode import UnusableFileError
from wsiseg.train.nucls.drawing import draw_nuclei, field_inside, mask_nuclei
from wsiseg.train.nucls.published import FIELD, OUTLINE, OUTSIDE

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy.typing as npt

    from wsiseg.train.nucls.published import FieldName, PublishedField

CROP_PX = 256
_SEED = 42
_THESIS_VALIDATION = 0.1
_HELD_OUT = 0.15
"""Share of the patients in `val`, and again in `test`."""


@dataclass(frozen=True, slots=True)
class PreparedField:
    """What is written of one field."""

    rgb: npt.NDArray[np.uint8]
    """(h, w, 3)."""
    labels: npt.NDArray[np.int32]
    """(h, w); i + 1 is row i of the published table."""
    ignore: npt.NDArray[np.uint8] | None
    """(h, w) as `wsiseg.train.data` reads it; None where everything counts."""
    pixels: dict[str, int] = field(default_factory=dict)
    """What the mode has to tell about its pixels."""


@dataclass(frozen=True, slots=True)
class Mode:
    """A way to prepare fields."""

    name: str
    prepare: Callable[[PublishedField], PreparedField]
    """Raises `UnusableFileError` for a field that the mode cannot take."""
    split: Callable[[Sequence[FieldName]], list[str]]
    """Give each field's split; the fields come sorted by name."""
    classes: bool
    """Whether it tells what each nucleus is."""


def strict(published: PublishedField) -> PreparedField:
    """Label a whole field from its table and mark what the loss must not look at."""
    height, width = published.rgb.shape[:2]
    labels = draw_nuclei(published.nuclei, (height, width))
    outlined = np.array([True] + [nucleus.kind == OUTLINE for nucleus in published.nuclei])
    ignore = np.where(outlined[labels], COUNTED, BOX_ONLY).astype(np.uint8)
    ignore[(labels == 0) & ~field_inside(published)] = OUTSIDE_FIELD
    counted, outside, boxes = (int((ignore == code).sum()) for code in (COUNTED, OUTSIDE_FIELD, BOX_ONLY))
    pixels = {"counted": counted, "outside_field": outside, "box_only": boxes}
    return PreparedField(published.rgb, labels, ignore, pixels)


def thesis(published: PublishedField) -> PreparedField:
    """Take the center crop with the mask's nuclei, and count what the thesis' rule makes of the same mask."""
    height, width = published.rgb.shape[:2]
    if min(height, width) < CROP_PX:
        raise UnusableFileError(
            f"rgb/{published.name.name}.png", f"{width} x {height} px, less than the crop of {CROP_PX}"
        )
    top, left = (height - CROP_PX) // 2, (width - CROP_PX) // 2
    crop = slice(top, top + CROP_PX), slice(left, left + CROP_PX)
    mask = published.mask
    if mask is None:
        return PreparedField(published.rgb[crop], draw_nuclei(published.nuclei, (height, width))[crop], None)
    labels = mask_nuclei(mask, published.nuclei)
    outside = mask.codes == OUTSIDE
    pixels = {
        "nucleus": int((labels > 0).sum()),
        "nucleus_by_thesis_rule": int((mask.codes != FIELD).sum()),
        "outside_field": int(outside.sum()),
        "outside_field_in_crop": int(outside[crop].sum()),
    }
    return PreparedField(published.rgb[crop], labels[crop], None, pixels)


def split_patients(fields: Sequence[FieldName]) -> list[str]:
    """Split by patient: 15 % `val`, 15 % `test`, the rest `train`, in the order of the patients' SHA-256.

    The hash is a shuffle that needs no random generator and is the same everywhere. From three patients on no
    split is empty; with fewer all are `train`.
    """
    patients = sorted({name.patient for name in fields}, key=lambda name: hashlib.sha256(name.encode()).digest())
    held_out = max(1, round(_HELD_OUT * len(patients))) if len(patients) >= 3 else 0
    split_of = dict.fromkeys(patients, "train")
    split_of.update(dict.fromkeys(patients[:held_out], "val"))
    split_of.update(dict.fromkeys(patients[held_out : 2 * held_out], "test"))
    return [split_of[name.patient] for name in fields]


def split_files(fields: Sequence[FieldName]) -> list[str]:
    """Split by file as the thesis did: a permutation with seed 42, its first tenth, rounded up, is `val`.

    For the same list of files this is scikit-learn's `train_test_split(test_size=0.1, random_state=42)`. A
    patient with several fields may be on both sides.
    """
    # The legacy generator is frozen: the same numbers in every version of numpy, and those of the thesis.
    order = np.random.RandomState(_SEED).permutation(len(fields))
    splits = ["train"] * len(fields)
    for position in order[: math.ceil(_THESIS_VALIDATION * len(fields))]:
        splits[position] = "val"
    return splits


MODES = {
    mode.name: mode
    for mode in (
        Mode("strict", strict, split_patients, classes=True),
        Mode("thesis", thesis, split_files, classes=False),
    )
}
