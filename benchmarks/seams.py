"""Does a network's output depend on where a tile lies? Tiles against one forward pass over the whole image.

    python benchmarks/seams.py IMAGE                                # random weights, three encoders
    python benchmarks/seams.py IMAGE resnet34 inceptionv3 BUNDLE    # encoders by name, bundles by folder

IMAGE is an H&E field of 512 px or more. Every pixel of a tile's core is compared with the same pixel of the whole;
the unit is the standard deviation of the whole's logits. Tiles lie on multiples of 32 px, as a run's do, and off
them, as a run's never do. Differences that come from a tile's edges shrink with the halo, those that come from a
network's lattice do not. Random weights are first trained a little, to find the image's dark pixels.
"""

from __future__ import annotations

import argparse
import json
from itertools import product
from pathlib import Path

import cv2
import numpy as np
import segmentation_models_pytorch as smp
import torch

from wsiseg.models.bundle import load_bundle
from wsiseg.models.encoders import preprocessing, register_encoders, smp_name
from wsiseg.models.network import load_network

CORE_PX, WHOLE_PX, MARGIN_PX = 256, 768, 128
ON_GRID, OFF_GRID = (192, 288), (201, 278)
"""Where the cores begin, in x and in y."""
CROP_PX, BATCH, STEPS = 128, 4, 32


def whole_image(path: Path) -> np.ndarray:
    """The image's middle, mirrored at its edges to WHOLE_PX: (h, w, 3), 0 to 1."""
    rgb = cv2.cvtColor(cv2.imread(str(path), cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)
    side = WHOLE_PX - 2 * MARGIN_PX
    top, left = (rgb.shape[0] - side) // 2, (rgb.shape[1] - side) // 2
    inner = rgb[top : top + side, left : left + side]
    return np.pad(inner, [(MARGIN_PX, MARGIN_PX)] * 2 + [(0, 0)], mode="reflect").astype(np.float32) / 255


def build(name: str, rgb: np.ndarray) -> tuple[torch.nn.Module, torch.Tensor]:
    """A network that is ready, and the image as it wants it: (1, 3, h, w)."""
    if Path(name).is_dir():
        bundle = load_bundle(name)
        return load_network(bundle), normalised(rgb, bundle.spec.mean, bundle.spec.std)
    register_encoders()
    torch.manual_seed(0)
    network = smp.Unet(smp_name(name), encoder_weights=None, classes=2)
    mean, std = preprocessing(name.removeprefix("tu-"))
    pixels = normalised(rgb, mean, std)
    adapt(network, pixels, dark(rgb))
    return network.eval(), pixels


def normalised(rgb: np.ndarray, mean: tuple[float, ...], std: tuple[float, ...]) -> torch.Tensor:
    """Pixels as a network wants them."""
    scaled = (rgb - np.array(mean, np.float32)) / np.array(std, np.float32)
    return torch.from_numpy(scaled).permute(2, 0, 1)[None].contiguous()


def dark(rgb: np.ndarray) -> torch.Tensor:
    """Whether a pixel is among the darkest fifth, a little smoothed: (1, h, w), 0 or 1."""
    grey = cv2.GaussianBlur(rgb.mean(axis=2), (0, 0), 2)
    return torch.from_numpy(grey < np.quantile(grey, 0.2)).long()[None]


def adapt(network: torch.nn.Module, pixels: torch.Tensor, truth: torch.Tensor) -> None:
    """Train a little, then set the batch statistics to those of one batch of four crops.

    Of one batch: without the variance between crops, a network of many layers and no shortcuts, as Inception's,
    would blow up what differs between them.
    """
    optimiser = torch.optim.Adam(network.parameters(), lr=1e-3)
    random = np.random.default_rng(0)
    network.train()
    for _ in range(STEPS):
        places = random.integers(0, WHOLE_PX - CROP_PX, (BATCH, 2))
        crops = [(..., slice(y, y + CROP_PX), slice(x, x + CROP_PX)) for y, x in places]
        logits = network(torch.cat([pixels[crop] for crop in crops]))
        loss = torch.nn.functional.cross_entropy(logits, torch.cat([truth[crop] for crop in crops]))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.reset_running_stats()
            module.momentum = 1.0
    with torch.no_grad():
        network(torch.cat([pixels[..., y : y + 256, x : x + 256] for y, x in product((128, 384), repeat=2)]))


@torch.inference_mode()
def differences(network: torch.nn.Module, pixels: torch.Tensor, halo: int) -> dict[str, np.ndarray]:
    """Absolute differences of logits between tiles and the whole, by kind of position, in standard deviations."""
    whole = network(pixels)
    found = {}
    for kind, begins in (("on", ON_GRID), ("off", OFF_GRID)):
        cores = []
        for y, x in product(begins, repeat=2):
            window = pixels[..., y - halo : y + CORE_PX + halo, x - halo : x + CORE_PX + halo]
            core = network(window)[..., halo : halo + CORE_PX, halo : halo + CORE_PX]
            cores.append((core - whole[..., y : y + CORE_PX, x : x + CORE_PX]).abs().numpy())
        found[kind] = np.stack(cores) / float(whole.std())
    return found


def main() -> None:
    """Compare and print a line for each network, halo and kind of position."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("image", type=Path)
    parser.add_argument("networks", nargs="*", default=["resnet34", "inceptionv3", "tu-inception_v3"])
    parser.add_argument("--halo", type=int, nargs="*", default=[32])
    args = parser.parse_args()
    rgb = whole_image(args.image)
    for name in args.networks:
        network, pixels = build(name, rgb)
        for halo in args.halo:
            for kind, found in differences(network, pixels, halo).items():
                figures = {"mean": found.mean(), "p99": np.quantile(found, 0.99), "max": found.max()}
                rounded = {key: round(float(value), 4) for key, value in figures.items()}
                print(json.dumps({"network": name, "halo_px": halo, "grid": kind} | rounded), flush=True)


if __name__ == "__main__":
    main()
