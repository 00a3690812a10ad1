"""What lies in `weights.safetensors`, told by its header before any library reads the file.

A safetensors file is the size of its header (8 bytes, little-endian), the header (JSON: type, shape and place of
each tensor by name) and the tensors' bytes. The library takes the last of two equal names; here a file has exactly
the tensors that it states, each once, without a gap or an overlap. Imports no torch.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, Any

from wsiseg.models.spec_rules import parse_strict, shortened

if TYPE_CHECKING:
    from collections.abc import Iterable

MAX_HEADER_BYTES = 16 << 20
_BYTES = {"F16": 2, "F32": 4}
"""Types of a tensor's values -> bytes of one value."""
_MAX_AXES = 8


@dataclass(frozen=True, slots=True)
class StoredTensor:
    """One tensor as the header states it."""

    dtype: str
    """`F16` or `F32`."""
    shape: tuple[int, ...]
    begin: int
    """Place of the first byte, counted from the header's end."""
    end: int


def read_header(data: bytes | memoryview) -> dict[str, StoredTensor]:
    """Read the header of a safetensors file and check that it accounts for every byte.

    Parameters
    ----------
    data
        The whole file.

    Raises
    ------
    ValueError
        The header is too large, cut off, no strict JSON, or does not describe the bytes behind it.
    """
    size = int.from_bytes(data[:8], "little")
    if len(data) < 8 or size > len(data) - 8:
        raise ValueError("the file ends within its header")
    if size > MAX_HEADER_BYTES:
        raise ValueError(f"the header is larger than {MAX_HEADER_BYTES} bytes")
    record = parse_strict(bytes(data[8 : 8 + size]))
    _check_remarks(record.pop("__metadata__", {}))
    tensors = {name: _tensor(name, entry) for name, entry in record.items()}
    _check_places(tensors.items(), len(data) - 8 - size)
    return tensors


def _check_remarks(remarks: Any) -> None:  # noqa: ANN401 - any JSON value
    if not isinstance(remarks, dict) or not all(isinstance(value, str) for value in remarks.values()):
        raise ValueError("__metadata__ is not texts by name")


def _tensor(name: str, entry: Any) -> StoredTensor:  # noqa: ANN401 - any JSON value
    """Check one entry of the header by itself."""
    if not isinstance(entry, dict) or set(entry) != {"dtype", "shape", "data_offsets"}:
        raise ValueError(f"the entry of {shortened(name)} is not dtype, shape and data_offsets")
    if not isinstance(entry["dtype"], str) or entry["dtype"] not in _BYTES:
        raise ValueError(f"the tensor {shortened(name)} has the type {shortened(str(entry['dtype']))}")
    shape, place = entry["shape"], entry["data_offsets"]
    if not _are_counts(shape) or len(shape) > _MAX_AXES:
        raise ValueError(f"the tensor {shortened(name)} has no shape")
    if not _are_counts(place) or len(place) != 2:
        raise ValueError(f"the tensor {shortened(name)} has no place")
    tensor = StoredTensor(entry["dtype"], tuple(shape), *place)
    if tensor.end - tensor.begin != prod(shape) * _BYTES[tensor.dtype]:
        raise ValueError(f"the tensor {shortened(name)} has not the size of its shape")
    return tensor


def _are_counts(values: Any) -> bool:  # noqa: ANN401 - any JSON value
    return isinstance(values, list) and all(type(value) is int and value >= 0 for value in values)


def _check_places(tensors: Iterable[tuple[str, StoredTensor]], size: int) -> None:
    """Refuse tensors that overlap, leave a gap, or end elsewhere than the file."""
    reached = 0
    for name, tensor in sorted(tensors, key=lambda item: (item[1].begin, item[1].end)):
        if tensor.begin != reached:
            problem = "overlaps another" if tensor.begin < reached else "lies behind a gap"
            raise ValueError(f"the tensor {shortened(name)} {problem}")
        reached = tensor.end
    if reached != size:
        raise ValueError(f"the tensors have {reached} bytes and the file has {size}")
