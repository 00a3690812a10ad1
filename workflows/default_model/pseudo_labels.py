"""Turn fields with a dot in each nucleus into fields with outlines, where a bundle and the dots agree.

    python pseudo_labels.py BUNDLE DOTS OUT

DOTS is a folder like `brca_m2c/`: TCGA breast, where no outlines may be had under a free licence. The bundle sees
each train and validation field four times (as it is, with more contrast, and both upside down) and the mean of
its maps is decoded. A nucleus that holds exactly one dot, is sure and has a smooth outline becomes truth. Where
dots and bundle disagree (a nucleus with no dot or several, a dot without a nucleus, a ragged outline), the field
says nothing: `ignore` keeps the loss away. So the bundle learns from slides of TCGA's look without being told that
what it missed is background. No test field is read.
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
from wsiseg.train.data import BOX_ONLY, read_index, read_rgb
from wsiseg.train.dots import DOTS, read_dots
from wsiseg.train.evaluate import FieldPredictor

if TYPE_CHECKING:
    import numpy.typing as npt

    from wsiseg.models.bundle import ModelBundle
    from wsiseg.models.heads import Head
    from wsiseg.train.data import FieldEntry

SPLITS = ("train", "val")
CONTRASTS = (1.0, 1.5)
"""Pale nuclei show with more contrast; see LOG.md."""
LEAST_SOLIDITY = 0.88
"""Area over that of the convex hull: the dark half of a pale nucleus has a ragged outline."""
LEAST_PROBABILITY = 0.65
"""Mean over the nucleus."""
LEAST_AREA_UM2 = 7.5
UNSURE_RADIUS_UM = 6.0
"""Around a dot without a nucleus of its own nothing is said: as far as a large nucleus may reach."""
UNSURE_LEVEL = 80
"""Of 255: background from here on is not sure to be background."""


def mean_maps(predictor: FieldPredictor, rgb: npt.NDArray[np.uint8], mpp: float) -> npt.NDArray[np.uint8]:
    """Give the mean (maps, h, w) of a field's four views."""
    views = []
    for contrast in CONTRASTS:
        mean = rgb.reshape(-1, 3).mean(0)
        changed = np.clip(np.rint(mean + (rgb - mean) * contrast), 0, 255).astype(np.uint8)
        for turns in (0, 2):
            maps = predictor.maps(np.ascontiguousarray(np.rot90(changed, turns)), mpp)
            views.append(np.rot90(maps, -turns, (1, 2)).astype(np.float32))
    return np.ascontiguousarray(np.rint(np.mean(views, 0)).astype(np.uint8))


def is_smooth(nucleus: npt.NDArray[np.bool_]) -> bool:
    """Tell whether a nucleus' (h, w) pixels nearly fill their convex hull."""
    outlines, _ = cv2.findContours(nucleus.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    hull = np.zeros(nucleus.shape, np.uint8)
    cv2.fillPoly(hull, [cv2.convexHull(max(outlines, key=len))], 1)
    return bool(nucleus.sum() >= LEAST_SOLIDITY * hull.sum())


def agreed(
    maps: npt.NDArray[np.uint8], head: Head, at: tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]], mpp: float
) -> tuple[npt.NDArray[np.uint16], npt.NDArray[np.uint8]]:
    """Give the instances to learn from and the ignore map, for dots at (rows, columns) of the maps."""
    labels = head.decode(maps).image()
    dots = np.bincount(labels[at], minlength=int(labels.max()) + 1)
    kept = np.zeros(len(dots), np.bool_)
    for name in np.flatnonzero(dots == 1):
        pixels = labels == name
        sure = maps[0][pixels].mean() >= 255 * LEAST_PROBABILITY
        kept[name] = name > 0 and sure and pixels.sum() * mpp**2 >= LEAST_AREA_UM2 and is_smooth(pixels)
    unsure = ((labels > 0) & ~kept[labels]) | ((labels == 0) & (maps[0] >= UNSURE_LEVEL))
    doubts = unsure.astype(np.uint8)
    for row, column in zip(*at, strict=True):
        if not kept[labels[row, column]]:
            cv2.circle(doubts, (int(column), int(row)), int(UNSURE_RADIUS_UM / mpp), 1, -1)
    doubts = np.asarray(cv2.dilate(doubts, np.ones((3, 3), np.uint8)), np.uint8)
    doubts[kept[labels]] = 0
    return np.where(kept[labels], labels, 0).astype(np.uint16), doubts * np.uint8(BOX_ONLY)


def write_field(
    entry: FieldEntry, predictor: FieldPredictor, head: Head, out: Path, mpp: float
) -> list[str | float]:
    """Write one field at the bundle's resolution; give its row of the index."""
    rgb = read_rgb(entry.image)
    maps = mean_maps(predictor, rgb, entry.mpp)
    scale = np.array(maps.shape[1:]) / rgb.shape[:2]
    rows, columns = ((read_dots(entry.instances, rgb.shape).places + 0.5) * scale).astype(np.intp).T
    instances, ignore = agreed(maps, head, (rows, columns), mpp)
    image = cv2.resize(rgb, maps.shape[:0:-1], interpolation=cv2.INTER_LINEAR)
    names = [f"{kind}/{entry.image.stem}.png" for kind in ("images", "instances", "ignore")]
    for name, pixels in zip(names, (image[..., ::-1], instances, ignore), strict=True):
        cv2.imwrite(str(out / name), pixels)
    return [*names, entry.group, entry.split, mpp]


def outline_dots(bundle: ModelBundle, dots: Path, out: Path) -> None:
    """Write a data folder with what a bundle and the dots of another data folder agree on."""
    predictor, head = FieldPredictor(load_network(bundle), bundle.spec), bundle.head()
    for kind in ("images", "instances", "ignore"):
        (out / kind).mkdir(parents=True, exist_ok=True)
    entries = [entry for split in SPLITS for entry in read_index(dots, split, DOTS)]
    rows = [write_field(entry, predictor, head, out, bundle.spec.mpp) for entry in entries]
    with (out / "index.csv").open("w", newline="", encoding="utf-8") as lines:
        csv.writer(lines).writerows([["image", "instances", "ignore", "group", "split", "mpp"], *rows])


def main() -> None:
    """Run over all fields."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("bundle")
    parser.add_argument("dots", type=Path)
    parser.add_argument("out", type=Path)
    options = parser.parse_args()
    outline_dots(load_bundle(options.bundle), options.dots, options.out)


if __name__ == "__main__":
    main()
