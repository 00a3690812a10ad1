"""A bundle with small tiles and a network that knows nuclei by their colour, so that whole runs take seconds.

The colour rule looks at single pixels, and its core map at a few around them, far fewer than the halo; so the
tiled run must equal one pass over the whole slide exactly. Run as a script, it is a run that a test can kill.
"""

from __future__ import annotations

import json
import sys
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path

import cv2
import numpy as np

from wsiseg.fsio import sha256_of
from wsiseg.models.bundle import ClassSpec, ModelSpec
from wsiseg.run import RunSettings, run_slide

TILE_PX = 64
"""16 tiles make a block of 1024 px."""
HALO_PX = 32


def write_bundle(folder: Path, mpp: float = 0.25) -> Path:
    """Write a real bundle: a U-Net with random weights on a small encoder, and the nuclei head."""
    from safetensors.torch import save_file

    from wsiseg.models.network import build_network, stored_tensors

    draft = toy_spec(mpp)
    describe_bundle(folder, draft)
    save_file(stored_tensors(build_network(draft)), folder / "weights.safetensors")
    content = {**asdict(draft), "weights_sha256": sha256_of(folder / "weights.safetensors")}
    (folder / "model.json").write_text(json.dumps(content))
    return folder


def describe_bundle(folder: Path, spec: ModelSpec) -> Path:
    """Write a bundle without weights: enough where the colour rule stands in for the network."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.json").write_text(json.dumps(asdict(spec)))
    (folder / "README.md").write_text("# toy\n")
    return folder


def toy_spec(mpp: float = 0.25) -> ModelSpec:
    """Describe a model with small tiles."""
    return ModelSpec(
        name="toy",
        version="1",
        architecture="unet",
        encoder="timm-tf_efficientnet_lite0",
        decoder_channels=(16, 16, 8, 8, 8),
        head="nuclei",
        head_settings={},
        classes=(ClassSpec(1, "Nucleus", (200, 30, 60)),),
        mpp=mpp,
        tile_px=TILE_PX,
        halo_px=HALO_PX,
        mean=(0.5, 0.5, 0.5),
        std=(0.5, 0.5, 0.5),
        licence="Apache-2.0",
        weights_sha256="0" * 64,
    )


@dataclass
class ColourPredictor:
    """Dark pixels are nucleus; the core is how deep inside they lie. Counts what it is asked."""

    batch: int = 16
    slow_s: float = 0.0
    """Pretended work per call."""
    calls: int = 0
    shapes: list[tuple[int, ...]] = field(default_factory=list)
    numerics: dict = field(default_factory=lambda: {"device": "colours"})

    def predict(self, windows: np.ndarray) -> np.ndarray:
        self.calls += 1
        self.shapes.append(windows.shape)
        time.sleep(self.slow_s)
        return np.stack([colour_maps(rgb) for rgb in windows])


def colour_maps(rgb: np.ndarray) -> np.ndarray:
    """(h, w, 3) RGB to the (2, h, w) maps of the nuclei head."""
    dark = (rgb[..., 1] < 115).astype(np.uint8)
    depth = cv2.distanceTransform(dark, cv2.DIST_L1, 3)
    return np.stack([dark * 255, np.minimum(depth / 8 * 255, 255).astype(np.uint8)])


def run_toy(slide: Path, out: Path, bundle: Path, *, predictor=None, **settings):
    """Run a slide with the toy bundle and the colour network."""
    fresh = settings.pop("fresh", False)
    chosen = RunSettings(slide=slide, model=str(bundle), **settings)
    return run_slide(chosen, out, fresh=fresh, make_predictor=lambda *_: predictor or ColourPredictor())


if __name__ == "__main__":
    slide, out, bundle, slow_s = sys.argv[1:]
    run_toy(Path(slide), Path(out), Path(bundle), predictor=ColourPredictor(slow_s=float(slow_s)), tissue="none")
