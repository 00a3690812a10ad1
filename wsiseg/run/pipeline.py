"""`run_slide`: one slide through one bundle, on one page."""

from __future__ import annotations

import time
import zlib
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, replace
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import cv2
import orjson
import shapely

from wsiseg import __version__, fsio
from wsiseg.errors import OutputError, ResourceError, SlideError, WsisegError
from wsiseg.host import usable_cores
from wsiseg.run.engine import Engine
from wsiseg.run.finish import Numbered, small_picture, write_masks, write_tables
from wsiseg.run.folder import SCHEMA, SUMMARY, RunFolder, keep_traceback, record_failure
from wsiseg.run.forecast import disk_bytes
from wsiseg.run.gaps import check_gaps
from wsiseg.run.inspect import State, finished_state
from wsiseg.run.lock import locked
from wsiseg.run.meter import Meter, performance
from wsiseg.run.plan import RunPlan, plan_run, slide_of
from wsiseg.run.progress import Progress, Silent
from wsiseg.run.staging import new_attempt
from wsiseg.slides import fingerprint

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from wsiseg.models.bundle import ModelBundle
    from wsiseg.predict import Predictor
    from wsiseg.run.settings import RunSettings
    from wsiseg.slides import PatchedSlide

    MakePredictor = Callable[[ModelBundle, RunSettings], Predictor]


_DECISIVE = (
    "segmentation-models-pytorch", "timm", "numpy", "pillow", "shapely", "pyarrow", "orjson", "zarr", "numcodecs",
    "scipy",
)  # fmt: skip
"""Packages whose version may change a run's bytes, beside torch, which is among the numerics."""


@dataclass(frozen=True)
class Outcome:
    """How `run_slide` ended."""

    folder: Path
    already_complete: bool
    """Nothing had to be done."""
    summary: dict[str, Any]
    """The content of summary.json."""
    performance: dict[str, Any]
    """The content of performance.json; empty if nothing had to be done."""


def run_slide(
    settings: RunSettings,
    out: Path,
    *,
    progress: Progress | None = None,
    fresh: bool = False,
    make_predictor: MakePredictor | None = None,
) -> Outcome:
    """Segment a slide into a run directory, or finish what an earlier call began there.

    Parameters
    ----------
    out
        The run directory; made if it is not there.
    progress
        Who watches.
    fresh
        Set an earlier run in `out` aside (renamed, not deleted) and begin anew.
    make_predictor
        How to make the network; the bundle's own on `settings.device` if None.

    Raises
    ------
    WsisegError
        Each kind with its code; what was finished before stays and is used by the next call.
    """
    started = time.perf_counter()
    progress = progress or Silent()
    folder = RunFolder(out)
    with closing(slide_of(settings)) as slide:
        plan = plan_run(settings, slide)
        if fresh:
            _set_aside(folder, progress)
        folder.create()
        if folder.completion() and not folder.work.exists():
            folder.begin(run_record(plan, {}))
            return _already_complete(folder, settings.max_unreadable)
        with locked(folder.path):
            return _continue(plan, slide, folder, make_predictor or own_predictor, progress, started)


def _continue(
    plan: RunPlan,
    slide: PatchedSlide,
    folder: RunFolder,
    make_predictor: MakePredictor,
    progress: Progress,
    started: float,
) -> Outcome:
    """Go on where the folder stands: at its beginning, in the middle, or just before the clean-up."""
    if folder.completion():  # a kill between COMPLETE.json and the clean-up
        folder.begin(run_record(plan, {}))
        fsio.remove(folder.work)
        return _already_complete(folder, plan.settings.max_unreadable)
    predictor = make_predictor(plan.bundle, plan.settings)
    folder.begin(run_record(plan, predictor.numerics))
    try:
        return _work(plan, slide, folder, predictor, progress, started)
    except SlideError as error:
        check_unchanged(plan)  # then that is the reason
        record_failure(folder, error)
        raise
    except WsisegError:
        raise
    except Exception:
        keep_traceback(folder)
        raise


def _work(
    plan: RunPlan, slide: PatchedSlide, folder: RunFolder, predictor: Predictor, progress: Progress, started: float
) -> Outcome:
    """Do all that a run needs from here on, and declare it complete."""
    folder.clear_results()
    _warn_of_space(plan, folder, progress)
    meter = Meter(on_tiles=progress.advance)
    engine = Engine(plan, folder.work, progress, meter)
    settings = plan.settings
    try:
        engine.run(predictor, slide, settings.workers or usable_cores())
        check_unchanged(plan)
        plan = replace(plan, lost=engine.lost)
        nuclei = Numbered(folder.work, engine.facts, progress)
        attempt = new_attempt(folder.work)
        picture = small_picture(slide)
        with ThreadPoolExecutor(1, "masks") as beside:
            unwatched = Numbered(folder.work, engine.facts, Silent())  # one thread at a time tells how far it is
            masks = beside.submit(write_masks, plan, unwatched, attempt, picture, meter)
            results, summary = write_tables(plan, nuclei, attempt, slide, picture, meter)
            results.append(masks.result())
    except MemoryError as error:
        raise ResourceError("E-MEMORY", "memory ran out", where=folder.path, fix="use --workers 1") from error
    record = performance(meter, predictor.numerics, predictor.batch, time.perf_counter() - started)
    folder.complete(results, record, len(plan.lost))
    fsio.remove(attempt if settings.keep_work else folder.work)
    return Outcome(folder.path, already_complete=False, summary=summary, performance=record)


def _warn_of_space(plan: RunPlan, folder: RunFolder, progress: Progress) -> None:
    needed, free = disk_bytes(plan), fsio.free_bytes(folder.path)
    if free < needed:
        progress.note(f"{folder.path} has {free / 1e6:,.0f} MB free; the run may need {needed / 1e6:,.0f} MB")


def own_predictor(bundle: ModelBundle, settings: RunSettings, threads: int | None = None) -> Predictor:
    """Load the bundle's network on the device that the settings name; torch is imported only now."""
    from wsiseg.predict import predictor_on

    return predictor_on(bundle, settings.device, settings.batch, threads)


def run_record(plan: RunPlan, numerics: dict[str, Any]) -> dict[str, Any]:
    """Give the content of `run.json`: what decides the result, and no path, time or host."""
    info, spec = plan.info, plan.bundle.spec
    mpp = info.checked_mpp()
    return {
        "schema": SCHEMA,
        "wsiseg": __version__,
        "slide": {
            "name": plan.slide_name,
            "fingerprint": plan.slide_fingerprint,
            "width": info.levels[0].width,
            "height": info.levels[0].height,
        },
        "mpp": {"x": mpp.x, "y": mpp.y, "source": mpp.source},
        "bundle": {"name": spec.name, "version": spec.version, "sha256": plan.bundle.sha256},
        "settings": plan.settings.decisive(),
        "numerics": numerics,
        "versions": {"reader": info.reader_version, **library_versions()},
    }


def library_versions() -> dict[str, str]:
    """Give the versions of the libraries that turn pixels into maps, nuclei and files."""
    return {
        "cv2": cv2.__version__,
        "geos": shapely.geos_version_string,
        **{name: version(name) for name in _DECISIVE},
        "zlib": zlib.ZLIB_RUNTIME_VERSION,
    }


def check_intact(folder: RunFolder, max_unreadable: float) -> None:
    """Refuse a run that was complete and has lost something since, or has more gaps than are allowed now."""
    state = finished_state(folder)
    if state.state is State.DAMAGED:
        raise OutputError(
            "E-OUT-MISSING",
            f"the run was complete, but {state.detail}",
            where=folder.path,
            fix="--fresh sets it aside and runs the slide again",
        )
    if state.state is State.GAPS:
        summary = _summary(folder)
        lost = tuple((tile["row"], tile["column"]) for tile in summary["unreadable_tiles"])
        check_gaps(lost, summary["tiles"]["tissue"], max_unreadable, folder.path, finished=True)


def _summary(folder: RunFolder) -> dict[str, Any]:
    content: dict[str, Any] = orjson.loads(fsio.read(folder.path / SUMMARY))
    return content


def _already_complete(folder: RunFolder, max_unreadable: float) -> Outcome:
    check_intact(folder, max_unreadable)
    return Outcome(folder.path, already_complete=True, summary=_summary(folder), performance={})


def _set_aside(folder: RunFolder, progress: Progress) -> None:
    if not folder.is_ours():
        return
    with locked(folder.path):  # nobody may be working there
        pass
    progress.note(f"the earlier run is now {folder.set_aside()}")


def check_unchanged(plan: RunPlan) -> None:
    """Refuse to finish a run whose slide is not the one that was planned."""
    if fingerprint(plan.settings.slide) != plan.slide_fingerprint:
        raise OutputError(
            "E-SLIDE-CHANGED", "the slide changed while it was read", where=plan.settings.slide, fix="use --fresh"
        )
