"""Turn fields with a dot in each nucleus into fields whose nuclei have a class, on the outlines of a bundle.

    python type_labels.py BUNDLE DOTS OUT

DOTS is a folder like `brca_m2c/`. A nucleus that the bundle finds, and whose dots are all of one class, is of that
class; of the others the truth says nothing, and so does the loss. No test field is read.
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np

from wsiseg.models.bundle import load_bundle
from wsiseg.models.network import load_network
from wsiseg.train.classes import UNKNOWN
from wsiseg.train.data import read_index, read_rgb
from wsiseg.train.dots import DOTS, read_dots
from wsiseg.train.evaluate import FieldPredictor
from wsiseg.train.scoring import to_grid

if TYPE_CHECKING:
    import numpy.typing as npt

    from wsiseg.models.bundle import ModelBundle
    from wsiseg.train.dots import Dots

SPLITS = ("train", "val")


def classes_of(labels: npt.NDArray[np.int32], dots: Dots) -> npt.NDArray[np.uint8]:
    """Give the (h, w) class of each pixel, of (h, w) labels and the dots of the same pixels."""
    row, column = (dots.places + 0.5).astype(np.intp).T
    held = labels[row, column]
    lowest, highest = np.full(labels.max() + 1, 255, np.uint8), np.zeros(labels.max() + 1, np.uint8)
    np.minimum.at(lowest, held, dots.classes)
    np.maximum.at(highest, held, dots.classes)
    agreed = np.where(lowest == highest, highest, UNKNOWN).astype(np.uint8)
    agreed[0] = UNKNOWN
    return agreed[labels]


def label_types(bundle: ModelBundle, dots: Path, out: Path) -> None:
    """Write a data folder with the classes that dots give to the nuclei of a bundle."""
    predictor, head = FieldPredictor(load_network(bundle), bundle.spec), bundle.head()
    for kind in ("images", "instances", "classes"):
        (out / kind).mkdir(parents=True, exist_ok=True)
    rows = []
    for entry in (entry for split in SPLITS for entry in read_index(dots, split, DOTS)):
        rgb = read_rgb(entry.image)
        labels = to_grid(head.decode(predictor.maps(rgb, entry.mpp)).image(), rgb.shape[:2])
        classes = classes_of(labels, read_dots(entry.instances, rgb.shape))
        names = [f"{kind}/{entry.image.stem}.png" for kind in ("images", "instances", "classes")]
        for name, pixels in zip(names, (rgb[..., ::-1], labels.astype(np.uint16), classes), strict=True):
            cv2.imwrite(str(out / name), pixels)
        rows.append([*names, entry.group, entry.split, entry.mpp])
    with (out / "index.csv").open("w", newline="", encoding="utf-8") as lines:
        csv.writer(lines).writerows([["image", "instances", "classes", "group", "split", "mpp"], *rows])


def main() -> None:
    """Run over all fields."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("bundle")
    parser.add_argument("dots", type=Path)
    parser.add_argument("out", type=Path)
    options = parser.parse_args()
    label_types(load_bundle(options.bundle), options.dots, options.out)


if __name__ == "__main__":
    main()
