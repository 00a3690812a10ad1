"""Maps to nuclei to GeoJSON on one thread: nuclei a second and core, where the time goes, peak memory, as JSON.

    wsiseg run SLIDE -o RUN --keep-work
    python benchmarks/decoding.py SLIDE RUN

Decodes the maps that a run with the default settings has kept. Times are the processor's and the medians of the
repeats, so that a busy machine disturbs them less. Memory is what the process grew by. `sha256` is of all nuclei:
equal before and after a change that is only meant to be faster.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import psutil
from engine import peak_memory

from wsiseg.export import ExportHeader, load_exporter
from wsiseg.host import give_back_memory
from wsiseg.instances import Decoding, Planes, window
from wsiseg.run import RunSettings
from wsiseg.run.plan import plan_run, slide_of
from wsiseg.run.stores import MapStore

if TYPE_CHECKING:
    from collections.abc import Callable

    from wsiseg.geometry import Box
    from wsiseg.nuclei import Nuclei
    from wsiseg.run.plan import Layout

STAGES = {
    "find_objects": "runs",
    "make_polygons": "polygons",
    "measure_pixels": "measurements",
    "measure_planes": "measurements",
    "measure_polygons": "measurements",
}
"""Functions of `wsiseg.instances.window`, and what they are counted as."""


class Stopwatch:
    """Adds up the processor's seconds by stage."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)

    def timed(self, stage: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """Give the same function, timed."""

        def watched(*args: Any) -> Any:  # noqa: ANN401 - of any function
            started = time.process_time()
            result = function(*args)
            self.seconds[stage] += time.process_time() - started
            return result

        return watched


def layout_of(slide: Path) -> tuple[Layout, ExportHeader]:
    """Plan a run with the default settings."""
    settings = RunSettings(slide=slide)
    opened = slide_of(settings)
    plan = plan_run(settings, opened)
    opened.close()
    spec = plan.bundle.spec
    header = ExportHeader(slide.name, plan.slide_fingerprint, spec.mpp, (0, 0), spec.classes)
    return plan.layout, header


def windows_of(layout: Layout, work: Path) -> list[tuple[Planes, Box, Box]]:
    """Read the planes, the window and the box of each block."""
    head, grid = layout.bundle.head(), layout.grid
    store = MapStore(work, layout, len(head.maps))
    boxes = [grid.block_box(block) for block in layout.active_blocks()]
    windows = [box.grown(head.margin_px).intersection(layout.frame.box) for box in boxes]
    return [(store.read(window), window, box) for window, box in zip(windows, boxes, strict=True)]


def export_seconds(tables: list[Nuclei], header: ExportHeader) -> float:
    """Write the GeoJSON once."""
    export = load_exporter("geojson")
    light = [table.renumbered(1) for table in tables]
    with tempfile.TemporaryDirectory() as folder:
        started = time.process_time()
        export(light, sum(map(len, light)), Path(folder) / "nuclei", header)
        return time.process_time() - started


def medians(records: list[dict[str, float]], nuclei: int) -> dict[str, float]:
    """Give the median of each stage, in microseconds a nucleus."""
    stages = {stage: float(np.median([record[stage] for record in records])) for stage in records[0]}
    return {stage: round(seconds / nuclei * 1e6, 2) for stage, seconds in stages.items()}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("slide", type=Path)
    parser.add_argument("run", type=Path)
    parser.add_argument("--repeats", type=int, default=5)
    args = parser.parse_args()
    cv2.setNumThreads(1)
    layout, header = layout_of(args.slide)
    blocks = windows_of(layout, args.run / "work")
    watch = Stopwatch()
    for name, stage in STAGES.items():
        setattr(window, name, watch.timed(stage, getattr(window, name)))
    decode = watch.timed("labels", layout.bundle.head().decode)
    spec = layout.bundle.spec
    classes = tuple(one.value for one in spec.classes)
    decoding = Decoding(decode, layout.frame, layout.info.area, spec.mpp, classes)
    whole = watch.timed("all", window.decode_block)
    records = []
    give_back_memory()
    before = psutil.Process().memory_info().rss
    for _ in range(args.repeats):
        watch.seconds.clear()
        tables = [whole(planes, around, box, decoding).nuclei for planes, around, box in blocks]
        records.append(dict(watch.seconds))
    peak = peak_memory() - before
    nuclei = sum(map(len, tables))
    spent = medians(records, nuclei)
    exported = float(np.median([export_seconds(tables, header) for _ in range(args.repeats)]))
    result = {
        "nuclei": nuclei,
        "megapixels": round(sum(planes.maps[0].size for planes, *_ in blocks) / 1e6, 1),
        "microseconds_a_nucleus": spent,
        "nuclei_per_second": round(1e6 / spent["all"]),
        "geojson_nuclei_per_second": round(nuclei / exported),
        "peak_memory_bytes": peak,
        "sha256": hashlib.sha256(b"".join(table.to_bytes() for table in tables)).hexdigest(),
    }
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
