"""Where the time of an execution went, and the record of it: `performance.json`."""

from __future__ import annotations

import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


def _ignore(_count: int) -> None:
    """Nobody watches."""


@dataclass
class Meter:
    """Seconds and tiles, added up while the work goes on."""

    read_wait: float = 0.0
    """The network waited for pixels."""
    forward: float = 0.0
    """The network worked."""
    decode: float = 0.0
    """Maps became nuclei, in parallel to the network."""
    tiles: int = 0
    """Inferred by this execution; earlier ones may have done the rest."""
    stages: dict[str, float] = field(default_factory=dict)
    """Seconds of each later stage."""
    on_tiles: Callable[[int], None] = _ignore
    """Told how many more tiles are inferred."""

    def add(self, other: Meter) -> None:
        """Take in what another one measured."""
        self.read_wait += other.read_wait
        self.forward += other.forward
        self.decode += other.decode
        self.tiles += other.tiles
        self.stages.update(other.stages)

    def count(self, tiles: int) -> None:
        """So many more tiles are inferred."""
        self.tiles += tiles
        self.on_tiles(tiles)

    @contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        """Take the time of a later stage."""
        started = time.perf_counter()
        yield
        self.stages[stage] = time.perf_counter() - started


def performance(meter: Meter, numerics: dict[str, Any], batch: int, total: float) -> dict[str, Any]:
    """Give the content of `performance.json`: `total` seconds, and where they went."""
    return {
        "seconds": {
            "read_wait": round(meter.read_wait, 3),
            "forward": round(meter.forward, 3),
            "decode": round(meter.decode, 3),
            **{name: round(value, 3) for name, value in meter.stages.items()},
            "total": round(total, 3),
        },
        "tiles_inferred": meter.tiles,
        "tiles_per_second": round(meter.tiles / meter.forward, 2) if meter.tiles else None,
        "device_busy_share": round(meter.forward / total, 3),
        "device": numerics,
        "batch": batch,
    }
