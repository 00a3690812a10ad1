"""What every head promises; the test class of each head inherits `HeadContract`."""

import cv2
import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from wsiseg.geometry import Box


def smooth_noise(seed, shape, scale_px):
    """Random fields from 0 to 255 with structures of about the given size, some as large as the field."""
    random = np.random.default_rng(seed)
    noise = random.standard_normal(shape).astype(np.float32)
    smooth = cv2.GaussianBlur(noise, (0, 0), scale_px)
    smooth /= smooth.std()
    return np.clip(128 + 80 * smooth, 0, 255).astype(np.uint8)


def canonical(labels, touching):
    """Number the labels that touch a box by their first pixel, row by row, and drop the others."""
    keep = np.unique(labels[touching.slices])
    kept = np.where(np.isin(labels, keep[keep > 0]), labels, 0)
    names, first, inverse = np.unique(kept, return_index=True, return_inverse=True)
    order = np.argsort(np.argsort(np.where(names == 0, -1, first)))
    return order[inverse].reshape(labels.shape) + (0 if (kept == 0).any() else 1)


def owned(labels, area):
    """The pixels of each label whose mean pixel lies in an area."""
    places = [np.argwhere(labels == name) for name in np.unique(labels[labels > 0])]
    centres = [np.floor(pixels.mean(0)).astype(int) for pixels in places]
    return {
        pixels.tobytes()
        for pixels, (y, x) in zip(places, centres, strict=True)
        if area.x <= x < area.right and area.y <= y < area.bottom
    }


class HeadContract:
    """Subclasses give `head()`, and `maps(seed, shape, scale_px)` if plain noise does not suit the head."""

    def head(self):
        raise NotImplementedError

    def maps(self, seed, shape, scale_px):
        count = len(self.head().maps)
        return np.stack([smooth_noise(seed + i, shape, scale_px) for i in range(count)])

    def test_the_first_map_is_the_foreground(self):
        head = self.head()
        labels = np.zeros((64, 64), np.int32)
        labels[10:30, 10:30] = 1
        assert ((head.targets(labels)[0] > 0.5) == (labels > 0)).all()

    def test_targets_have_one_plane_a_map(self):
        head = self.head()
        targets = head.targets(np.eye(40, dtype=np.int32))
        assert targets.shape == (len(head.maps), 40, 40)
        assert targets.dtype == np.float32
        assert targets.min() >= 0
        assert targets.max() <= 1

    def test_activation_gives_the_maps_in_0_to_1(self):
        head = self.head()
        maps = head.activate(torch.linspace(-9, 9, 2 * head.channels * 16).reshape(2, head.channels, 4, 4))
        assert maps.shape == (2, len(head.maps), 4, 4)
        assert float(maps.min()) >= 0
        assert float(maps.max()) <= 1

    def test_the_loss_falls_when_the_network_learns(self):
        head = self.head()
        labels = np.zeros((32, 32), np.int32)
        labels[4:14, 4:14], labels[18:28, 16:30] = 1, 2
        targets = torch.from_numpy(head.targets(labels))[None]
        logits = torch.zeros(1, head.channels, 32, 32, requires_grad=True)
        weight = torch.ones(1, 1, 32, 32)
        optimiser = torch.optim.Adam([logits], 0.2)
        first = head.loss(logits, targets, weight).item()
        for _ in range(60):
            optimiser.zero_grad()
            head.loss(logits, targets, weight).backward()
            optimiser.step()
        assert head.loss(logits, targets, weight).item() < 0.5 * first
        assert ((head.activate(logits)[0, 0] > 0.5).numpy() == (labels > 0)).all()

    def test_pixels_of_weight_0_do_not_count(self):
        head = self.head()
        targets = torch.rand(1, len(head.maps), 16, 16)
        weight = torch.ones(1, 1, 16, 16)
        weight[..., 8:] = 0
        logits = torch.randn(1, head.channels, 16, 16)
        changed = torch.where(weight > 0, logits, 5 * torch.randn_like(logits))
        assert head.loss(logits, targets, weight) == pytest.approx(head.loss(changed, targets, weight).item())

    def test_a_batch_without_any_weight_has_a_loss_of_finite_size(self):
        head = self.head()
        logits = torch.randn(1, head.channels, 16, 16)
        targets, weight = torch.rand(1, len(head.maps), 16, 16), torch.zeros(1, 1, 16, 16)
        assert torch.isfinite(head.loss(logits, targets, weight))

    def test_empty_maps_hold_no_nucleus(self):
        head = self.head()
        for shape in ((1, 1), (3, 200), (64, 64)):
            labels = head.decode(np.zeros((len(head.maps), *shape), np.uint8)).image()
            assert labels.shape == shape
            assert labels.dtype == np.int32
            assert not labels.any()

    def test_full_maps_hold_nothing_that_could_be_a_nucleus(self):
        head = self.head()
        assert len(head.decode(np.full((len(head.maps), 700, 700), 255, np.uint8)).runs) == 0

    @pytest.mark.parametrize("scale_px", [2, 5, 11])
    def test_each_label_is_one_4_connected_component(self, scale_px):
        labels = self.head().decode(self.maps(7, (500, 400), scale_px)).image()
        names = np.unique(labels[labels > 0])
        assert len(names) > 0
        for name in names:
            assert cv2.connectedComponents((labels == name).view(np.uint8), connectivity=4)[0] == 2

    def test_the_same_maps_give_the_same_labels(self):
        maps = self.maps(3, (300, 300), 5)
        assert (self.head().decode(maps).runs == self.head().decode(maps.copy(order="F")).runs).all()

    @settings(
        max_examples=8,
        deadline=None,
        # Each head's test class runs this method: that is what a contract is for.
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.differing_executors],
    )
    @given(
        seed=st.integers(0, 10_000),
        scale_px=st.sampled_from([2, 4, 8, 16, 40]),
        x=st.integers(0, 560),
        y=st.integers(0, 560),
        side=st.sampled_from([1, 64, 190]),
    )
    def test_a_window_with_margin_gives_the_blocks_nuclei_exactly(self, seed, scale_px, x, y, side):
        head = self.head()
        maps = self.maps(seed, (760, 760), scale_px)
        block = Box(x, y, side, side)
        window = block.grown(head.margin_px).intersection(Box(0, 0, 760, 760))
        whole = canonical(head.decode(maps).image(), block)
        part, inside = np.zeros_like(whole), block.moved(-window.x, -window.y)
        part[window.slices] = canonical(head.decode(maps[(slice(None), *window.slices)], inside).image(), inside)
        assert (whole == part).all()

    @pytest.mark.parametrize("scale_px", [2, 4, 8])
    def test_what_meets_the_area_is_what_is_found_without_one(self, scale_px):
        head, area = self.head(), Box(130, 90, 150, 110)
        maps = self.maps(scale_px, (400, 420), scale_px)
        parts = [owned(head.decode(maps, given).image(), area) for given in (None, area)]
        assert parts[0] == parts[1]
        assert len(parts[0]) > 0
        assert len(head.decode(maps, area).runs) < len(head.decode(maps).runs)
