"""All sweeps, beside each other."""

from __future__ import annotations

import sys
import time
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from typing import TYPE_CHECKING

from faults import disk, flips, fuzz_bundle, fuzz_ledger, fuzz_tiff, hostile_slides, kills, power
from faults.bench import Bench
from wsiseg.host import usable_cores

if TYPE_CHECKING:
    from pathlib import Path

    from faults.table import Row

SWEEPS = {
    "hostile slides": hostile_slides.sweep,
    "power cuts": power.sweep,
    "full disks": disk.sweep,
    "kills": kills.sweep,
    "random kills": kills.sweep_random,
    "random kills of a network": partial(kills.sweep_random, what="real"),
    "flipped bits": flips.sweep,
    "TIFF structures": fuzz_tiff.sweep,
    "bundles": fuzz_bundle.sweep,
    "ledgers": fuzz_ledger.sweep,
}
"""The longest first: they run beside each other, one a core."""


def sweeps(folder: Path, share: float) -> list[Row]:
    """Run all of them; says on stderr how long each takes."""
    with ProcessPoolExecutor(usable_cores(), mp_context=get_context("spawn")) as pool:
        running = [pool.submit(_sweep, name, folder, share) for name in SWEEPS]
        return sorted((row for one in running for row in one.result()), key=_place)


def _sweep(name: str, folder: Path, share: float) -> list[Row]:
    """Run one, in a folder of its own."""
    started, sweep = time.monotonic(), SWEEPS[name]
    here = folder / name.replace(" ", "_")
    if sweep is hostile_slides.sweep:
        rows = sweep(here, share)
    else:
        with Bench(here, real=name.endswith("network")) as bench:
            rows = sweep(bench, share)
    injected = sum(row.injected for row in rows)
    print(f"{name}: {injected:,} faults in {time.monotonic() - started:,.0f} s", file=sys.stderr)
    return rows


def _place(row: Row) -> tuple[str, int]:
    """Order by the first row of the catalogue that a sweep names."""
    first = row.group.partition(",")[0]
    return first[0], int(first[1:])
