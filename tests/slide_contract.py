"""What every reader must do. A reader's test inherits `SlideContract` and says which reader it is."""

import os
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from synthetic import corrupt_tile, drop_tile, paint_tissue, scattered, shrunk, write_slide

from wsiseg.errors import SlideError
from wsiseg.slides import READERS, SlidePool
from wsiseg.slides.mpp import given_mpp
from wsiseg.slides.readers import open_handle
from wsiseg.slides.sampling import read_box

SIZE = (1100, 700)
"""Not a multiple of anything: the last column and row of tiles are cut."""
PAINTING = paint_tissue(SIZE, scattered(SIZE))


class SlideContract:
    """Inherit, set `reader`, and keep the name of the class starting with `Test`."""

    reader: str

    def open(self, path, mpp=None):
        """Open in this process; what opens a slide in another way overrides it."""
        return open_handle(path, READERS[self.reader], mpp and given_mpp(mpp))

    def open_for_threads(self, path):
        """Open for many threads, with a fresh handle after an error."""
        return SlidePool(lambda: self.open(path))

    @pytest.fixture
    def path(self, tmp_path):
        return write_slide(tmp_path / "slide.svs", PAINTING.rgb)

    @pytest.fixture
    def slide(self, path):
        slide = self.open(path)
        yield slide
        slide.close()

    def test_info_describes_the_slide(self, slide, path):
        info = slide.info
        assert info.path == path
        assert info.reader == self.reader
        assert any(character.isdigit() for character in info.reader_version)
        assert [(level.width, level.height) for level in info.levels] == [(1100, 700), (275, 175)]
        assert [level.downsample for level in info.levels] == [1.0, 4.0]
        assert (info.mpp.value, info.mpp.source) == (0.25, "aperio.MPP")
        assert info.objective_power == 40
        assert info.bounds is None
        assert info.area == info.levels[0].box

    def test_pixels_are_rgb_rows_first_and_exact(self, slide):
        pixels = slide.read_region((0, 0), 0, SIZE)
        assert pixels.shape == (700, 1100, 3)
        assert pixels.dtype == np.uint8
        assert pixels.flags.writeable
        assert np.array_equal(pixels, PAINTING.rgb)

    def test_the_location_is_x_first_and_of_level_0_at_any_level(self, slide):
        assert np.array_equal(slide.read_region((300, 120), 0, (50, 20)), PAINTING.rgb[120:140, 300:350])
        level1 = shrunk(PAINTING.rgb, 4)
        assert np.array_equal(slide.read_region((400, 80), 1, (50, 20)), level1[20:40, 100:150])

    def test_pixels_of_a_fractional_level_do_not_depend_on_the_read(self, tmp_path):
        # 1103 / 2 is dropped to 551: the downsample is 2.0018, so that locations fall between pixels.
        rgb = paint_tissue((1103, 1401), scattered((1103, 1401))).rgb
        slide = self.open(write_slide(tmp_path / "odd.svs", rgb, downsamples=(1, 2)))
        level = slide.info.levels[1]
        assert level.downsample != 2
        whole = read_box(slide, level, level.box)
        for x, y in ((0, 0), (97, 301), (500, 650), (451, 600)):
            box = level.box.intersection(type(level.box)(x, y, 100, 100))
            assert np.array_equal(read_box(slide, level, box), whole[box.slices])
        # Where the lattice is read it may be a quarter of a pixel off, and no more.
        assert np.abs(whole[5:-5, 5:-5].astype(int) - shrunk(rgb, 2)[5:-5, 5:-5]).mean() < 8
        slide.close()

    def test_the_last_pixel_can_be_read(self, slide):
        assert np.array_equal(slide.read_region((1099, 699), 0, (1, 1)), PAINTING.rgb[699:, 1099:])

    def test_a_region_outside_the_level_is_a_bug_of_the_caller(self, slide):
        with pytest.raises(ValueError, match="not inside"):
            slide.read_region((1000, 0), 0, (200, 10))

    def test_a_closed_slide_refuses(self, slide):
        slide.close()
        slide.close()
        with pytest.raises(SlideError, match=r"E-SLIDE-READ.*closed"):
            slide.read_region((0, 0), 0, (8, 8))

    def test_a_forked_handle_refuses(self, slide, monkeypatch):
        # What a child sees after fork is another process number; forking pytest itself is not safe with threads.
        own = os.getpid()
        monkeypatch.setattr(os, "getpid", lambda: own + 1)
        with pytest.raises(SlideError, match=r"E-FORK.*another process"):
            slide.read_region((0, 0), 0, (8, 8))

    def test_a_corrupt_tile_is_an_error_with_box_and_level(self, tmp_path):
        path = write_slide(tmp_path / "corrupt.svs", PAINTING.rgb, compression="jpeg")
        corrupt_tile(path, 6)  # row 1, column 1 of 5 columns
        slide = self.open(path)
        with pytest.raises(SlideError, match=r"E-SLIDE-READ.*level 0, x 250 to 350, y 250 to 350"):
            slide.read_region((250, 250), 0, (100, 100))
        slide.close()

    def test_a_pool_reads_all_other_tiles_after_a_corrupt_one(self, tmp_path):
        path = write_slide(tmp_path / "corrupt.svs", PAINTING.rgb, compression="jpeg")
        good = self.open(path)
        whole = good.read_region((0, 0), 0, SIZE)
        good.close()
        corrupt_tile(path, 0)
        pool = self.open_for_threads(path)
        for _ in range(2):
            with pytest.raises(SlideError, match="E-SLIDE-READ"):
                pool.read_region((0, 0), 0, (256, 256))
            assert np.array_equal(pool.read_region((256, 0), 0, (256, 256)), whole[:256, 256:512])
        pool.close()

    def test_a_tile_that_was_never_written_is_background(self, path):
        drop_tile(path, 6)
        slide = self.open(path)
        pixels = slide.read_region((0, 0), 0, SIZE)
        expected = PAINTING.rgb.copy()
        expected[256:512, 256:512] = 255
        assert np.array_equal(pixels, expected)
        assert np.array_equal(slide.read_region((200, 300), 0, (100, 10)), expected[300:310, 200:300])
        slide.close()

    def test_transparent_pixels_lie_on_the_background(self, tmp_path):
        alpha = np.full(SIZE[::-1], 255, np.uint8)
        alpha[100:200, 100:300] = 0
        rgba = np.dstack([PAINTING.rgb, alpha])
        rgba[100:200, 100:300, :3] = 0
        path = write_slide(
            tmp_path / "alpha.tif", rgba, description="", extrasamples=["unassalpha"], downsamples=(1,)
        )
        slide = self.open(path)
        pixels = slide.read_region((0, 0), 0, SIZE)
        assert (pixels[100:200, 100:300] == 255).all()
        assert np.array_equal(pixels[300:], PAINTING.rgb[300:])
        slide.close()

    def test_threads_agree(self, path):
        pool = self.open_for_threads(path)
        corners = [(x, y) for y in range(0, 600, 60) for x in range(0, 1000, 90)]

        def same(corner):
            x, y = corner
            return np.array_equal(pool.read_region(corner, 0, (100, 100)), PAINTING.rgb[y : y + 100, x : x + 100])

        with ThreadPoolExecutor(4) as threads:
            assert all(threads.map(same, corners))
        pool.close()
        with pytest.raises(SlideError, match="closed"):
            pool.read_region((0, 0), 0, (8, 8))

    def test_pixel_size_from_the_command_line_wins(self, path):
        slide = self.open(path, mpp=0.5)
        assert (slide.info.mpp.value, slide.info.mpp.source) == (0.5, "--mpp")
        assert slide.info.frame_at(1.0).downsample == 2.0
        slide.close()

    @pytest.mark.parametrize("size", [(1, 1), (255, 255), (257, 30)])
    def test_tiny_slides_are_read(self, size, tmp_path):
        painting = paint_tissue(size)
        slide = self.open(write_slide(tmp_path / "tiny.svs", painting.rgb, downsamples=(1,)))
        assert np.array_equal(read_box(slide, slide.info.levels[0], slide.info.area), painting.rgb)
        slide.close()

    def test_a_slide_without_pixel_size_opens_and_refuses_a_frame(self, tmp_path):
        path = write_slide(tmp_path / "none.svs", PAINTING.rgb, mpp=None, power=None)
        slide = self.open(path)
        assert slide.info.mpp is None
        with pytest.raises(SlideError, match=r"E-MPP-MISSING.*--mpp 0\.25"):
            slide.info.frame_at(0.5)
        slide.close()

    @pytest.mark.parametrize(
        "name", ["with space.svs", "ümläut-ÄÖ.svs", "emoji-🔬.svs", "per%cent[1]*.svs", "-d.svs"]
    )
    def test_any_file_name_works(self, name, tmp_path):
        path = write_slide(tmp_path / name, paint_tissue((300, 300)).rgb, downsamples=(1,))
        slide = self.open(path)
        assert slide.read_region((0, 0), 0, (10, 10)).shape == (10, 10, 3)
        slide.close()

    def test_opening_and_closing_leaks_no_file(self, path):
        psutil = pytest.importorskip("psutil")
        process = psutil.Process()
        self.open(path).close()
        before = process.num_handles() if os.name == "nt" else process.num_fds()
        for _ in range(20):
            slide = self.open(path)
            slide.read_region((0, 0), 0, (8, 8))
            slide.close()
        assert (process.num_handles() if os.name == "nt" else process.num_fds()) <= before + 1
