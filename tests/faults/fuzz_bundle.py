"""E2, E3: what stands in a bundle, mutated: `model.json` and the header of `weights.safetensors`."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import asdict
from typing import TYPE_CHECKING

import orjson
from safetensors import deserialize

from faults.fuzzing import Target, fuzz, main
from wsiseg.errors import BundleError
from wsiseg.models.bundle import BUNDLES, DEFAULT_BUNDLE, ModelSpec
from wsiseg.models.weights import read_header

if TYPE_CHECKING:
    from faults.bench import Bench
    from faults.table import Row

RUNS = 50_000


def seeds() -> list[bytes]:
    """The shipped description, a small one, and small weights."""
    shipped = (BUNDLES / DEFAULT_BUNDLE / "model.json").read_bytes()
    small = json.dumps(json.loads(shipped) | {"training": {}, "metrics": {}}).encode()
    tensors = {
        "__metadata__": {"format": "pt"},
        "a.weight": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]},
        "b": {"dtype": "F16", "shape": [], "data_offsets": [24, 26]},
    }
    header = json.dumps(tensors).encode()
    weights = len(header).to_bytes(8, "little") + header + bytes(26)
    return [small, small, shipped, weights, weights, weights]


def judge(data: bytes) -> None:
    """Parse the bytes as both; what is accepted must hold what it promises."""
    with suppress(BundleError):
        spec = ModelSpec.from_json(data)
        assert ModelSpec.from_json(spec.to_json()) == spec
        orjson.dumps(asdict(spec))
    with suppress(ValueError, RecursionError):
        found = {name: list(tensor.shape) for name, tensor in read_header(data).items()}
        assert found == {name: tensor["shape"] for name, tensor in deserialize(data)}


TARGET = Target("fuzz_bundle", "E2, E3", "mutated `model.json` and weights", seeds, judge)


def sweep(bench: Bench, share: float) -> list[Row]:
    """Fuzz the parsers of a bundle."""
    return [fuzz(TARGET, max(round(RUNS * share), 1))]


if __name__ == "__main__":
    main(TARGET)
