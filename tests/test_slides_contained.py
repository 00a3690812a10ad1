"""A slide read by another process is a slide like any other, and outlives the death of that process."""

import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import psutil
import pytest
from slide_contract import PAINTING, SIZE, SlideContract
from synthetic import write_slide

from wsiseg.errors import ResourceError, SlideError
from wsiseg.slides import ContainedSlide, Opening, open_slide, process, shared
from wsiseg.slides.shared import SharedSlots


class TestContained(SlideContract):
    reader = "openslide"

    def open(self, path, mpp=None):
        return open_slide(path, reader=self.reader, mpp=mpp)

    open_for_threads = open


def readers():
    """The processes that read slides for this one."""
    return [one for one in psutil.Process().children() if "wsiseg.slides.child" in one.cmdline()]


@pytest.fixture
def path(tmp_path):
    return write_slide(tmp_path / "slide.svs", PAINTING.rgb)


@pytest.fixture
def faulty(path):
    """Opens the slide with one of the readers in `faulty_readers`."""
    opened = []

    def open_with(name, patience_s=60.0):
        opened.append(ContainedSlide(Opening(path, f"faulty_readers:{name}", patience_s=patience_s)))
        return opened[-1]

    yield open_with
    for slide in opened:
        slide.close()
    assert not readers()


def test_the_second_reader_reads_the_same(path):
    slide = open_slide(path, reader="tiffslide")
    assert np.array_equal(slide.read_region((0, 0), 0, SIZE), PAINTING.rgb)
    slide.close()


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("Aborting", "SIGABRT"),
        ("Killed", "SIGKILL"),
        ("Crashing", "SIGSEGV"),
        ("Leaving", "it ended with status 3"),
        ("Hungry", "MemoryError"),
        ("Raising", "ZeroDivisionError: division by zero"),
        ("Babbling", "it ended by SIGKILL"),
    ],
)
@pytest.mark.skipif(os.name == "nt", reason="Windows knows no signals")
def test_a_fatal_region_costs_itself_alone(name, reason, faulty):
    slide = faulty(name)
    for _ in range(2):
        with pytest.raises(SlideError, match=rf"E-SLIDE-READ.*{reason}.*level 0, x 5 to 13, y 5 to 13"):
            slide.read_region((5, 5), 0, (8, 8))
        assert np.array_equal(slide.read_region((50, 60), 0, (100, 90)), PAINTING.rgb[60:150, 50:150])


def test_a_region_that_hangs_is_given_up(faulty):
    slide = faulty("Hanging", patience_s=3)
    began = time.monotonic()
    with pytest.raises(SlideError, match=r"E-SLIDE-READ.*longer than 3 s"):
        slide.read_region((5, 5), 0, (8, 8))
    assert time.monotonic() - began < 30
    assert np.array_equal(slide.read_region((50, 60), 0, (10, 10)), PAINTING.rgb[60:70, 50:60])


def test_reads_beside_a_fatal_one_succeed(faulty):
    slide = faulty("SlowlyAborting")
    corners = [(0, 0), *((x, y) for x in (100, 300, 500) for y in (100, 300))]

    def read(corner):
        try:
            return slide.read_region(corner, 0, (20, 20))
        except SlideError as error:
            return error.code

    with ThreadPoolExecutor(len(corners)) as threads:
        poisoned, *others = threads.map(read, corners)
    assert poisoned == "E-SLIDE-READ"
    for (x, y), pixels in zip(corners[1:], others, strict=True):
        assert np.array_equal(pixels, PAINTING.rgb[y : y + 20, x : x + 20])


@pytest.mark.parametrize("name", ["AbortingAtOpen", "HangingAtOpen"])
@pytest.mark.skipif(os.name == "nt", reason="Windows knows no signals")
def test_a_slide_that_ends_whoever_opens_it_is_refused(name, path):
    expected = r"E-POISON.*ends the process that opens it \((it ended by SIGABRT|.*3 s)\)"
    with pytest.raises(SlideError, match=expected):
        ContainedSlide(Opening(path, f"faulty_readers:{name}", patience_s=3))
    assert not readers()


def test_a_process_that_does_not_start_is_not_the_slides_fault(path, monkeypatch):
    with pytest.raises(ResourceError, match=r"E-IO.*does not start \(it ended with status 1\)"):
        ContainedSlide(Opening(path, "no_such_module:Reader"))
    monkeypatch.setattr(process.sys, "executable", str(path.with_name("no python")))
    with pytest.raises(ResourceError, match=r"E-IO.*does not start \(No such file"):
        open_slide(path)


def test_what_a_library_prints_is_no_answer(faulty):
    slide = faulty("Chatty")
    assert np.array_equal(slide.read_region((0, 0), 0, (10, 10)), PAINTING.rgb[:10, :10])


def test_regions_larger_than_a_slot_are_read_in_strips(path, monkeypatch):
    monkeypatch.setattr("wsiseg.slides.contained.SLOT_BYTES", 3 * SIZE[0] * 64)
    slide = open_slide(path)
    assert np.array_equal(slide.read_region((0, 0), 0, SIZE), PAINTING.rgb)
    slide.close()


def test_the_process_ends_with_its_slide_and_with_its_parent(path):
    slide = open_slide(path)
    (child,) = readers()
    slide.close()
    assert not psutil.pid_exists(child.pid)
    orphan = process.ReaderProcess(Opening(path, "wsiseg.slides.openslide_reader:OpenSlideSlide"))
    (child,) = readers()
    orphan._process.stdin.close()  # what the system does when a parent dies
    child.wait(10)
    orphan.close()


def test_a_daemonic_worker_may_read_a_slide(path):
    # Dask's workers are daemonic processes of multiprocessing, which refuses them children of its own kind.
    from multiprocessing import get_context

    worker = get_context("spawn").Process(target=_read_once, args=(path,), daemon=True)
    worker.start()
    worker.join(60)
    assert worker.exitcode == 0
    worker.close()


def _read_once(path):
    slide = open_slide(path)
    assert np.array_equal(slide.read_region((0, 0), 0, (8, 8)), PAINTING.rgb[:8, :8])
    slide.close()


def test_slots_are_shared_and_independent(monkeypatch):
    monkeypatch.setattr(shared, "SLOT_BYTES", 2**16)
    ours = SharedSlots()
    theirs = SharedSlots(str(os.dup(int(ours.name))) if os.name != "nt" else ours.name)
    for number in (1, 0, 3):
        ours.slot(number)[:4] = b"%04d" % number
    assert [bytes(theirs.slot(number)[:4]) for number in (0, 1, 3)] == [b"0000", b"0001", b"0003"]
    ours.close()
    theirs.close()


def test_many_threads_share_one_process(path):
    slide = open_slide(path)
    barrier = threading.Barrier(8)

    def read(number):
        barrier.wait(30)
        pixels = slide.read_region((number * 50, 0), 0, (50, 50))
        return np.array_equal(pixels, PAINTING.rgb[:50, number * 50 : number * 50 + 50])

    with ThreadPoolExecutor(8) as threads:
        assert all(threads.map(read, range(8)))
    assert len(readers()) == 1
    slide.close()
