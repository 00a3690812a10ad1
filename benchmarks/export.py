"""A million nuclei to GeoParquet and GeoJSON, as a run's last stage does it: seconds, sizes, peak memory, as JSON.

    python benchmarks/export.py [--nuclei 1000000]

The nuclei are ellipses of all sizes and directions, outlined and measured by the package itself, and lie block by
block in files as in a run. Making them is not timed. Seconds are given twice: the clock's, and the processor's,
which a busy machine disturbs less.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import shapely
from engine import peak_memory

from wsiseg import fsio
from wsiseg.export import ExportHeader, load_exporter
from wsiseg.export.parquet import read_nuclei
from wsiseg.geometry import Box, Frame
from wsiseg.instances import Decoding, Planes, decode_block
from wsiseg.labels import Labels
from wsiseg.models.bundle import ClassSpec
from wsiseg.run.finish import Numbered
from wsiseg.run.neighbours import Neighbourhood
from wsiseg.run.progress import Silent
from wsiseg.run.stores import NucleiStore
from wsiseg.slides.mpp import Mpp
from wsiseg.stains import STAINS
from wsiseg.tiling import Block, TileGrid

if TYPE_CHECKING:
    from collections.abc import Iterator

    from wsiseg.nuclei import Nuclei

SIDE_PX = 4096
PITCH_PX = 64
MPP = 0.25
CLASSES = (ClassSpec(1, "nucleus", (0, 200, 80)),)


def ellipses(rng: np.random.Generator) -> Labels:
    """Draw one ellipse in each field of a lattice: (SIDE_PX, SIDE_PX) labels."""
    across = SIDE_PX // PITCH_PX
    image = np.zeros((SIDE_PX, SIDE_PX), np.int32)
    y, x = np.mgrid[:PITCH_PX, :PITCH_PX] - PITCH_PX / 2
    for number in range(across**2):
        row, column = divmod(number, across)
        long, angle = rng.uniform(7, 28), rng.uniform(0, np.pi)
        short = long * rng.uniform(0.5, 1)
        along, beside = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
        inside = (along / long) ** 2 + (beside / short) ** 2 < 1
        field = np.s_[row * PITCH_PX : (row + 1) * PITCH_PX, column * PITCH_PX : (column + 1) * PITCH_PX]
        image[field][inside] = number + 1
    return Labels.of(image)


def one_block(rng: np.random.Generator) -> Nuclei:
    """Outline and measure the ellipses of one block at the origin."""
    labels = ellipses(rng)
    box = Box(0, 0, SIDE_PX, SIDE_PX)
    decoding = Decoding(lambda *_: labels, Frame(SIDE_PX, SIDE_PX, 1.0, (0.0, 0.0)), box, MPP)
    planes = Planes(*(rng.integers(90, 256, (count, *box.shape), np.uint8) for count in (1, len(STAINS))))
    return decode_block(planes, box, box, decoding).nuclei


def moved(nuclei: Nuclei, x: int, y: int) -> Nuclei:
    """Give the nuclei elsewhere."""
    return replace(
        nuclei,
        polygon=shapely.transform(nuclei.polygon, lambda points: (points + (x, y)).round(2)),
        anchor=nuclei.anchor + np.array((x, y), np.int32),
        centroid_x=nuclei.centroid_x + x,
        centroid_y=nuclei.centroid_y + y,
        runs=nuclei.runs + np.array((0, y, x, x), np.int32),
    )


def write_blocks(work: Path, count: int) -> Numbered:
    """Write blocks of nuclei as a run does."""
    (work / "nuclei").mkdir(parents=True)
    store, model = NucleiStore(work), one_block(np.random.default_rng(0))
    blocks = -(-count // len(model))
    across = int(np.ceil(np.sqrt(blocks)))
    facts = {}
    for number in range(blocks):
        block = Block(*divmod(number, across))
        left = min(count - number * len(model), len(model))
        nuclei = moved(model.take(np.arange(left)), block.column * SIDE_PX, block.row * SIDE_PX)
        facts[block] = store.write(block, nuclei, {}).facts
    return Numbered(work, facts, Silent())


def surrounded(nuclei: Numbered) -> Iterator[Nuclei]:
    """Give each block's nuclei with their neighbours, as a run writes them to the table."""
    side = SIDE_PX * (1 + max(block.row for block in nuclei.first_ids))
    frame = Frame(side, side, 1.0, (0.0, 0.0))
    info = SimpleNamespace(checked_mpp=lambda: Mpp(MPP, MPP, "synthetic"))
    around = Neighbourhood(
        SimpleNamespace(grid=TileGrid(frame, 256), info=info, frame=frame),
        nuclei.first_ids,
        nuclei.store.read_centroids,
    )
    for block, first in nuclei.first_ids.items():
        yield around.surround(block, nuclei.store.read(block).renumbered(first))


def exported(name: str, nuclei: Iterator[Nuclei], total: int, folder: Path) -> dict[str, Any]:
    """Write one file; give what it took."""
    header = ExportHeader("synthetic", "synthetic", MPP, (0, 0), CLASSES)
    export = load_exporter(name)
    started, used = time.perf_counter(), time.process_time()
    files = export(nuclei, total, folder / name, header)
    return {
        "seconds": round(time.perf_counter() - started, 1),
        "processor_seconds": round(time.process_time() - used, 1),
        "bytes": sum(fsio.partial_name(file).stat().st_size for file in files),
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nuclei", type=int, default=1_000_000)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        nuclei = write_blocks(folder / "work", args.nuclei)
        waiting = sum(file.stat().st_size for file in (folder / "work").rglob("*.arrow"))
        result = {
            "nuclei": nuclei.total,
            "blocks": len(nuclei.first_ids),
            "bytes_of_blocks": waiting,
            "geoparquet, neighbours included": exported("geoparquet", surrounded(nuclei), nuclei.total, folder),
        }
        table = fsio.partial_name(folder / "geoparquet.parquet")
        result["geojson"] = exported("geojson", read_nuclei(table, CLASSES), nuclei.total, folder)
        result["peak_memory_bytes"] = peak_memory()
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
