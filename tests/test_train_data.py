"""Reading labelled fields, cropping and augmenting them."""

from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from training_data import write_fields

from wsiseg.errors import SettingsError
from wsiseg.models.heads import make_head
from wsiseg.train.augment import Augmentation, augment
from wsiseg.train.data import CropSampler, load_field, read_index, read_labels, read_rgb

HEAD = make_head(SimpleNamespace(head="nuclei", head_settings={}, class_count=1, mpp=0.5))
OFF = Augmentation(
    stain=0, stain_offset=0, colour=0, gamma=0, grey=0, resample=0, blur=0, sharpen=0, jpeg=0, noise=0
)


@pytest.fixture
def folder(tmp_path):
    return write_fields(tmp_path / "Schnitte für alle")


def test_an_index_is_read_by_split(folder):
    assert [entry.group for entry in read_index(folder, "train")] == ["patient 0", "patient 1"]
    (entry,) = read_index(folder, "val")
    assert entry.mpp == 0.25
    assert read_rgb(entry.image).shape == (160, 160, 3)
    assert read_labels(entry.instances).max() <= 9


def test_colours_come_as_rgb(folder):
    entry = read_index(folder, "val")[0]
    nucleus = read_rgb(entry.image)[read_labels(entry.instances) > 0]
    assert (nucleus == (90, 50, 130)).all()


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda text: text.replace("mpp", "scale"), "columns are missing: mpp"),
        (lambda text: text.replace(",val,", ",test,"), "no field has the split 'val'"),
        (lambda text: text.replace("2.png", "absent.png"), "is not there"),
        (lambda text: text.replace("0.25", "0"), "cannot be true"),
        (lambda text: text.replace("0.25", "unknown"), "cannot be true"),
        (lambda text: text.replace("0.25", "nan"), "cannot be true"),
    ],
)
def test_an_index_that_makes_no_sense_is_refused(folder, change, match):
    index = folder / "index.csv"
    index.write_text(change(index.read_text("utf-8")), "utf-8")
    with pytest.raises(SettingsError, match=match) as caught:
        read_index(folder, "val")
    assert caught.value.code == "E-DATA"


def test_no_index_is_refused(tmp_path):
    with pytest.raises(SettingsError, match=r"no index\.csv"):
        read_index(tmp_path, "val")


def test_images_that_cannot_be_used_are_refused(folder):
    entry = read_index(folder, "val")[0]
    cv2.imwrite(str(entry.instances), np.zeros((5, 5), np.uint8))
    with pytest.raises(SettingsError, match="differ in size"):
        load_field(entry, HEAD)
    entry.image.write_bytes(b"no image")
    with pytest.raises(SettingsError, match="cannot be decoded"):
        read_rgb(entry.image)
    with pytest.raises(SettingsError, match="not a one-channel image"):
        read_labels(entry.image)


def test_crops_come_at_the_models_resolution(folder):
    fields = [load_field(entry, HEAD) for entry in read_index(folder, "train")]
    sampler = CropSampler([fields], [1.0], mpp=0.5, crop_px=64)
    rgb, targets = sampler.draw(np.random.default_rng(0), scale=1.0)
    assert rgb.shape == (64, 64, 3)
    assert targets.shape == (64, 64, 2)
    # Shrinking by two whole pixels keeps image and targets in step, but for the discs' rims.
    dark = rgb[..., 1] < 120
    assert (dark == (targets[..., 0] > 127)).mean() > 0.98


def test_sources_are_drawn_by_their_share(folder):
    fields = [load_field(entry, HEAD) for entry in read_index(folder, "train")]
    black = [type(field)(np.zeros_like(field.rgb), field.targets, field.mpp) for field in fields]
    sampler = CropSampler([fields, black], [3.0, 1.0], mpp=0.5, crop_px=32)
    random = np.random.default_rng(0)
    dark = sum(not sampler.draw(random, 1.0)[0].any() for _ in range(400))
    assert 70 < dark < 130


def test_a_zoom_beyond_the_field_gives_the_whole_field(folder):
    fields = [load_field(entry, HEAD) for entry in read_index(folder, "train")]
    rgb, _ = CropSampler([fields], [1.0], 0.5, 128).draw(np.random.default_rng(0), scale=0.5)
    assert rgb.shape == (128, 128, 3)


def test_without_any_strength_only_turns_and_flips_are_left():
    random = np.random.default_rng(0)
    rgb = random.integers(0, 256, (32, 32, 3), np.uint8)
    seen = set()
    for _ in range(80):
        out, targets = augment(rgb, rgb[..., :2].copy(), OFF, random)
        assert (out[..., :2].astype(int) - targets <= 1).all()  # densities are rounded once
        seen.add(targets.tobytes())
    assert len(seen) == 8


def test_image_and_targets_turn_together_under_full_strength():
    random = np.random.default_rng(1)
    labels = np.zeros((64, 64), np.uint8)
    cv2.circle(labels, (20, 40), 10, 1, -1)
    rgb = np.where(labels[..., None] > 0, (90, 50, 130), (235, 190, 215)).astype(np.uint8)
    for _ in range(50):
        out, targets = augment(rgb, labels[..., None] * 255, Augmentation(), random)
        assert out.shape == rgb.shape
        assert out.dtype == np.uint8
        grey = out.astype(float).mean(2)
        inside = targets[..., 0] > 0
        assert grey[inside].mean() < grey[~inside].mean()


def test_a_seed_decides_the_augmentation():
    rgb = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    first, again = (
        augment(rgb, rgb[..., :1].copy(), Augmentation(), np.random.default_rng(5))[0] for _ in range(2)
    )
    assert (first == again).all()
