"""`make faults`: every sweep, then the table in docs/reliability.md."""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import time
from pathlib import Path

from faults import disk, flips, fuzz_bundle, fuzz_ledger, fuzz_tiff, hostile_slides, kills, power
from faults.bench import Bench
from faults.table import DOCUMENT, Row, as_markdown, put_into
from faults.tracing import why_not

SWEEPS = (
    kills.sweep,
    kills.sweep_random,
    disk.sweep,
    flips.sweep,
    power.sweep,
    fuzz_tiff.sweep,
    fuzz_bundle.sweep,
    fuzz_ledger.sweep,
)


def sweeps(folder: Path, share: float) -> list[Row]:
    """Run all of them; says on stderr how long each takes."""
    rows: list[Row] = []
    with Bench(folder / "toy") as bench:
        for sweep in SWEEPS:
            rows += _timed(f"{sweep.__module__}.{sweep.__name__}", lambda sweep=sweep: sweep(bench, share))
    with Bench(folder / "real", real=True) as bench:
        rows += _timed("random kills of a network", lambda: kills.sweep_random(bench, share, "real"))
    rows += _timed("hostile slides", lambda: hostile_slides.sweep(folder / "slides", share))
    return sorted(rows, key=_place)


def _place(row: Row) -> tuple[str, int]:
    """Order by the first row of the catalogue that a sweep names."""
    first = row.group.partition(",")[0]
    return first[0], int(first[1:])


def _timed(name, sweep) -> list[Row]:
    started = time.monotonic()
    rows = sweep()
    injected = sum(row.injected for row in rows)
    print(f"{name}: {injected:,} faults in {time.monotonic() - started:,.0f} s", file=sys.stderr)
    return rows


def main() -> int:
    """Sweep, print and write the table; exit 1 if a fault was not survived."""
    parser = argparse.ArgumentParser(prog="make faults", description=__doc__)
    parser.add_argument("--share", type=float, default=1.0, help="part of each sweep, 0 to 1")
    parser.add_argument("--folder", type=Path, help="where the runs lie; a memory file system is quickest")
    arguments = parser.parse_args()
    if why_not():
        print(f"system calls cannot be swept: {why_not()}", file=sys.stderr)
    folder = Path(tempfile.mkdtemp(prefix="wsiseg-faults-", dir=arguments.folder))
    try:
        rows = sweeps(folder, arguments.share)
    finally:
        shutil.rmtree(folder)
    table = as_markdown(rows, arguments.share)
    print(table)
    put_into(DOCUMENT, table)
    notes = [f"{row.group} {row.fault}: {note}" for row in rows for note in row.notes]
    print("\n".join(notes), file=sys.stderr)
    return 1 if notes else 0


if __name__ == "__main__":
    sys.exit(main())
