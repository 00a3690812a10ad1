"""A slide through TIAToolbox 2.1.3 with the network of a wsiseg bundle, from the shell to JSON for QuPath.

    PYTHONPATH=REPOSITORY TIATOOLBOX_PYTHON run_tiatoolbox.py SLIDE --model BUNDLE --out FOLDER

That environment holds tiatoolbox 2.1.3 and what a bundle's network needs: segmentation-models-pytorch and
safetensors. Tissue, patches, stitching, the merging of nuclei over the borders of its tiles and the file are those
of its engine for nuclei, `MultiTaskSegmentor`; the model is the network and its decoding. Prints one JSON object.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import psutil
from network import GivenNetwork
from scipy.ndimage import find_objects
from tiatoolbox.models.engine.io_config import IOSegmentorConfig
from tiatoolbox.models.engine.multi_task_segmentor import MultiTaskSegmentor
from tiatoolbox.models.models_abc import ModelABC
from tiatoolbox.utils.misc import pad_contours

if TYPE_CHECKING:
    import torch

DECODED_PX, MARGIN_PX = 2048, 128
"""Tiles of the decoding and what it looks at again on their borders, as the toolbox sets them for HoVer-Net."""


class NucleusModel(ModelABC):  # type: ignore[misc]
    """The network as the toolbox wants it.

    Parameters
    ----------
    edge_px
        Pixels of a patch that are left out on each side.
    """

    def __init__(self, network: GivenNetwork, edge_px: int) -> None:
        super().__init__()
        self.network = network
        self.edge_px = edge_px
        self.class_dict = {"nuclei": {0: "background", 1: "nucleus"}}

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Give the (n, 2, h, w) maps of (n, 3, h, w) patches."""
        return self.network.maps(images)

    @staticmethod
    def infer_batch(model: NucleusModel, batch_data: torch.Tensor, *, device: str) -> tuple[np.ndarray]:
        """Give the maps of (n, h, w, 3) patches as one output, channels last."""
        maps = model(batch_data.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        edge = model.edge_px
        return (maps[:, edge : maps.shape[1] - edge, edge : maps.shape[2] - edge].numpy(),)

    def postproc(self, raw_maps: list[Any], offset: tuple[int, int] = (0, 0)) -> tuple[dict[str, Any]]:
        """Give the nuclei of a tile, in the form of the toolbox's HoVer-Net."""
        labels = self.network.labels(np.asarray(raw_maps[0]).transpose(2, 0, 1))
        return (
            {
                "task_type": "nuclei",
                "seg_type": "instance",
                "predictions": labels,
                "info_dict": described(labels, offset),
            },
        )


def described(labels: np.ndarray, offset: tuple[int, int]) -> dict[str, np.ndarray]:
    """Outline the nuclei as HoVer-Net's `get_instance_info` does, but look at each in its own box only.

    The toolbox's own function compares the whole tile with every number, which takes most of the time.
    """
    found = [
        _outlined(labels[place] == number, place) for number, place in enumerate(find_objects(labels), 1) if place
    ]
    kept = [nucleus for nucleus in found if len(nucleus["contours"]) > 2]
    if not kept:
        return {name: np.empty(0, np.int8) for name in ("box", "centroid", "contours", "prob", "type")}
    shift = np.array(offset)
    return {
        "box": np.stack([nucleus["box"] for nucleus in kept]) + np.tile(shift, 2),
        "centroid": np.stack([nucleus["centroid"] for nucleus in kept]) + shift,
        "contours": pad_contours([nucleus["contours"] + shift.astype(np.int32) for nucleus in kept]),
        "prob": np.ones(len(kept)),
        "type": np.ones(len(kept), np.int64),
    }


def _outlined(inside: np.ndarray, place: tuple[slice, slice]) -> dict[str, np.ndarray]:
    rows, columns = place
    corner = np.array([columns.start, rows.start])
    mask = inside.astype(np.uint8)
    moments = cv2.moments(mask, binaryImage=True)
    contour = cv2.findContours(mask, cv2.RETR_TREE, cv2.CHAIN_APPROX_SIMPLE)[0][0][:, 0]
    return {
        "box": np.array([columns.start, rows.start, columns.stop, rows.stop]),
        "centroid": np.array([moments["m10"], moments["m01"]]) / moments["m00"] + corner,
        "contours": contour.astype(np.int32) + corner.astype(np.int32),
    }


def run(args: argparse.Namespace) -> GivenNetwork:
    """Find the nuclei and write them."""
    network = GivenNetwork(args.model)
    resolution = [{"units": "mpp", "resolution": network.mpp}]
    kept = args.patch - 2 * args.edge
    settings = IOSegmentorConfig(
        input_resolutions=resolution,
        output_resolutions=resolution,
        save_resolution=resolution[0],
        patch_input_shape=(args.patch, args.patch),
        patch_output_shape=(kept, kept),
        stride_shape=(kept, kept),
        tile_shape=(DECODED_PX, DECODED_PX),
        margin=MARGIN_PX,
    )
    engine = MultiTaskSegmentor(
        NucleusModel(network, args.edge), batch_size=args.batch, num_workers=args.workers, verbose=False
    )
    written = engine.run(
        [args.slide], ioconfig=settings, patch_mode=False, save_dir=args.out / "result", output_type="qupath"
    )
    _single(written[args.slide]).rename(args.out / "nuclei.geojson")
    return network


def _single(paths: Path | list[Path]) -> Path:
    return paths[0] if isinstance(paths, list) else paths


def main() -> None:
    """Run and print."""
    start_up = time.time() - psutil.Process().create_time()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("slide", type=Path)
    parser.add_argument("--model", required=True)
    parser.add_argument("--out", type=Path, required=True, help="a folder; made if it is absent")
    parser.add_argument("--patch", type=int, default=512, help="px at the model's resolution")
    parser.add_argument("--edge", type=int, default=32, help="px of a patch that are left out on each side")
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--workers", type=int, default=1, help="processes that read; 0: none")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    network = run(args)
    print(json.dumps({"start_up_seconds": start_up, "forward_seconds": network.seconds}))


if __name__ == "__main__":
    main()
