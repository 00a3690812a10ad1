"""C1, C2: SIGKILL before every system call that changes the disk, and at random moments, three deep."""

from __future__ import annotations

import random
import time
from itertools import count
from typing import TYPE_CHECKING

from faults.bench import kill
from faults.table import Row, spread
from faults.tracing import FAMILIES, points_of, traced, why_not

if TYPE_CHECKING:
    from faults.bench import Bench

RANDOM_KILLS = 200


def sweep(bench: Bench, share: float) -> list[Row]:
    """Kill a run at its system calls."""
    if why_not():
        return []
    rows = {family: Row("C1", f"SIGKILL before a {family} on the run's files") for family in FAMILIES}
    a_block = bench.calls - 1  # the smaller block takes one call
    for point in spread(points_of(bench), share):
        bench.clear()
        status = traced(bench, point.inject("signal=SIGKILL"))
        if status == 0:  # threads came to it in another order, so it was not met
            continue
        left = bench.problems_now()
        rows[point.family].count(str(point), left + bench.problems_after(a_block))
    return [row for row in rows.values() if row.injected]


def sweep_random(bench: Bench, share: float, what: str = "toy") -> list[Row]:
    """Kill a run at random moments: the run, the run that continues it, and the next."""
    row = Row("C2", f"SIGKILL at random moments of a {what} run, three deep")
    moments = random.Random(20261123)
    bench.clear()
    started = time.monotonic()
    bench.finish()
    whole = time.monotonic() - started
    for number in count():
        if row.injected >= max(round(RANDOM_KILLS * share), 1):  # a run that ended before its kill does not count
            break
        bench.clear()
        left, kills = [], 0
        for _ in range(3):
            process = bench.begin()
            time.sleep(moments.uniform(0, whole))
            kill(process)
            kills += bench.end() != 0
            left += bench.problems_now()
        left += bench.problems_after()
        for _ in range(kills):
            row.count(f"chain {number}", left)
    return [row]
