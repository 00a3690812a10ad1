"""The table of faults injected and survived, and its place in docs/reliability.md."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "reliability.md"
BEGIN, END = "<!-- begin: make faults -->", "<!-- end: make faults -->"


@dataclass
class Row:
    """One kind of fault."""

    group: str
    """Row of the catalogue, say C1."""
    fault: str
    injected: int = 0
    survived: int = 0
    notes: list[str] = field(default_factory=list)
    """What went wrong, one line each."""

    def count(self, what: str, problems: list[str]) -> None:
        """Take in one injection and what was wrong after it."""
        self.injected += 1
        self.survived += not problems
        self.notes += [f"{what}: {problem}" for problem in problems]


def as_markdown(rows: list[Row], share: float) -> str:
    """Give the table, and how much of each sweep was run."""
    lines = ["| group | fault | injected | survived |", "| --- | --- | ---: | ---: |"]
    lines += [f"| {row.group} | {row.fault} | {row.injected:,} | {row.survived:,} |" for row in rows]
    total = sum(row.injected for row in rows), sum(row.survived for row in rows)
    lines.append(f"| | **all** | **{total[0]:,}** | **{total[1]:,}** |")
    tier = "every point" if share >= 1 else f"{share:.1%} of the points, evenly spread"
    return "\n".join([f"Swept: {tier} (`make faults ARGS='--share {share:g}'`).", "", *lines])


def put_into(document: Path, table: str) -> None:
    """Replace what stands between the markers."""
    text = document.read_text(encoding="utf-8")
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    document.write_text(f"{before}{BEGIN}\n{table}\n{END}{after}", encoding="utf-8")


def spread(points: list, share: float) -> list:
    """Choose a share of a list, evenly over its length; at least one."""
    count = min(max(round(len(points) * share), 1), len(points))
    return [points[(2 * i + 1) * len(points) // (2 * count)] for i in range(count)]
