"""What a run will do, before anything is written: the slide, the frame, the grid and the tiles worth running."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import shapely

from wsiseg.models.bundle import load_bundle
from wsiseg.run.gaps import tiles_under
from wsiseg.slides import PatchedSlide, best_level, fingerprint, open_slide, unwritten
from wsiseg.tiling import TileGrid
from wsiseg.tissue import TileState, Tissue, check_brightfield, load_roi, tile_states, tissue_of

if TYPE_CHECKING:
    import numpy.typing as npt

    from wsiseg.geometry import Frame
    from wsiseg.models.bundle import ModelBundle
    from wsiseg.run.gaps import Tiles
    from wsiseg.run.settings import RunSettings
    from wsiseg.slides import SlideInfo
    from wsiseg.tiling import Block


@dataclass(frozen=True)
class Layout:
    """Where the wanted tiles of a slide lie: all that the work on single blocks needs to know of a plan."""

    bundle: ModelBundle
    info: SlideInfo
    frame: Frame
    grid: TileGrid
    wanted: npt.NDArray[np.bool_]
    """(rows, columns) of the grid: the tiles to infer."""

    @property
    def halo_px(self) -> int:
        """Context around a window, px of the frame."""
        return self.bundle.spec.halo_px

    def tiles_of(self, block: Block) -> npt.NDArray[np.intp]:
        """Give the (n, 2) rows and columns of a block's wanted tiles, in the order in which maps are stored."""
        rows, columns = self.grid.block_tiles(block)
        tiles: npt.NDArray[np.intp] = np.argwhere(self.wanted[rows, columns])
        tiles += np.array((rows.start, columns.start))
        return tiles

    def active_blocks(self) -> list[Block]:
        """Give the blocks with at least one wanted tile, row by row."""
        return [block for block in self.grid.blocks if self.wanted[self.grid.block_tiles(block)].any()]


@dataclass(frozen=True)
class RunPlan:
    """All that decides a run, settled before its first tile."""

    settings: RunSettings
    bundle: ModelBundle
    info: SlideInfo
    slide_fingerprint: str
    frame: Frame
    """The model's frame over the slide."""
    grid: TileGrid
    states: npt.NDArray[np.uint8]
    """(rows, columns) of the grid: `TileState` of each tile."""
    tissue: Tissue | None
    """Tissue within the region of interest; None if every tile is wanted."""
    looked_at_mm2: float
    """Area of the tissue, or of the region or slide where every tile is wanted."""
    missing: int
    """Tiles of which a part was never written by the scanner: it shows background, and is no error."""
    lost: Tiles = ()
    """(row, column) of the tiles that turned out to be unreadable; known when all are inferred."""

    @property
    def slide_name(self) -> str:
        """The file's or folder's name, without its path."""
        # A file name need not be text on Linux; what is not becomes a question mark.
        return self.settings.slide.name.encode("utf-8", "replace").decode()

    @property
    def wanted(self) -> npt.NDArray[np.bool_]:
        """(rows, columns): the tiles to infer."""
        wanted: npt.NDArray[np.bool_] = self.states == TileState.TISSUE
        return wanted

    @property
    def layout(self) -> Layout:
        """What the work on single blocks needs of the plan."""
        return Layout(self.bundle, self.info, self.frame, self.grid, self.wanted)

    def tile_counts(self) -> dict[str, int]:
        """Give the number of tiles in each state, and in the grid: the states add up to it."""
        counts = {state.name.lower(): int((self.states == state).sum()) for state in TileState}
        return {"grid": self.states.size, **counts, "missing": self.missing}


def slide_of(settings: RunSettings) -> PatchedSlide:
    """Open the slide that settings name, as they say; whoever asks closes it.

    Raises
    ------
    SlideError
        The reader refuses it, or it ends the reader's process.
    """
    return PatchedSlide(open_slide(settings.slide, reader=settings.reader, mpp=settings.mpp))


def plan_run(settings: RunSettings, slide: PatchedSlide) -> RunPlan:
    """Settle what a run would do; reads the slide's low levels and writes nothing.

    Raises
    ------
    BundleError, SlideError, SettingsError
        Whatever makes the run impossible, before it begins.
    """
    bundle = load_bundle(settings.model)
    info = slide.info
    frame = info.frame_at(bundle.spec.mpp)
    identity = fingerprint(settings.slide)
    check_brightfield(slide)
    roi = None if settings.roi is None else load_roi(settings.roi, info)
    tissue = tissue_of(slide, settings.tissue)
    grid = TileGrid(frame, bundle.spec.tile_px)
    states = tile_states(grid, tissue, roi)
    # What could not be read may be tissue: the run looks again, at full resolution, and says what is lost.
    lost = np.concatenate([slide.lost(level) for level in range(len(info.levels))])
    states[tiles_under(grid, lost) & (states == TileState.BLANK)] = TileState.TISSUE
    within = tissue if tissue is None or roi is None else _inside(tissue, roi)
    return RunPlan(
        settings=settings,
        bundle=bundle,
        info=info,
        slide_fingerprint=identity,
        frame=frame,
        grid=grid,
        states=states,
        tissue=within,
        looked_at_mm2=_area_mm2(info, within, roi),
        missing=int(tiles_under(grid, unwritten(info, best_level(info.levels, frame.downsample))).sum()),
    )


def _inside(tissue: Tissue, roi: Any) -> Tissue:  # noqa: ANN401 - shapely is not typed
    """Keep the tissue whose pixels have their centre in the region."""
    rows, columns = np.nonzero(tissue.mask)
    x, y = tissue.frame.to_level0(np.stack([columns, rows], axis=1) + 0.5).T
    inside = shapely.contains_xy(roi, x, y)
    mask = np.zeros_like(tissue.mask)
    mask[rows[inside], columns[inside]] = True
    return Tissue(mask, tissue.frame)


def _area_mm2(info: SlideInfo, tissue: Tissue | None, roi: Any) -> float:  # noqa: ANN401
    mpp = info.checked_mpp().value
    if tissue is not None:
        return tissue.area_mm2(mpp)
    area_px = info.area.width * info.area.height if roi is None else roi.area
    return float(area_px) * mpp**2 / 1e6
