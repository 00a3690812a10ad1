"""The nuclei of the whole image: one map of the slide, decoded at once, without tiles, blocks or tissue detection.

The network computes in fp32, in pieces whose margin is far wider than what it looks at, so that no pixel knows of
a piece's edge. The two maps of the slide lie in memory.
"""

from __future__ import annotations

import sys
from contextlib import closing
from typing import TYPE_CHECKING

import numpy as np
import torch
from network import GivenNetwork

from wsiseg.geometry import Box
from wsiseg.instances import Decoding, Planes, decode_block
from wsiseg.models.bundle import load_bundle
from wsiseg.slides import PatchedSlide, open_slide, read_box
from wsiseg.stains import STAINS

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import numpy.typing as npt

    from wsiseg.geometry import Frame

PIECE_PX, MARGIN_PX = 1024, 256


def whole_image_nuclei(slide: Path, model: str) -> npt.NDArray[np.object_]:
    """Give the polygons of all nuclei, in level-0 pixels."""
    bundle = load_bundle(model)
    head, network = bundle.head(), GivenNetwork(model, torch.float32)
    with closing(PatchedSlide(open_slide(slide))) as source:
        frame = source.info.frame_at(bundle.spec.mpp)
        maps = np.zeros((len(head.maps), *frame.box.shape), np.uint8)
        for box in _pieces(frame):
            found = network.maps(_pixels(read_box(source, frame, box.grown(MARGIN_PX))))[0]
            inside = (found * 255).round().to(torch.uint8)[:, MARGIN_PX:, MARGIN_PX:][:, : box.height, : box.width]
            maps[:, box.y : box.bottom, box.x : box.right] = inside.numpy()
        decoding = Decoding(head.decode, frame, source.info.area, bundle.spec.mpp)
    unstained = np.zeros((len(STAINS), *frame.box.shape), np.uint8)
    return decode_block(Planes(maps, unstained), frame.box, frame.box, decoding).nuclei.polygon


def _pieces(frame: Frame) -> Iterator[Box]:
    for y in range(0, frame.height, PIECE_PX):
        print(f"reference: row {y} of {frame.height}", file=sys.stderr)
        for x in range(0, frame.width, PIECE_PX):
            yield Box(x, y, min(PIECE_PX, frame.width - x), min(PIECE_PX, frame.height - y))


def _pixels(image: npt.NDArray[np.uint8]) -> torch.Tensor:
    """Make (h, w, 3) pixels a batch of one, mirrored at the right and below to a size that the network takes."""
    height, width = (-(-side // 32) * 32 for side in image.shape[:2])
    missing = ((0, height - image.shape[0]), (0, width - image.shape[1]), (0, 0))
    return torch.from_numpy(np.pad(image, missing, mode="reflect")).permute(2, 0, 1)[None]
