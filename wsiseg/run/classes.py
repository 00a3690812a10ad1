"""How many nuclei are of which class, and what follows from that; nothing for a bundle of one class."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from wsiseg.models.bundle import ClassSpec
    from wsiseg.nuclei import Nuclei

LYMPHOCYTE, STROMAL = "lymphocyte", "stromal"
"""Names of the classes that the stromal lymphocyte share is made of."""


class ClassTally:
    """Counts nuclei by class, block by block.

    Parameters
    ----------
    classes
        The bundle's.
    """

    def __init__(self, classes: Sequence[ClassSpec]) -> None:
        self._classes = classes
        self._place = np.zeros(256, np.intp)
        self._place[[one.value for one in classes]] = np.arange(len(classes))
        self._counts = np.zeros(len(classes), np.int64)
        self._probability = np.zeros(len(classes), np.float64)

    def add(self, nuclei: Nuclei) -> None:
        """Take in the nuclei of one block."""
        if len(self._classes) == 1 or len(nuclei) == 0:
            return
        place = self._place[nuclei.class_value]
        own = nuclei.class_probability[np.arange(len(nuclei)), place]
        self._counts += np.bincount(place, minlength=len(self._classes))
        self._probability += np.bincount(place, own, len(self._classes))

    def summary(self, area_mm2: float) -> dict[str, Any]:
        """Give what the summary says of the classes, as JSON values; nothing of one class.

        Parameters
        ----------
        area_mm2
            Of the tissue that was looked at.
        """
        if len(self._classes) == 1:
            return {}
        counts = self._counts.tolist()
        total = max(sum(counts), 1)
        classes = [
            {
                "value": one.value,
                "name": one.name,
                "color": list(one.color),
                "nuclei": count,
                "share": round(count / total, 4),
                "nuclei_per_mm2": round(count / area_mm2, 2) if area_mm2 else None,
                "mean_probability": round(summed / count, 3) if count else None,
            }
            for one, count, summed in zip(self._classes, counts, self._probability.tolist(), strict=True)
        ]
        by_name = {one.name: count for one, count in zip(self._classes, counts, strict=True)}
        return {"classes": classes, **stromal_lymphocytes(by_name)}


def stromal_lymphocytes(counts: Mapping[str, int]) -> dict[str, float | None]:
    """Give lymphocytes / (lymphocytes + stromal nuclei), where the model knows both; None where there are none.

    Parameters
    ----------
    counts
        Nuclei by the name of their class.

    Notes
    -----
    It counts nuclei wherever they lie. Clinical scores of tumour-infiltrating lymphocytes are something else: the
    share of the stroma's area that they cover, as a pathologist reads it (Salgado et al., Ann Oncol 26, 2015).
    """
    if LYMPHOCYTE not in counts or STROMAL not in counts:
        return {}
    both = counts[LYMPHOCYTE] + counts[STROMAL]
    return {"stromal_lymphocyte_share": round(counts[LYMPHOCYTE] / both, 4) if both else None}
