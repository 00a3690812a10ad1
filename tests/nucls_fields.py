"""A tiny NuCLS as published: fields whose nuclei, masks and rims are known exactly."""

import csv
from dataclasses import dataclass

import cv2
import numpy as np

SIZE = (300, 320)
"""(height, width) of an image."""
LEVEL0 = (240, 256)
"""Its size in the slide's pixels; the field of 256 px is then 320 px, and the image 1.25 times the box."""
FIELD_BOX = (slice(10, 290), slice(20, 310))
CODES = {"tumor": 1, "fibroblast": 2, "lymphocyte": 3, "mitotic_figure": 6, "unlabeled": 99}
COLUMNS = ["", "raw_classification", "main_classification", "super_classification", "type", "coords_x", "coords_y"]


@dataclass(frozen=True)
class Row:
    """One nucleus: a box (x0, y0, x1, y1) or the corners of an outline."""

    raw: str
    kind: str
    points: tuple[tuple[float, float], ...]


def box(raw, x0, y0, x1, y1):
    return Row(raw, "rectangle", ((x0, y0), (x1, y0), (x1, y1), (x0, y1)))


def diamond(raw, x, y, radius):
    """An outline; its pixels' centres lie inside where |dx| + |dy| < radius."""
    return Row(raw, "polyline", ((x - radius, y), (x, y - radius), (x + radius, y), (x, y + radius)))


def diamond_pixels(x, y, radius, size=SIZE):
    rows, columns = np.mgrid[: size[0], : size[1]] + 0.5
    return np.abs(columns - x) + np.abs(rows - y) < radius


ROWS = (
    diamond("tumor", 100, 100, 12),
    box("lymphocyte", 200, 150, 220, 165),
    diamond("unlabeled", 212, 150, 10),
    box("fibroblast", 0, 40, 30, 60),
)
"""Row 3's outline lies half over row 2's box; row 4's box reaches out of the field."""


def name_of(patient, number=0, level0=LEVEL0):
    height, width = level0
    return f"TCGA-A2-{patient}-DX1_id-5ea{number}_left-1000_top-2000_bottom-{2000 + height}_right-{1000 + width}"


def pixels_of(row, size=SIZE):
    if row.kind == "rectangle":
        (x0, y0), (x1, y1) = row.points[0], row.points[2]
        inside = np.zeros(size, bool)
        inside[y0:y1, x0:x1] = True
        return inside
    (left, y), (x, _) = row.points[0], row.points[1]
    return diamond_pixels(x, y, x - left, size)


def mask_of(rows, size=SIZE, field=FIELD_BOX):
    """Draw a mask as the data set does: later rows over earlier ones, (1, 2) the background's own pair."""
    mask = np.zeros((*size, 3), np.uint8)
    mask[field] = (253, 1, 2)
    for number, row in enumerate(rows):
        mask[pixels_of(row, size)] = (CODES[row.raw], 1, 3 + number)
    return mask


def write_png(path, rgb):
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), rgb[..., ::-1])


def write_table(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        for number, row in enumerate(rows):
            x, y = (",".join(f"{value}" for value in axis) for axis in zip(*row.points, strict=True))
            writer.writerow([number, row.raw, "", "", row.kind, x, y])


def write_field(source, name, rows=ROWS, mask_size=SIZE, size=SIZE):
    """Write one field; without a mask where `mask_size` is None."""
    rgb = np.random.default_rng(len(name)).integers(0, 255, (*size, 3), dtype=np.uint8)
    write_png(source / "rgb" / f"{name}.png", rgb)
    write_table(source / "csv" / f"{name}.csv", rows)
    if mask_size:
        write_png(source / "mask" / f"{name}.png", mask_of(rows, mask_size))
    return rgb


def write_set(source, patients=("A001", "A002", "A003"), fields=2):
    """Write a data set with some fields of each patient."""
    names = [name_of(patient, number) for patient in patients for number in range(fields)]
    for name in names:
        write_field(source, name)
    return names
