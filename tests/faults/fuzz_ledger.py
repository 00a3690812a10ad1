"""C15: a ledger, mutated: no entry appears that was not written, and the ledger goes on from there."""

from __future__ import annotations

import tempfile
import zlib
from pathlib import Path
from typing import TYPE_CHECKING

from faults.fuzzing import Target, fuzz, main
from wsiseg.run.ledger import MAPS, NUCLEI, Entry, Ledger
from wsiseg.tiling import Block

if TYPE_CHECKING:
    from faults.bench import Bench
    from faults.table import Row

RUNS = 20_000
WRITTEN = [
    *(Entry(MAPS, Block(0, column).name, 7 * column, {"tiles": 256 - column}) for column in range(4)),
    *(Entry(NUCLEI, Block(1, column).name, 5, {"nuclei": column, "oversized": 0}) for column in range(4)),
]
LATER = Entry(MAPS, Block(9, 9).name, 1, {"tiles": 1})
FOLDER = tempfile.TemporaryDirectory()


def seeds() -> list[bytes]:
    """A ledger as it is written."""
    path = Path(FOLDER.name) / "seed.jsonl"
    if not path.exists():
        ledger = Ledger(path)
        for entry in WRITTEN:
            ledger.record(entry)
    return [path.read_bytes()]


def judge(data: bytes) -> None:
    """Read damaged lines, then the same lines with checksums that fit, as a bug could have written them."""
    path = Path(FOLDER.name) / "ledger.jsonl"
    path.write_bytes(data)
    found = Ledger.peek(path)
    assert {str(entry) for entry in found} <= {str(entry) for entry in WRITTEN}, found
    if len(data) % 50 == 0:  # opened for writing, it syncs to the disk, which takes time
        Ledger(path).record(LATER)
        again = Ledger.peek(path)
        assert again[-1] == LATER, again
        assert len(again) == len(found) + 1, again
    signed = [b"%08x %s" % (zlib.crc32(body), body) for body in (line[9:] for line in data.splitlines())]
    path.write_bytes(b"\n".join([*signed, b""]))
    Ledger.peek(path)


TARGET = Target("fuzz_ledger", "C15", "mutated ledgers", seeds, judge)


def sweep(bench: Bench, share: float) -> list[Row]:
    """Fuzz the ledger's parser."""
    return [fuzz(TARGET, max(round(RUNS * share), 1))]


if __name__ == "__main__":
    main(TARGET)
