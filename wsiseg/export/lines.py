"""JSON documents of many nuclei, written as they come, one a line. Knows no document's form."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from itertools import islice, pairwise
from typing import TYPE_CHECKING, Protocol

import numpy as np
import shapely

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy.typing as npt

    from wsiseg.nuclei import Nuclei

LINES_AT_ONCE = 1000
"""Lines given to a compressor together; one call for each would cost as much as the compression."""


class Writable(Protocol):
    """An open file, packed or not."""

    def write(self, data: bytes, /) -> int:
        """Write bytes; give their number."""


def write_lines(file: Writable, head: bytes, lines: Iterator[bytes], tail: bytes) -> int:
    """Write the items of a JSON list, one a line, between what begins and what ends the document.

    Returns
    -------
    Number of items.
    """
    count = 0
    with ThreadPoolExecutor(1, "pack") as packer:  # so that the next lines are made while these are compressed
        packed = packer.submit(file.write, head)
        while chunk := list(islice(lines, LINES_AT_ONCE)):
            text = (b",\n" if count else b"\n") + b",\n".join(chunk)
            packed.result()
            packed = packer.submit(file.write, text)
            count += len(chunk)
        packed.result()
    file.write(b"\n" + tail)
    return count


def rings(nuclei: Nuclei, origin: tuple[int, int] = (0, 0)) -> Iterator[npt.NDArray[np.float64]]:
    """Give the closed outline of each nucleus: (n, 2) points (x, y), px from `origin`, on the 0.01 px grid."""
    points, owner = shapely.get_coordinates(nuclei.polygon, return_index=True)
    # On the 0.01 grid before and after: rounding again only cleans the last bits. Adding zero turns -0 into 0.
    points = (points - origin).round(2) + 0.0
    ends = np.searchsorted(owner, np.arange(len(nuclei) + 1))
    for start, stop in pairwise(ends.tolist()):
        yield points[start:stop]
