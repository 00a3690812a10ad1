"""The batched U-Net worker: windows of tiles in, uint8 maps out, one object per device.

Normalisation, the network, its activation and the quantisation to uint8 all happen on the device, so that what
crosses to it and back is bytes. Knows no slide, no grid and no nuclei.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from wsiseg.host import usable_cores
from wsiseg.models.devices import OPENVINO, choose_device
from wsiseg.predict.base import Predictor
from wsiseg.predict.numerics import Numerics, choose_dtype
from wsiseg.predict.with_torch import TorchPredictor

if TYPE_CHECKING:
    from wsiseg.models.bundle import ModelBundle

__all__ = [
    "Numerics", "Predictor", "TorchPredictor", "choose_dtype", "describe_devices", "predictor_on",
]  # fmt: skip


def predictor_on(
    bundle: ModelBundle, device: str = "auto", batch: int | None = None, threads: int | None = None
) -> Predictor:
    """Load a bundle's network on the device of that name.

    Parameters
    ----------
    device
        As for `choose_device`, or `openvino`: the CPU, by OpenVINO instead of torch.
    batch, threads
        As for `TorchPredictor`.

    Raises
    ------
    BundleError
        The weights are refused.
    SettingsError
        E-DEVICE: no such device here.
    """
    if device == OPENVINO:
        from wsiseg.predict.with_openvino import OpenvinoPredictor  # the package is optional

        return OpenvinoPredictor(bundle, threads)
    return TorchPredictor(bundle, device, batch, threads)


def describe_devices() -> dict[str, object]:
    """Say which devices there are and what `auto` would choose, for `wsiseg doctor`."""
    chosen = Numerics.of(choose_device("auto"))
    facts: dict[str, object] = {
        "auto": f"{chosen.device}, {chosen.dtype}",
        "cpu capability": torch.backends.cpu.get_cpu_capability(),
        "cpu threads": usable_cores(),
        "mps": torch.backends.mps.is_available(),
        "cuda": torch.version.cuda if torch.cuda.is_available() else False,
    }
    for index in range(torch.cuda.device_count()):
        properties = torch.cuda.get_device_properties(index)
        facts[f"cuda:{index}"] = f"{properties.name}, {properties.total_memory / 1e9:.0f} GB"
    return facts
