"""Tables of text, and how they look in Markdown and on a terminal."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Table:
    """Cells as text; the first column is left-aligned, numbers are right-aligned."""

    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    quiet: frozenset[int] = frozenset()
    """Rows that are not results but stand beside them for reference."""

    def is_figures(self, column: int) -> bool:
        """Tell whether a column, not the first, holds figures: each cell begins with a digit or is empty."""
        return column > 0 and all(not row[column] or row[column][0].isdigit() for row in self.rows)


def markdown_table(table: Table) -> str:
    """Write a table as Markdown."""
    rules = tuple("---:" if table.is_figures(column) else "---" for column in range(len(table.header)))
    lines = [table.header, rules]
    for index, row in enumerate(table.rows):
        lines.append(tuple(f"*{cell}*" if cell else "" for cell in row) if index in table.quiet else row)
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def aligned_lines(table: Table) -> list[str]:
    """Write a table as lines for a terminal."""
    lines = [table.header, *table.rows]
    widths = [max(len(cell) for cell in column) for column in zip(*lines, strict=True)]
    sides = [str.rjust if table.is_figures(column) else str.ljust for column in range(len(widths))]
    return [
        "  ".join(side(cell, width) for side, cell, width in zip(sides, line, widths, strict=True)).rstrip()
        for line in lines
    ]


def with_interval(value: float | None, interval: list[float] | None) -> str:
    """Write a figure with its interval, as far as there are any."""
    if value is None:
        return ""
    return f"{value:.3f} ({interval[0]:.2f} to {interval[1]:.2f})" if interval else f"{value:.3f}"
