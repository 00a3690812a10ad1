"""The last stage of a run: from decoded blocks to the deliverables, staged until all are there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson

from wsiseg import fsio
from wsiseg.export import ExportHeader, load_exporter
from wsiseg.export.ground import Ground
from wsiseg.export.omezarr import MaskClass, StoreSpec, create_store
from wsiseg.export.overview import draw_classes, draw_density, encode_overview
from wsiseg.export.parquet import read_nuclei
from wsiseg.export.report import ReportImages, render_report
from wsiseg.host import usable_cores
from wsiseg.run import folder as names
from wsiseg.run.fields import example_fields
from wsiseg.run.gaps import UNKNOWN, unknown_part
from wsiseg.run.neighbours import Neighbourhood
from wsiseg.run.staging import staged
from wsiseg.run.stores import NucleiStore
from wsiseg.run.summary import summarise
from wsiseg.run.tally import Tally
from wsiseg.slides import thumbnail
from wsiseg.stitch import stitch_slide

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

    import numpy.typing as npt

    from wsiseg.export.field import Field
    from wsiseg.geometry import Frame
    from wsiseg.nuclei import Nuclei
    from wsiseg.run.gaps import Tiles
    from wsiseg.run.meter import Meter
    from wsiseg.run.plan import Layout, RunPlan
    from wsiseg.run.progress import Progress
    from wsiseg.run.staging import Staged
    from wsiseg.slides import Slide
    from wsiseg.stitch import Part
    from wsiseg.tiling import Block, TileGrid

    Picture = tuple[npt.NDArray[np.uint8], Frame]
    """The slide, small: (height, width, 3) pixels and their plane."""

OVERVIEW_PX = 2048
"""Long side of the overview at most."""


class Numbered:
    """The nuclei of a run with their ids in the whole slide, block by block.

    Ids count the nuclei block by block, row by row, so they follow from the blocks alone.

    Parameters
    ----------
    work
        The run's working folder.
    facts
        What the ledger says of each decoded block.
    """

    def __init__(self, work: Path, facts: Mapping[Block, dict[str, int]], progress: Progress) -> None:
        self.store = NucleiStore(work)
        self.progress = progress
        blocks = sorted(facts)
        self.facts = [facts[block] for block in blocks]
        counts = [fact["nuclei"] for fact in self.facts]
        self.total = sum(counts)
        self.first_ids: dict[Block, int] = dict(zip(blocks, np.cumsum([1, *counts])[:-1].tolist(), strict=True))

    def surrounded(self, layout: Layout, tally: Tally) -> Iterator[Nuclei]:
        """Give each block's nuclei with their neighbours, counting them on the way."""
        around = Neighbourhood(layout, self.first_ids, self.store.read_centroids)
        for block, first in self.first_ids.items():
            nuclei = self.store.read(block).renumbered(first)
            tally.add(nuclei)
            yield around.surround(block, nuclei)
            self.progress.advance()

    def watched(self, batches: Iterable[Nuclei]) -> Iterator[Nuclei]:
        """Give the same batches, one for each block that holds a nucleus, and tell who watches."""
        for nuclei in batches:
            yield nuclei
            self.progress.advance()

    def places(self) -> Iterator[tuple[npt.NDArray[np.float64], npt.NDArray[np.uint8]]]:
        """Give each block's centroids, (n, 2) level-0 (x, y), and its nuclei's class values."""
        for block in self.first_ids:
            yield self.store.read_places(block)
            self.progress.advance()


def small_picture(slide: Slide) -> Picture:
    """Give what overview, report and the root of the mask store show."""
    return thumbnail(slide, OVERVIEW_PX)


def write_tables(
    plan: RunPlan, nuclei: Numbered, attempt: Path, slide: Slide, picture: Picture, meter: Meter
) -> tuple[list[Staged], dict[str, Any]]:
    """Make tables and pages in the folder of an attempt; give them, and the content of the summary."""
    filled = sum(fact["nuclei"] > 0 for fact in nuclei.facts)
    nuclei.progress.stage("blocks", 2 * len(nuclei.first_ids) + filled)
    header, stem = _header(plan), attempt / "nuclei"
    tally = Tally(plan.grid, header.classes)
    with meter.timed("tables"):
        tables = load_exporter("geoparquet")(nuclei.surrounded(plan.layout, tally), nuclei.total, stem, header)
        # From the table, which knows the neighbours.
        finished = nuclei.watched(read_nuclei(fsio.partial_name(tables[0]), header.classes))
        tables += load_exporter("geojson")(finished, nuclei.total, stem, header)
    with meter.timed("pages"):
        summary = summarise(plan, nuclei.facts, tally)
        fields = example_fields(plan, slide, tally, nuclei)
        pages = _write_pages(plan, attempt, nuclei, picture, (summary, fields))
    return [staged(path) for path in (*tables, *pages)], summary


@dataclass(frozen=True)
class Parts:
    """Gives what a mask paints of each block."""

    grid: TileGrid
    store: NucleiStore
    first_ids: dict[Block, int]
    lost: Tiles

    def __call__(self, block: Block) -> Part:
        """Give a block's runs, ids and class values: its tiles that could not be read, then its nuclei."""
        runs, ids, values = unknown_part(self.grid, block, self.lost)
        if block not in self.first_ids:
            return runs, ids, values
        nuclei, class_values = self.store.read_pixels(block)
        first = self.first_ids[block]
        numbers = np.arange(first, first + len(class_values), dtype=np.uint32)
        shifted = nuclei + np.array([len(ids), 0, 0, 0], np.int32)
        return (
            np.concatenate([runs, shifted]),
            np.concatenate([ids, numbers]),
            np.concatenate([values, class_values]),
        )


def _header(plan: RunPlan) -> ExportHeader:
    """Say what the tables are about; no path and no time, so that equal runs give equal bytes."""
    info, spec = plan.info, plan.bundle.spec
    return ExportHeader(
        slide=plan.slide_name,
        fingerprint=plan.slide_fingerprint,
        mpp=info.checked_mpp().value,
        origin=(info.area.x, info.area.y),
        classes=spec.classes,
        model_sha256=plan.bundle.sha256,
    )


def _write_pages(
    plan: RunPlan,
    attempt: Path,
    nuclei: Numbered,
    picture: Picture,
    content: tuple[dict[str, Any], list[Field]],
) -> tuple[Path, ...]:
    """Write overview, summary and report."""
    summary, fields = content
    record = names.RunFolder(attempt.parent.parent).read_record()  # attempts lie in DIR/work
    overview = _overview(plan, nuclei, picture, summary)
    pages = {
        names.OVERVIEW: encode_overview(overview),
        names.SUMMARY: orjson.dumps(summary, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE),
        names.REPORT: render_report(summary, record, ReportImages(overview, fields)).encode(),
    }
    for name, data in pages.items():
        fsio.write_atomic(fsio.partial_name(attempt / name), data)
    return tuple(attempt / name for name in pages)


def _overview(plan: RunPlan, nuclei: Numbered, picture: Picture, summary: dict[str, Any]) -> npt.NDArray[np.uint8]:
    """Draw the overview: the density of nuclei of one class, or the classes of all nuclei."""
    mpp = plan.info.checked_mpp().value
    outline = plan.tissue.outline(mpp) if plan.tissue else []
    rings = [np.asarray(ring.coords) for polygon in outline for ring in (polygon.exterior, *polygon.interiors)]
    ground, classes = Ground(*picture, mpp, rings, _gaps(summary)), plan.bundle.spec.classes
    if len(classes) > 1:
        return draw_classes(ground, nuclei.places(), classes)
    return draw_density(ground, (centroids for centroids, _ in nuclei.places()))


def _gaps(summary: dict[str, Any]) -> list[npt.NDArray[np.float64]]:
    """Give a (4, 2) level-0 ring around each tile that could not be read."""
    boxes = ((tile["x"], tile["y"], tile["width"], tile["height"]) for tile in summary["unreadable_tiles"])
    return [np.array([(x, y), (x + w, y), (x + w, y + h), (x, y + h)], float) for x, y, w, h in boxes]


def write_masks(plan: RunPlan, nuclei: Numbered, attempt: Path, picture: Picture, meter: Meter) -> Staged:
    """Make the mask store in the folder of an attempt and let Dask paint it, a task a shard."""
    path = attempt / names.MASKS
    spec = plan.bundle.spec
    unknown = (MaskClass(UNKNOWN, "unknown: could not be read", (128, 128, 128)),) if plan.lost else ()
    store = StoreSpec(
        frame=plan.frame,
        mpp=spec.mpp,
        shard_px=plan.grid.block_px,
        classes=(*(MaskClass(one.value, one.name, one.color) for one in spec.classes), *unknown),
        ngff=plan.settings.ngff,
        provenance={"slide": plan.slide_name, "model": spec.name, "model_sha256": plan.bundle.sha256},
    )
    with meter.timed("masks"), fsio.explained(path):
        arrays = create_store(fsio.partial_name(path), store, *picture)
        stitch_slide(
            plan.grid,
            Parts(plan.grid, nuclei.store, nuclei.first_ids, plan.lost),
            nuclei=arrays.nuclei,
            classes=arrays.classes,
            workers=plan.settings.workers or usable_cores(),
            progress=_Shards(nuclei.progress),
        )
    return staged(path)


class _Shards:
    """Turns (shards done, shards in all) into a stage of the run's progress."""

    def __init__(self, progress: Progress) -> None:
        self.progress = progress
        self._begun = False

    def __call__(self, done: int, total: int) -> None:
        if not self._begun:
            self.progress.stage("shards", total)
            self._begun = True
        self.progress.advance()
