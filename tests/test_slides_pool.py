"""The pool gives each thread its handle and each failed read a second one; the fingerprint knows a slide."""

import shutil
import threading

import numpy as np
import pytest
from synthetic import ArraySlide, overwrite, paint_tissue, write_slide

from wsiseg.errors import SlideError
from wsiseg.geometry import Box
from wsiseg.slides import SlidePool, fingerprint
from wsiseg.slides.handles import over_background

PIXELS = paint_tissue((600, 400)).rgb


class Fleeting(ArraySlide):
    """Fails on its first read, as a network disk does, or as a handle that another error has latched."""

    def read_region(self, location, level, size, out=None):
        if not self.reads:
            self.reads.append((Box(0, 0, 1, 1), 0))
            raise SlideError("E-SLIDE-READ", "fleeting")
        return super().read_region(location, level, size)


def test_each_thread_has_its_own_handle_and_all_are_closed():
    opened = []

    def open_handle():
        opened.append(ArraySlide(PIXELS))
        return opened[-1]

    pool = SlidePool(open_handle)
    barrier = threading.Barrier(3)

    def read():
        barrier.wait(10)
        pool.read_region((0, 0), 0, (8, 8))
        barrier.wait(10)

    threads = [threading.Thread(target=read) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(opened) == 4, "one for the thread that opened the pool, one for each that read"
    assert sorted(len(slide.reads) for slide in opened) == [0, 1, 1, 1]
    pool.close()
    for slide in opened:
        with pytest.raises(SlideError, match="closed"):
            slide.read_region((0, 0), 0, (8, 8))


def test_a_failed_read_is_tried_once_more_on_a_fresh_handle():
    handles = [Fleeting(PIXELS), ArraySlide(PIXELS)]
    pool = SlidePool(lambda: handles.pop(0))
    assert np.array_equal(pool.read_region((0, 0), 0, (600, 400)), PIXELS)
    assert not handles
    pool.close()


def test_a_region_that_fails_twice_is_unreadable_and_others_are_not():
    opened = []

    def open_handle():
        opened.append(ArraySlide(PIXELS, unreadable=Box(0, 0, 10, 10)))
        return opened[-1]

    pool = SlidePool(open_handle)
    for _ in range(3):
        with pytest.raises(SlideError, match="E-SLIDE-READ"):
            pool.read_region((5, 5), 0, (8, 8))
        assert np.array_equal(pool.read_region((10, 10), 0, (50, 50)), PIXELS[10:60, 10:60])
    assert len(opened) == 4
    pool.close()


def test_other_errors_are_not_tried_again():
    opened = []

    def open_handle():
        opened.append(ArraySlide(PIXELS))
        return opened[-1]

    pool = SlidePool(open_handle)
    with pytest.raises(ValueError, match="not inside"):
        pool.read_region((0, 0), 0, (10_000, 8))
    assert len(opened) == 1
    pool.close()


def test_copies_have_one_fingerprint_and_changes_another(tmp_path):
    path = write_slide(
        tmp_path / "slide.svs", np.random.default_rng(0).integers(0, 256, (1200, 1600, 3), np.uint8)
    )
    assert path.stat().st_size > 2 * 2**20
    known = fingerprint(path)
    copy = tmp_path / "elsewhere.svs"
    shutil.copy(path, copy)
    assert fingerprint(copy) == known
    overwrite(copy, 100, b"\xff")
    assert fingerprint(copy) != known
    shutil.copy(path, copy)
    overwrite(copy, path.stat().st_size - 5, b"\xff")
    assert fingerprint(copy) != known
    shutil.copy(path, copy)
    with copy.open("ab") as file:
        file.write(b"\0")
    assert fingerprint(copy) != known
    with pytest.raises(SlideError, match="E-SLIDE-READ"):
        fingerprint(tmp_path / "none.svs")


@pytest.mark.parametrize(("name", "other"), [("0.dcm", "1.DCM"), ("slide.mrxs", "slide/Data0000.dat")])
def test_the_fingerprint_knows_the_other_files_of_a_slide(name, other, tmp_path):
    path, sibling = tmp_path / name, tmp_path / other
    path.write_bytes(b"zero")
    known = {fingerprint(path)}
    sibling.parent.mkdir(exist_ok=True)
    for content in (b"one", b"three"):
        sibling.write_bytes(content)
        known.add(fingerprint(path))
    assert len(known) == 3


def test_a_dicom_folder_is_the_slide_of_its_largest_file(tmp_path):
    (tmp_path / "level-0.dcm").write_bytes(b"large")
    (tmp_path / "level-1.dcm").write_bytes(b"less")
    assert fingerprint(tmp_path) == fingerprint(tmp_path / "level-0.dcm")


@pytest.mark.parametrize("alpha", [0, 1, 128, 254, 255])
def test_transparency_shows_the_background(alpha):
    rgba = np.random.default_rng(1).integers(0, 256, (20, 30, 4), np.uint8)
    rgba[..., 3] = alpha
    rgba[0, 0, 3] = 255
    background = (250, 240, 230)
    share = rgba[..., 3:] / 255
    expected = rgba[..., :3] * share + np.array(background) * (1 - share)
    assert np.abs(over_background(rgba, background) - expected).max() <= 0.51
