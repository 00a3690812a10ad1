"""NuCLS' groupings of its raw classes: what each nucleus is in the seven main or the four super classes.

Source: `NucleusCategories` in the code of the paper (PathologyDataScience/NuCLS).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from wsiseg.train.classes import UNKNOWN

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from wsiseg.train.nucls.published import Nucleus

AMBIGUOUS = "AMBIGUOUS"
"""Main and super class of what raters could not name."""
MAIN, SUPER = "main", "super"
GROUPINGS = {
    SUPER: ("tumor_any", "nonTIL_stromal", "sTIL", "other_nucleus"),
    MAIN: (
        "tumor_nonMitotic", "tumor_mitotic", "nonTILnonMQ_stromal", "macrophage", "lymphocyte", "plasma_cell",
        "other_nucleus",
    ),
}  # fmt: skip
"""Names of the classes; the first has the value 1 in a class map, whether it occurs or not."""
_MAIN_OF_RAW = {
    "tumor": "tumor_nonMitotic",
    "mitotic_figure": "tumor_mitotic",
    "fibroblast": "nonTILnonMQ_stromal",
    "vascular_endothelium": "nonTILnonMQ_stromal",
    "macrophage": "macrophage",
    "lymphocyte": "lymphocyte",
    "plasma_cell": "plasma_cell",
    "neutrophil": "other_nucleus",
    "eosinophil": "other_nucleus",
    "myoepithelium": "other_nucleus",
    "ductal_epithelium": "other_nucleus",
}
"""What it does not name (apoptotic_body, unlabeled) is ambiguous."""
_SUPER_OF_MAIN = {
    "tumor_nonMitotic": "tumor_any",
    "tumor_mitotic": "tumor_any",
    "nonTILnonMQ_stromal": "nonTIL_stromal",
    "macrophage": "nonTIL_stromal",
    "lymphocyte": "sTIL",
    "plasma_cell": "sTIL",
    "other_nucleus": "other_nucleus",
}


def main_class(raw: str) -> str:
    """Give the main class of a raw one."""
    return _MAIN_OF_RAW.get(raw, AMBIGUOUS)


def super_class(raw: str) -> str:
    """Give the super class of a raw one."""
    return _SUPER_OF_MAIN.get(main_class(raw), AMBIGUOUS)


def class_map(labels: npt.NDArray[np.int32], nuclei: Sequence[Nucleus], grouping: str) -> npt.NDArray[np.uint8]:
    """Give the (h, w) class values of (h, w) labels, whose i + 1 is row i of a table; ambiguous is `UNKNOWN`."""
    value_of = {name: value for value, name in enumerate(GROUPINGS[grouping], 1)}
    names = (nucleus.super_class if grouping == SUPER else nucleus.main_class for nucleus in nuclei)
    return np.array([UNKNOWN, *(value_of.get(name, UNKNOWN) for name in names)], np.uint8)[labels]
