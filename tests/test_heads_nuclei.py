"""The nuclei head: what the core looks like, and that its decoding counts nuclei."""

from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from head_contract import HeadContract, smooth_noise

from wsiseg.models.heads import make_head
from wsiseg.models.heads.nuclei import core_of
from wsiseg.typemap import CELL_PX


def make(**settings):
    return make_head(SimpleNamespace(head="nuclei", head_settings=settings, class_count=1, mpp=0.25))


def discs(shape, circles):
    """Labels of discs (x, y, radius); a later disc lies on top."""
    labels = np.zeros(shape, np.int32)
    for name, (x, y, radius) in enumerate(circles, 1):
        cv2.circle(labels, (x, y), radius, name, -1)
    return labels


def perfect_maps(labels):
    return np.rint(make().targets(labels) * 255).astype(np.uint8)


class TestNucleiHead(HeadContract):
    def head(self):
        return make()

    def maps(self, seed, shape, scale_px):
        core = smooth_noise(seed + 1, shape, scale_px)
        return np.stack([np.maximum(smooth_noise(seed, shape, 2 * scale_px), core), core])


class TestNucleiHeadWithSmallReach(TestNucleiHead):
    """The same with limits so narrow that components of every kind exceed them."""

    def head(self):
        return make(seed_extent_px=20, climb_doublings=2, spread_px=3, max_extent_px=60, min_area_um2=0.5)


class TestNucleiHeadWithTypes(TestNucleiHead):
    """Types change nothing of the outlines."""

    def head(self):
        return make_head(SimpleNamespace(head="nuclei", head_settings={}, class_count=3, mpp=0.25))

    def maps(self, seed, shape, scale_px):
        return np.concatenate([super().maps(seed, shape, scale_px), smooth_noise(seed, shape, 2)[None]])

    def test_targets_have_one_plane_a_map(self):
        labels = np.eye(40, dtype=np.int32)
        assert (self.head().targets(labels) == make().targets(labels)).all()

    def test_pixels_of_weight_0_do_not_count(self):
        pass  # of types no loss is taken here

    def test_a_batch_without_any_weight_has_a_loss_of_finite_size(self):
        pass

    def test_activation_gives_the_maps_in_0_to_1(self):
        given = torch.rand(2, 3, 8, 8)
        maps = self.head().activate(given)
        assert torch.equal(maps[:, :2], given[:, :2].sigmoid())
        assert torch.equal(maps[:, 2], given[:, 2])

    def test_windows_begin_where_cells_do(self):
        assert self.head().margin_px % CELL_PX == 0
        assert 0 <= self.head().margin_px - make().margin_px < CELL_PX


def test_the_core_is_1_in_the_middle_and_falls_to_the_border():
    core = core_of(discs((80, 80), [(40, 40, 20)]))
    assert core[40, 40] == 1
    assert core[40, 50] == pytest.approx(0.5, abs=0.06)
    assert core[40, 60] <= 0.06
    assert core[40, 62] == 0


def test_the_core_does_not_depend_on_the_size():
    small, large = core_of(discs((80, 80), [(40, 40, 10)])), core_of(discs((160, 160), [(80, 80, 30)]))
    assert small[40, 45] == pytest.approx(large[80, 95], abs=0.06)


def test_the_core_falls_towards_a_touching_nucleus():
    labels = np.zeros((40, 60), np.int32)
    labels[10:30, 10:30], labels[10:30, 30:50] = 1, 2
    core = core_of(labels)
    assert core[20, 29] == core[20, 30] == 0
    assert core[20, 20] > 0.8


def test_an_images_edge_is_no_border():
    assert core_of(discs((80, 80), [(0, 40, 20)]))[40, 0] > 0.9


def test_the_core_of_nothing_is_0():
    assert not core_of(np.zeros((5, 5), np.int32)).any()


@pytest.mark.parametrize(
    ("circles", "why"),
    [
        ([(40, 40, 10)], "one"),
        ([(40, 40, 10), (60, 40, 10)], "two that touch"),
        ([(40, 40, 10), (57, 40, 10)], "two that overlap"),
        ([(40, 40, 30), (75, 40, 8)], "a small one beside a large one"),
        ([(40, 40, 10), (60, 40, 10), (50, 57, 10)], "three in a heap"),
        ([(30 + 19 * i, 40, 10) for i in range(8)], "a chain"),
        ([(40, 40, 50)], "a very large one"),
        ([(40, 40, 3)], "a very small one"),
    ],
)
def test_perfect_maps_give_each_disc_once(circles, why):
    labels = discs((120, 220), circles)
    found = make(min_area_um2=1).decode(perfect_maps(labels)).image()
    assert len(np.unique(found[found > 0])) == len(circles), why
    same = [(found == found[y, x]) == (labels == labels[y, x]) for x, y, _ in circles]
    assert np.mean(same) > 0.99


def test_an_uneven_core_does_not_split_a_large_pale_nucleus():
    labels = discs((120, 120), [(60, 60, 30)])
    maps = perfect_maps(labels)
    for x in (50, 60, 70):  # nucleoli: three hills in a low core
        cv2.circle(maps[1], (x, 60), 3, 150, -1)
    maps[1] = np.minimum(cv2.GaussianBlur(maps[1], (0, 0), 2), 130)
    found = make().decode(maps).image()
    assert len(np.unique(found[found > 0])) == 1


def test_a_faint_nucleus_without_a_core_is_found():
    maps = perfect_maps(discs((80, 80), [(40, 40, 12)]))
    maps[1] = 0
    assert make().decode(maps).image().max() == 1


def test_specks_and_sheets_are_no_nuclei():
    maps = perfect_maps(discs((300, 300), [(20, 20, 2), (150, 150, 90)]))
    assert len(make().decode(maps).runs) == 0


@pytest.mark.parametrize(
    "settings",
    [
        {"unknown": 1},
        {"probability": 2},
        {"spread_px": 4.5},
        {"core_low": float("nan")},
        {"core_low": 0.9, "core_high": 0.2},
    ],
)
def test_settings_out_of_range_are_refused(settings):
    with pytest.raises(ValueError, match="head setting"):
        make(**settings)
