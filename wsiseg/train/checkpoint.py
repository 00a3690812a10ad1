"""A training's state in one safetensors file: tensors by name, everything else as JSON in its header.

No pickle: a checkpoint from a stranger can hold wrong numbers, but no code.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from wsiseg import fsio
from wsiseg.errors import OutputError

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor


def save_checkpoint(path: Path, groups: dict[str, dict[str, Tensor]], state: dict[str, Any]) -> None:
    """Write tensors and state under the final name at once: a kill leaves the old file or the new one."""
    tensors = {
        f"{group}/{name}": tensor.detach().cpu().contiguous()
        for group, members in groups.items()
        for name, tensor in members.items()
    }
    partial = fsio.partial_name(path)
    with fsio.explained(path):
        save_file(tensors, partial, metadata={"state": json.dumps(state)})
    fsio.publish(partial, path)


def load_checkpoint(path: Path) -> tuple[dict[str, dict[str, Tensor]], dict[str, Any]]:
    """Read what `save_checkpoint` wrote.

    Raises
    ------
    OutputError
        E-OUT-FOREIGN: the file is something else.
    """
    groups: dict[str, dict[str, Tensor]] = {}
    state = read_state(path)
    with safe_open(path, framework="pt") as file:
        for key in file.keys():  # noqa: SIM118 - not a dict
            group, _, name = key.partition("/")
            groups.setdefault(group, {})[name] = file.get_tensor(key)
    return groups, state


def read_state(path: Path) -> dict[str, Any]:
    """Read a checkpoint's state without its tensors.

    Raises
    ------
    OutputError
        E-OUT-FOREIGN: the file is something else.
    """
    try:
        with safe_open(path, framework="pt") as file:
            state: dict[str, Any] = json.loads(file.metadata()["state"])
    except (OSError, SafetensorError, ValueError, TypeError, KeyError) as error:
        raise OutputError(
            "E-OUT-FOREIGN", f"not a checkpoint of ours ({error})", where=path, fix="begin anew with --fresh"
        ) from error
    return state


def same_training(saved: dict[str, Any], config: dict[str, Any]) -> bool:
    """Tell whether a saved config trains the same network as a config; decoding thresholds do not matter."""
    return _trained(saved) == _trained(json.loads(json.dumps(config)))


def _trained(config: dict[str, Any]) -> dict[str, Any]:
    model = {name: value for name, value in config["model"].items() if name != "head_settings"}
    return {**config, "model": model}
