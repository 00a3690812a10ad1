"""Reading labelled fields and cropping them."""

from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from training_data import THESIS_TOML, TOML, write_fields

from wsiseg.errors import SettingsError
from wsiseg.train.batches import Batches, read_crops
from wsiseg.train.config import TrainConfig
from wsiseg.train.crops import CenterCrops, RandomCrops, center_crop, whole_field
from wsiseg.train.data import TrainingField, load_field, read_ignore, read_index, read_labels, read_rgb
from wsiseg.train.pixels import targets_and_weight
from wsiseg.train.tasks import task_of

TASK = task_of(SimpleNamespace(head="nuclei", head_settings={}, class_count=1, mpp=0.5, types=None))


@pytest.fixture
def folder(tmp_path):
    return write_fields(tmp_path / "Schnitte für alle")


def config_of(folder, text, *changes):
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    (folder / "train.toml").write_text(text, "utf-8")
    return TrainConfig.from_toml(folder / "train.toml")


def plain(height, width, mpp=0.5):
    """A field whose every pixel differs, with targets that repeat it."""
    rgb = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    return TrainingField(rgb, rgb[..., :2].copy(), np.full((height, width), 255, np.uint8), mpp)


def test_an_index_is_read_by_split(folder):
    assert [entry.group for entry in read_index(folder, "train")] == ["patient 0", "patient 1"]
    assert len(read_index(folder, "all")) == 3
    (entry,) = read_index(folder, "val")
    assert entry.mpp == 0.25
    assert read_rgb(entry.image).shape == (160, 160, 3)
    assert read_labels(entry.instances).max() <= 9
    assert read_ignore(entry, (160, 160)).mean() == pytest.approx(1 / 3, abs=0.01)


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
        (lambda text: text.replace("2_ignore.png", "absent.png"), "is not there"),
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
    cv2.imwrite(str(entry.ignore), np.full((160, 160), 9, np.uint8))
    with pytest.raises(SettingsError, match="not an ignore map"):
        load_field(entry, TASK)
    cv2.imwrite(str(entry.instances), np.zeros((5, 5), np.uint8))
    with pytest.raises(SettingsError, match="differ in size"):
        load_field(entry, TASK)
    entry.image.write_bytes(b"no image")
    with pytest.raises(SettingsError, match="cannot be decoded"):
        read_rgb(entry.image)
    with pytest.raises(SettingsError, match="not a one-channel image"):
        read_labels(entry.image)


def test_random_crops_come_at_the_models_resolution(folder):
    config = config_of(folder, TOML, ("threads = 1", "[augmentation]\nscale_min = 1\nscale_max = 1"))
    fields = [load_field(entry, TASK) for entry in read_index(folder, "train")]
    rgb, planes = RandomCrops(config, config.model.mpp, [fields]).draw(0, np.random.default_rng(0))
    assert rgb.shape == (64, 64, 3)
    assert planes.shape == (64, 64, 3)
    # Shrinking by two whole pixels keeps image and targets in step, but for the discs' rims.
    dark = rgb[..., 1] < 120
    assert (dark == (planes[..., 0] > 127)).mean() > 0.98


def test_sources_are_drawn_by_their_share(folder):
    second = '[[sources]]\nfolder = "black"\nshare = 0.5\n[schedule]'
    config = config_of(folder, TOML, ("[schedule]", second), ("crop_px = 64", "crop_px = 32"))
    black = TrainingField(np.zeros((80, 80, 3), np.uint8), *(np.zeros((80, 80, n), np.uint8) for n in (2, 1)), 0.5)
    black = TrainingField(black.rgb, black.targets, black.counted[..., 0], 0.5)
    crops = RandomCrops(config, config.model.mpp, [[plain(80, 80)], [black]])
    random = np.random.default_rng(0)
    dark = sum(not crops.draw(0, random)[0].any() for _ in range(300))
    assert 75 < dark < 125


def test_a_zoom_beyond_the_field_gives_the_whole_field(folder):
    config = config_of(folder, TOML, ("crop_px = 64", "crop_px = 128"))
    crops = RandomCrops(config, 0.5, [[plain(90, 100)]])
    for _ in range(5):
        rgb, planes = crops.draw(0, np.random.default_rng(0))
        assert rgb.shape == (128, 128, 3)
        assert (planes[..., -1] == 255).all()


@pytest.mark.parametrize("shape", [(64, 64), (101, 90), (64, 63), (40, 200), (3, 1)])
def test_a_center_crop_is_the_middle_pixel_for_pixel(shape):
    field = plain(*shape)
    rgb, planes = center_crop(field, 0.5, 64)
    counted = planes[..., -1] == 255
    assert rgb.shape == (64, 64, 3)
    assert (planes[..., :2] == rgb[..., :2]).all()  # what is mirrored is mirrored in both
    for axis, side in enumerate(shape):
        assert counted.any(axis=1 - axis).sum() == min(side, 64)
    rows, columns = (slice((side - min(side, 64)) // 2, None) for side in shape)
    middle = field.rgb[rows, columns][:64, :64]
    assert (rgb[counted] == middle.reshape(-1, 3)).all()


def test_a_center_crop_comes_at_the_models_resolution():
    rgb, planes = center_crop(plain(200, 200, mpp=0.25), 0.5, 64)
    assert (planes[..., -1] == 255).all()
    assert rgb[0, 0] == pytest.approx(plain(200, 200).rgb[36:38, 36:38].mean((0, 1)), abs=1)


def test_a_whole_field_is_extended_to_the_encoders_stride():
    field = plain(33, 64)
    rgb, planes = whole_field(field, 0.5, 32)
    assert rgb.shape == (64, 64, 3)
    assert (rgb[:33] == field.rgb).all()
    assert (planes[..., -1] == 255).sum() == 33 * 64
    assert (rgb[33:] == rgb[:33][::-1][:31]).all()


def test_center_crops_come_in_passes_of_their_own_order():
    marks = [(np.full((2, 2, 3), i, np.uint8), np.zeros((2, 2, 2), np.uint8)) for i in range(7)]
    crops = CenterCrops(marks, seed=3)
    passes = [[int(crops.draw(7 * turn + i, None)[0][0, 0, 0]) for i in range(7)] for turn in range(3)]
    assert all(sorted(order) == list(range(7)) for order in passes)
    assert len({tuple(order) for order in passes}) == 3
    again = [int(CenterCrops(marks, seed=3).draw(i, None)[0][0, 0, 0]) for i in range(7)]
    assert again == passes[0]


@pytest.mark.parametrize("text", [TOML, THESIS_TOML])
def test_shares_of_a_batch_make_the_batch_whoever_makes_them(folder, text):
    config = config_of(folder, text, ('"discs"', '"."'), ("batch = 2", "batch = 4"))
    crops = read_crops(config, folder, task_of(config.draft_spec()))
    with Batches(config, crops, range(4)) as all_of_it:
        whole = [all_of_it.get(step) for step in range(3)]
    parts = []
    for places in (range(2), range(2, 4)):
        with Batches(config, crops, places) as share:
            parts.append(share.get(2))
    assert (np.concatenate([part.pixels for part in parts]) == whole[2].pixels).all()
    assert (np.concatenate([part.planes for part in parts]) == whole[2].planes).all()
    assert (whole[1].pixels != whole[2].pixels).any()


def test_pixels_that_do_not_count_have_no_weight():
    planes = np.array([[10, 255], [20, 254], [30, 0]], np.uint8).reshape(1, 3, 1, 2)
    targets, weight = targets_and_weight(planes)
    assert targets.flatten().tolist() == pytest.approx([10 / 255, 20 / 255, 30 / 255])
    assert weight.flatten().tolist() == [1, 0, 0]
