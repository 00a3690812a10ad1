"""The devices that a network can run on: the one of a name, or the best."""

from __future__ import annotations

from importlib.util import find_spec

import torch

from wsiseg.errors import SettingsError

OPENVINO = "openvino"
"""The name of the CPU where OpenVINO computes instead of torch; never chosen by `auto`, and for no training."""


def choose_device(name: str) -> torch.device:
    """Give the device of that name, or the best one for `auto`.

    Raises
    ------
    SettingsError
        E-DEVICE: no such device here.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError:
        raise SettingsError("E-DEVICE", f"no device is called {name!r}", fix="auto, cpu, cuda or mps") from None
    present = {"cpu": 1, "cuda": torch.cuda.device_count(), "mps": int(torch.backends.mps.is_available())}
    if (device.index or 0) >= present.get(device.type, 0):
        found = ", ".join(kind for kind, count in present.items() if count)
        raise SettingsError("E-DEVICE", f"this machine has no {name}", fix=f"choose of: auto, {found}")
    return device


def list_devices(name: str) -> list[str]:
    """Give all devices that a name stands for: every GPU for `auto` and `cuda`, else the one device itself.

    Raises
    ------
    SettingsError
        E-DEVICE: no such device here.
    """
    if name == OPENVINO:
        require_openvino()
        return [OPENVINO]
    device = choose_device(name)
    if str(device) == "cuda":
        return [f"cuda:{index}" for index in range(torch.cuda.device_count())]
    return [str(device)]


def has_openvino() -> bool:
    """Tell whether OpenVINO is installed, without loading it."""
    return find_spec("openvino") is not None


def require_openvino() -> None:
    """Refuse to go on without OpenVINO.

    Raises
    ------
    SettingsError
        E-DEVICE: it is not installed.
    """
    if not has_openvino():
        fix = "pip install 'wsiseg[openvino]'"
        raise SettingsError("E-DEVICE", "OpenVINO is not installed", where="--device openvino", fix=fix)
