"""C14: one flipped bit, in each deliverable and in every tenth chunk of the masks; `verify` must name the file."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from faults.bench import NOT_COMPARED
from faults.table import Row
from wsiseg.errors import DamageError
from wsiseg.run import verify_run

if TYPE_CHECKING:
    from pathlib import Path

    from faults.bench import Bench

EVERY = 10
"""Of this many inner chunks one is spoilt."""


def sweep(bench: Bench, share: float) -> list[Row]:
    """Spoil a complete run in one place after another."""
    bench.finish()
    whole = Row("C14", "one flipped bit in a deliverable")
    chunks = Row("C14", "one flipped bit in every tenth chunk of the masks")
    chance = random.Random(20261123)
    for path in sorted(path for path in bench.out.rglob("*") if path.is_file()):
        if path.name in NOT_COMPARED:
            continue
        size = path.stat().st_size
        _flip(bench.out, path, chance.randrange(8 * size), whole)
        if "/c/" in path.as_posix():
            for start, length in chunks_of(path)[::EVERY]:
                _flip(bench.out, path, 8 * start + chance.randrange(8 * length), chunks)
    bench.clear()
    return [whole, chunks]


def chunks_of(shard: Path) -> list[tuple[int, int]]:
    """Give (offset, length) of the chunks in a shard, from the index at its end (Zarr v3, sharding_indexed).

    The index holds 16 bytes a chunk and a checksum of 4. Its length is not written anywhere in the file; it is the
    longest one whose entries all lie before it.
    """
    data = shard.read_bytes()
    for side in (32, 16, 8, 4, 2, 1):
        for planes in (3, 1):
            start = len(data) - 4 - 16 * side * side * planes
            if start < 0:
                continue
            numbers = [int.from_bytes(data[i : i + 8], "little") for i in range(start, len(data) - 4, 8)]
            pairs = [pair for pair in zip(numbers[::2], numbers[1::2], strict=True) if pair != (2**64 - 1,) * 2]
            if pairs and sum(length for _, length in pairs) == start and all(o + n <= start for o, n in pairs):
                return pairs
    raise ValueError(f"{shard} is no shard")


def _flip(out: Path, path: Path, bit: int, row: Row) -> None:
    data = path.read_bytes()
    spoilt = bytearray(data)
    spoilt[bit // 8] ^= 1 << bit % 8
    path.write_bytes(spoilt)
    name = path.relative_to(out).as_posix()
    try:
        verify_run(out)
    except DamageError as error:
        row.count(name, [] if name in str(error) else [f"verify does not name it: {error}"])
    else:
        row.count(name, ["verify found nothing"])
    path.write_bytes(data)
