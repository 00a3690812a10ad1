"""What a crop may look like on another scanner, in another laboratory, at another zoom.

Every function takes and gives (h, w, 3) uint8 RGB and draws from the generator it is handed, so that a seed
decides the whole training.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np

from wsiseg.train.records import within

if TYPE_CHECKING:
    import numpy.typing as npt

    Rgb = npt.NDArray[np.uint8]

_RGB_FROM_HED = np.array([[0.65, 0.70, 0.29], [0.07, 0.99, 0.11], [0.27, 0.57, 0.78]], np.float32)
"""Optical densities of haematoxylin, eosin and DAB (Ruifrok and Johnston 2001), as in scikit-image."""
_HED_FROM_RGB = np.linalg.inv(_RGB_FROM_HED).astype(np.float32)


@dataclass(frozen=True, slots=True)
class Augmentation:
    """How strongly crops are changed; 0 switches a change off."""

    turns: bool = True
    """Whether crops are turned by quarters; they are flipped both ways in any case."""
    scale_min: float = within(0.1, 10, default=0.7)
    """Smallest zoom."""
    scale_max: float = within(0.1, 10, default=1.4)
    """Largest zoom."""
    stain: float = within(0, 1, default=0.25)
    """Largest relative change of each stain's density."""
    stain_offset: float = within(0, 1, default=0.03)
    """Largest absolute change of each stain's density."""
    contrast_min: float = within(0.01, 10, default=0.5)
    """Smallest contrast about the crop's mean colour: pale nuclei on dark, thick or faded sections."""
    contrast_max: float = within(0.01, 10, default=1.3)
    """Largest contrast."""
    colour: float = within(0, 1, default=0.1)
    """Largest change of each channel's gain; twice as much for brightness and contrast together."""
    gamma: float = within(0, 2, default=0.3)
    """Largest change of the exponent, in natural logarithms."""
    grey: float = within(0, 1, default=0.03)
    """Share of crops without colour."""
    resample: float = within(0, 1, default=0.35)
    """Share of crops that are shrunk and enlarged again, as a slide of a coarser scanner would be."""
    resample_max: float = within(1, 20, default=3.0)
    """Largest factor of that shrinking."""
    blur: float = within(0, 1, default=0.2)
    """Share of crops that are blurred."""
    sharpen: float = within(0, 1, default=0.15)
    """Share of crops that are sharpened."""
    jpeg: float = within(0, 1, default=0.3)
    """Share of crops that are compressed."""
    noise: float = within(0, 1, default=0.2)
    """Share of crops that get noise."""


def augment(
    rgb: Rgb, targets: npt.NDArray[np.uint8], settings: Augmentation, random: np.random.Generator
) -> tuple[Rgb, npt.NDArray[np.uint8]]:
    """Change a crop's look, and turn and flip it together with its targets."""
    turns, flip = int(random.integers(4)), bool(random.integers(2))
    if not settings.turns:
        turns = turns // 2 * 2  # half a turn and a flip are the two flips, together and each alone
    rgb, targets = _turned(rgb, turns, flip=flip), _turned(targets, turns, flip=flip)
    if settings.stain or settings.stain_offset:
        rgb = _restained(rgb, settings, random)
    rgb = _contrasted(rgb, settings, random)
    rgb = _recoloured(rgb, settings, random)
    return _degraded(rgb, settings, random), targets


def _turned(image: npt.NDArray[np.uint8], turns: int, *, flip: bool) -> npt.NDArray[np.uint8]:
    turned = np.rot90(image, turns)
    return np.ascontiguousarray(turned[:, ::-1] if flip else turned)


def _restained(rgb: Rgb, settings: Augmentation, random: np.random.Generator) -> Rgb:
    """Change how much of each stain there is (Tellez et al. 2018), by one affine map of optical densities."""
    gain = 1 + settings.stain * random.uniform(-1, 1, 3)
    offset = settings.stain_offset * random.uniform(-1, 1, 3)
    change = (_HED_FROM_RGB * gain.astype(np.float32)) @ _RGB_FROM_HED
    shift = offset.astype(np.float32) @ _RGB_FROM_HED
    density = _DENSITY[rgb].reshape(-1, 3) @ change + shift
    return _as_uint8(255.0 * np.exp(-density)).reshape(rgb.shape)


_DENSITY = -np.log(np.maximum(np.arange(256), 1) / 255.0).astype(np.float32)


def _contrasted(rgb: Rgb, settings: Augmentation, random: np.random.Generator) -> Rgb:
    """Pull all colours towards the crop's mean colour, or away from it."""
    factor = np.exp(random.uniform(np.log(settings.contrast_min), np.log(settings.contrast_max)))
    mean = rgb.reshape(-1, 3).mean(0)
    tables = mean + (np.arange(256)[:, None] - mean) * factor
    return np.asarray(cv2.LUT(rgb, _as_uint8(tables)[None]), np.uint8)


def _recoloured(rgb: Rgb, settings: Augmentation, random: np.random.Generator) -> Rgb:
    """Change gain, contrast and gamma of each channel by one table."""
    gain = 1 + settings.colour * random.uniform(-1, 1, 3)
    contrast = 1 + 2 * settings.colour * random.uniform(-1, 1)
    light = 255 * settings.colour * random.uniform(-1, 1)
    exponent = np.exp(settings.gamma * random.uniform(-1, 1))
    ramp = 255.0 * (np.arange(256) / 255.0) ** exponent
    tables = ((ramp[:, None] * gain - 128) * contrast + 128 + light)[None]
    out = cv2.LUT(rgb, _as_uint8(tables))
    if random.random() < settings.grey:
        out = cv2.cvtColor(cv2.cvtColor(out, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    return np.asarray(out, np.uint8)


def _degraded(rgb: Rgb, settings: Augmentation, random: np.random.Generator) -> Rgb:
    """Take away detail, as optics, coarser scanners and compression do, in the order of the real process."""
    draws = random.random(5)
    if draws[0] < settings.resample:
        rgb = _resampled(rgb, random.uniform(1, settings.resample_max))
    elif draws[1] < settings.blur:
        rgb = _blurred(rgb, random.uniform(0.3, 1.6))
    elif draws[2] < settings.sharpen:
        strength = random.uniform(0.3, 1.2)
        rgb = np.asarray(cv2.addWeighted(rgb, 1 + strength, _blurred(rgb, 1.0), -strength, 0), np.uint8)
    if draws[3] < settings.noise:
        noise = random.standard_normal(rgb.shape, np.float32) * random.uniform(1, 8)
        rgb = _as_uint8(rgb + noise)
    if draws[4] < settings.jpeg:
        rgb = _compressed(rgb, int(random.integers(35, 95)))
    return rgb


def _resampled(rgb: Rgb, factor: float) -> Rgb:
    height, width = rgb.shape[:2]
    small = cv2.resize(rgb, (round(width / factor), round(height / factor)), interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR), np.uint8)


def _blurred(rgb: Rgb, sigma_px: float) -> Rgb:
    return np.asarray(cv2.GaussianBlur(rgb, (0, 0), sigma_px), np.uint8)


def _compressed(rgb: Rgb, quality: int) -> Rgb:
    _, data = cv2.imencode(".jpg", rgb[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
    return np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR_RGB), np.uint8)


def _as_uint8(values: npt.NDArray[np.floating]) -> npt.NDArray[np.uint8]:
    return np.asarray(np.clip(np.rint(values), 0, 255), np.uint8)
