"""Tiny data folders for training and evaluation: dark discs on pink."""

import csv

import cv2
import numpy as np

TOML = """
[model]
name = "tiny"
version = "0.0.1"
encoder = "mobilenet_v2"
decoder_channels = [8, 8, 8, 8, 8]
head = "nuclei"
mpp = 0.5
mean = [0.5, 0.5, 0.5]
std = [0.5, 0.5, 0.5]
licence = "Apache-2.0"
classes = [{ value = 1, name = "nucleus", color = [0, 200, 80] }]

[[sources]]
folder = "discs"

[schedule]
steps_per_epoch = 3
epochs = 2
batch = 2
crop_px = 64
warmup_steps = 2
precision = "fp32"
checkpoint_every = 2
threads = 1
"""

TYPES_TOML = TOML.replace(
    'classes = [{ value = 1, name = "nucleus", color = [0, 200, 80] }]',
    """start_from = "outlines"
types_start_from = "outlines"
classes = [{ value = 7, name = "small", color = [0, 0, 9] }, { value = 2, name = "large", color = [9, 0, 0] }]

[model.types]
encoder = "mobilenet_v2"
channels = 8
mpp = 1.0
""",
)
"""What tells the sizes of discs apart, on the outlines of the bundle `outlines`."""

THESIS_TOML = (
    TOML.replace('"nuclei"', '"semantic"').replace("warmup_steps = 2", "warmup_steps = 0")
    + """
crop = "center"
optimiser = "adam"
learning_rate = 5e-5
decay = "constant"
weight_decay = 0
ema_decay = 0
clip_norm = 0

[augmentation]
turns = false
scale_min = 1
scale_max = 1
stain = 0
stain_offset = 0
contrast_min = 1
contrast_max = 1
colour = 0
gamma = 0
grey = 0
resample = 0
blur = 0
sharpen = 0
jpeg = 0
noise = 0
"""
)
"""The same with the thesis' settings."""


def write_fields(folder, splits=("train", "train", "val"), mpp=0.25, side=160):
    """Write a data folder with one field for each split named; its right third does not count."""
    (folder / "images").mkdir(parents=True)
    random = np.random.default_rng(0)
    rows = []
    for i, split in enumerate(splits):
        labels = np.zeros((side, side), np.uint16)
        for name in range(1, 10):
            x, y, radius = random.integers([0, 0, 5], [side, side, 15])
            cv2.circle(labels, (int(x), int(y)), int(radius), name, -1)
        rgb = np.where(labels[..., None] > 0, (90, 50, 130), (235, 190, 215)).astype(np.uint8)
        cv2.imwrite(str(folder / f"images/{i}.png"), rgb[..., ::-1])
        cv2.imwrite(str(folder / f"images/{i}_labels.png"), labels)
        area = np.bincount(labels.ravel())[labels]
        classes = np.where(labels == 0, 0, np.where(area < 300, 7, 2)).astype(np.uint8)
        cv2.imwrite(str(folder / f"images/{i}_classes.png"), classes)
        codes = np.zeros((side, side), np.uint8)
        codes[:, -side // 3 :] = 1
        cv2.imwrite(str(folder / f"images/{i}_ignore.png"), codes)
        files = [f"images/{i}{ending}.png" for ending in ("", "_labels", "_ignore", "_classes")]
        rows.append([*files, f"patient {i}", split, mpp])
    with (folder / "index.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([["image", "instances", "ignore", "classes", "group", "split", "mpp"], *rows])
    return folder
