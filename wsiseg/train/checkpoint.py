"""A training's state in one safetensors file: tensors by name, everything else as JSON in its header.

No pickle: a checkpoint from a stranger can hold wrong numbers, but no code.
"""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

from safetensors import safe_open
from safetensors.torch import save_file

if TYPE_CHECKING:
    from pathlib import Path

    import torch


def save_checkpoint(path: Path, groups: dict[str, dict[str, torch.Tensor]], state: dict[str, Any]) -> None:
    """Write tensors and state under the final name at once: a kill leaves the old file or the new one."""
    # clone: safetensors refuses tensors that share memory.
    tensors = {
        f"{group}/{name}": tensor.detach().cpu().contiguous().clone()
        for group, members in groups.items()
        for name, tensor in members.items()
    }
    partial = path.with_name(path.name + ".partial")
    save_file(tensors, partial, metadata={"state": json.dumps(state)})
    with partial.open("rb") as written:
        os.fsync(written.fileno())
    partial.replace(path)


def load_checkpoint(path: Path) -> tuple[dict[str, dict[str, torch.Tensor]], dict[str, Any]]:
    """Read what `save_checkpoint` wrote."""
    groups: dict[str, dict[str, torch.Tensor]] = {}
    with safe_open(path, framework="pt") as file:
        state: dict[str, Any] = json.loads(file.metadata()["state"])
        for key in file.keys():  # noqa: SIM118 - not a dict
            group, _, name = key.partition("/")
            groups.setdefault(group, {})[name] = file.get_tensor(key)
    return groups, state


def same_training(saved: dict[str, Any], config: dict[str, Any]) -> bool:
    """Tell whether a saved config trains the same network as a config; decoding thresholds do not matter."""
    return _trained(saved) == _trained(json.loads(json.dumps(config)))


def _trained(config: dict[str, Any]) -> dict[str, Any]:
    model = {name: value for name, value in config["model"].items() if name != "head_settings"}
    return {**config, "model": model}
