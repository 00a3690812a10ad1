"""Pixels as the files that a browser shows. Knows no slide and no mask."""

from __future__ import annotations

from io import BytesIO
from typing import TYPE_CHECKING

from PIL import Image

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    import numpy.typing as npt

QUALITY = 87
"""Of JPEG: a scanner's own is rarely better, and nuclei keep their edges."""


def as_jpeg(rgb: npt.NDArray[np.uint8]) -> bytes:
    """Give (height, width, 3) pixels as JPEG, its colours as sharp as its brightness."""
    out = BytesIO()
    Image.fromarray(rgb).save(out, "JPEG", quality=QUALITY, subsampling=0)
    return out.getvalue()


def as_png(indices: npt.NDArray[np.uint8], rgba: Sequence[tuple[int, int, int, int]]) -> bytes:
    """Give (height, width) indices into a list of at most 256 colours as PNG."""
    image = Image.fromarray(indices, "L")
    image.putpalette([part for colour in rgba for part in colour], "RGBA")
    out = BytesIO()
    image.save(out, "PNG", compress_level=1)
    return out.getvalue()
