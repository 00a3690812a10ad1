"""Colour deconvolution against its formula in floating point, and where stains are told at all."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest

from wsiseg.models.heads.growth import GrowthSettings, level_of
from wsiseg.models.heads.semantic import SemanticSettings
from wsiseg.stains import LEAST_PROBABILITY, STEPS_PER_OD, as_planes, stains_of

INSIDE = np.uint8(255)


def deconvolved(rgb: np.ndarray) -> np.ndarray:
    """The formula of Ruifrok & Johnston with QuPath's default vectors, as it is written: (..., 2)."""
    haematoxylin = np.array([0.65, 0.70, 0.29]) / np.linalg.norm([0.65, 0.70, 0.29])
    eosin = np.array([0.2159, 0.8012, 0.5581]) / np.linalg.norm([0.2159, 0.8012, 0.5581])
    residual = np.cross(haematoxylin, eosin)
    stains = np.stack([haematoxylin, eosin, residual / np.linalg.norm(residual)])
    density = -np.log10(np.maximum(rgb, 1) / 255)
    return np.linalg.solve(stains.T, density.reshape(-1, 3).T).T[:, :2].reshape(*rgb.shape[:-1], 2)


def stain_planes(rgb: np.ndarray, probability: np.ndarray) -> np.ndarray:
    return as_planes(stains_of(rgb, probability), probability)


@pytest.fixture(scope="module")
def colours() -> np.ndarray:
    """Every fifth value of each channel, as an image."""
    values = np.arange(0, 256, 5)
    return np.stack(np.meshgrid(values, values, values), axis=-1).reshape(-1, len(values), 3).astype(np.uint8)


def test_stains_are_those_of_the_formula_to_a_step(colours):
    found = stain_planes(colours, np.full(colours.shape[:2], INSIDE)) / STEPS_PER_OD
    expected = np.moveaxis(deconvolved(colours), -1, 0)
    inside = (expected > 0) & (expected < 2.55)
    assert np.abs(found - expected)[inside].max() < 0.5 / STEPS_PER_OD + 0.0004
    assert (found[expected <= -0.01] == 0).all()
    assert (found[expected >= 2.56] == 2.55).all()


def test_a_pure_stain_is_found_alone():
    for stain, vector in enumerate([(0.65, 0.70, 0.29), (0.2159, 0.8012, 0.5581)]):
        unit = np.array(vector) / np.linalg.norm(vector)
        rgb = np.rint(255 * 10 ** (-0.6 * unit)).astype(np.uint8).reshape(1, 1, 3)
        amounts = stain_planes(rgb, np.array([[INSIDE]])).ravel() / STEPS_PER_OD
        assert amounts[stain] == pytest.approx(0.6, abs=0.011)
        assert amounts[1 - stain] == pytest.approx(0.0, abs=0.011)


def test_bytes_are_the_same_everywhere(colours):
    """Made once and kept: another processor or library must not change one."""
    planes = stain_planes(colours, np.full(colours.shape[:2], INSIDE))
    assert hashlib.sha256(planes.tobytes()).hexdigest()[:16] == "3632eb820f9a12c0"


def test_windows_that_are_parts_of_others_give_the_same():
    rng = np.random.default_rng(0)
    rgb = rng.integers(0, 256, (40, 50, 3), np.uint8)
    probability = rng.integers(0, 30, (40, 50), np.uint8)
    whole = stain_planes(rgb, probability)
    part = stain_planes(rgb[7:30, 11:45], probability[7:30, 11:45])
    np.testing.assert_array_equal(part, whole[:, 7:30, 11:45])
    assert (whole[:, probability <= LEAST_PROBABILITY] == 0).all()


@pytest.mark.parametrize("settings", [GrowthSettings, SemanticSettings])
def test_no_head_can_find_a_nucleus_where_stains_are_not_told(settings):
    (low, _) = settings.__dataclass_fields__["probability"].metadata["limits"]
    assert level_of(low) > LEAST_PROBABILITY
