"""Augmentation: looks change, truth moves along, and a seed decides it all."""

import dataclasses

import cv2
import numpy as np
import pytest

from wsiseg.train.augment import Augmentation, augment

OFF = Augmentation(
    scale_min=1, scale_max=1, stain=0, stain_offset=0, contrast_min=1, contrast_max=1, colour=0, gamma=0, grey=0,
    resample=0, blur=0, sharpen=0, jpeg=0, noise=0,
)  # fmt: skip


@pytest.mark.parametrize(("turns", "kinds"), [(True, 8), (False, 4)])
def test_without_any_strength_only_turns_and_flips_are_left(turns, kinds):
    settings = dataclasses.replace(OFF, turns=turns)
    random = np.random.default_rng(0)
    rgb = random.integers(0, 256, (32, 32, 3), np.uint8)
    seen = {}
    for _ in range(80):
        out, targets = augment(rgb, rgb[..., :2].copy(), settings, random)
        assert (out[..., :2] == targets).all()
        seen[targets.tobytes()] = out
    assert len(seen) == kinds
    if not turns:
        flips = [rgb, rgb[::-1], rgb[:, ::-1], rgb[::-1, ::-1]]
        assert all(any((out == flip).all() for flip in flips) for out in seen.values())


def test_image_and_targets_turn_together_under_full_strength():
    random = np.random.default_rng(1)
    labels = np.zeros((64, 64), np.uint8)
    cv2.circle(labels, (20, 40), 10, 1, -1)
    rgb = np.where(labels[..., None] > 0, (90, 50, 130), (235, 190, 215)).astype(np.uint8)
    for _ in range(50):
        out, targets = augment(rgb, labels[..., None] * 255, Augmentation(), random)
        assert out.shape == rgb.shape
        assert out.dtype == np.uint8
        grey = out.astype(float).mean(2)
        inside = targets[..., 0] > 0
        assert grey[inside].mean() < grey[~inside].mean()


@pytest.mark.parametrize("factor", [0.5, 1.25])
def test_contrast_changes_about_the_crops_mean_colour(factor):
    random = np.random.default_rng(2)
    rgb = random.integers(100, 150, (32, 32, 3)).astype(np.uint8)
    settings = dataclasses.replace(OFF, contrast_min=factor, contrast_max=factor)
    out, _ = augment(rgb, rgb, settings, random)
    assert out.mean((0, 1)) == pytest.approx(rgb.mean((0, 1)), abs=0.5)
    assert out.std((0, 1)) == pytest.approx(factor * rgb.std((0, 1)), rel=0.02)


def test_a_seed_decides_the_augmentation():
    rgb = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    first, again = (
        augment(rgb, rgb[..., :1].copy(), Augmentation(), np.random.default_rng(5))[0] for _ in range(2)
    )
    assert (first == again).all()
