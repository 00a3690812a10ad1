"""C4, C5: a disk that is full, over its quota, read-only or broken, at every call that writes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from faults.table import Row, spread
from faults.tracing import points_of, traced, why_not

if TYPE_CHECKING:
    from faults.bench import Bench

WRITING = ("write", "openat", "mkdir", "fsync", "rename")
EXPECTED = {
    "ENOSPC": (6, "E-NOSPACE"),
    "EDQUOT": (6, "E-NOSPACE"),
    "EROFS": (5, "E-OUT-READONLY"),
    "EIO": (6, "E-IO"),
}
"""Exit status and code of each refusal."""
SHARES = {"ENOSPC": 1.0, "EDQUOT": 0.1, "EROFS": 0.1, "EIO": 0.25}
"""What is swept of each: all paths lead through one place, so the other errors are sampled."""


def sweep(bench: Bench, share: float) -> list[Row]:
    """Let one call after another fail."""
    if why_not():
        return []
    points = [point for point in points_of(bench) if point.family in WRITING]
    rows = []
    for error, (status, code) in EXPECTED.items():
        row = Row("C4" if status == 6 and error != "EIO" else "C5", f"{error} at a call that writes")
        for point in spread(points, share * SHARES[error]):
            _refuse(bench, row, f"error={error}", point, (status, code))
        rows.append(row)
    return rows


def _refuse(bench: Bench, row: Row, what: str, point, expected: tuple[int, str]) -> None:
    bench.clear()
    status = traced(bench, point.inject(what))
    if status == 0:  # not met, or a refusal that does not matter: then the result must be whole
        problems = []
    else:
        said = bench.error()
        problems = [] if (status, expected[1] in said) == (expected[0], True) else [f"exit {status}: {said}"]
    problems += bench.problems_now()
    row.count(str(point), problems + bench.problems_after(bench.calls - 1))
