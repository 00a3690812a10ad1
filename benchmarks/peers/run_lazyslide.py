"""A slide through LazySlide 0.13 with the network of a wsiseg bundle, from the shell to a GeoJSON for QuPath.

    PYTHONPATH=REPOSITORY LAZYSLIDE_PYTHON run_lazyslide.py SLIDE --model BUNDLE --out FOLDER

That environment holds lazyslide 0.13 and what a bundle's network needs: segmentation-models-pytorch, safetensors,
opencv, psutil. Tissue, tiles, `zs.seg.cells` and `zs.io.export_annotations` are LazySlide's own; the model is the
network and its decoding. Prints one JSON object.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import TYPE_CHECKING

import lazyslide as zs
import psutil
import torch
from lazyslide_models.base import SegmentationOutput
from network import GivenNetwork
from wsidata import open_wsi

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np


class NucleusModel:
    """The network as LazySlide's `SegmentationModelProtocol` wants it."""

    name = "nuclei"

    def __init__(self, network: GivenNetwork) -> None:
        self.model = network

    def get_transform(self) -> Callable[[np.ndarray], torch.Tensor]:
        """Give what turns (h, w, 3) pixels into a (3, h, w) tensor."""
        return _channels_first

    def to(self, device: str) -> NucleusModel:
        """Stay on the CPU."""
        return self

    def try_compile(self, **settings: object) -> None:
        """Leave the network as it is."""

    def segment(self, images: torch.Tensor) -> SegmentationOutput:
        """Label the nuclei of (n, 3, h, w) tiles."""
        maps = self.model.maps(images).numpy()
        labels = [torch.from_numpy(self.model.labels(of_tile)) for of_tile in maps]
        return SegmentationOutput(instance_map=torch.stack(labels))


def _channels_first(pixels: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(pixels).permute(2, 0, 1)


def run(args: argparse.Namespace) -> GivenNetwork:
    """Find the nuclei and write them."""
    network = GivenNetwork(args.model)
    slide = open_wsi(args.slide, store=str(args.out / "slide.zarr"))
    zs.pp.find_tissues(slide)
    zs.pp.tile_tissues(
        slide,
        args.tile,
        overlap=args.overlap / args.tile,
        mpp=network.mpp,
        edge=True,
        background_fraction=args.background,
    )
    zs.seg.cells(
        slide,
        NucleusModel(network),
        batch_size=args.batch,
        num_workers=args.workers,
        device="cpu",
        postprocess_workers=args.postprocess,
        overlap_ownership=args.overlap > 0,
        pbar=False,
    )
    zs.io.export_annotations(slide, "cells", file=args.out / "nuclei.geojson")
    return network


def main() -> None:
    """Run and print."""
    start_up = time.time() - psutil.Process().create_time()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("slide", type=Path)
    parser.add_argument("--model", required=True)
    parser.add_argument("--out", type=Path, required=True, help="a folder; made if it is absent")
    parser.add_argument("--tile", type=int, default=512, help="px at the model's resolution")
    parser.add_argument("--overlap", type=int, default=64, help="px that tiles share; 0 for none")
    parser.add_argument("--background", type=float, default=0.95, help="most background in a tile")
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--workers", type=int, default=1, help="processes that read")
    parser.add_argument("--postprocess", type=int, default=1, help="threads that outline")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    network = run(args)
    print(json.dumps({"start_up_seconds": start_up, "forward_seconds": network.seconds}))


if __name__ == "__main__":
    main()
