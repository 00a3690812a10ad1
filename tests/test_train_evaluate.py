"""Evaluation: fields of any size and resolution, compared at the truth's grid where the truth counts."""

import csv
import json

import cv2
import numpy as np
import pytest
import torch
from test_models_bundle import GOOD
from toy import write_bundle

from wsiseg.cli import _status
from wsiseg.errors import SettingsError
from wsiseg.models.bundle import DEFAULT_BUNDLE, ModelSpec, load_bundle
from wsiseg.train.evaluate import FieldPredictor, evaluate_bundle
from wsiseg.train.pixels import at_mpp
from wsiseg.train.scoring import to_grid

SIDE, RADIUS = 120, 10
CENTRES = [(x, y) for y in (20, 60, 100) for x in (20, 60, 100)]


class Darkness(torch.nn.Module):
    """A network that sees darkness, pixel by pixel."""

    def forward(self, pixels):
        return -20 * pixels[:, :1].expand(-1, 2, -1, -1)


@pytest.mark.parametrize("shape", [(64, 64), (33, 100), (5, 7), (1, 1)])
@pytest.mark.parametrize("mpp", [0.25, 0.5, 0.7])
def test_maps_have_the_fields_size_at_the_models_mpp(shape, mpp):
    spec = ModelSpec(**(GOOD | {"mpp": 0.5}))
    rgb = np.random.default_rng(0).integers(0, 256, (*shape, 3), np.uint8)
    maps = FieldPredictor(Darkness(), spec).maps(rgb, mpp)
    assert maps.shape == (2, *at_mpp(rgb, mpp, 0.5).shape[:2])
    if mpp == 0.5:
        assert ((maps[0] > 127) == (rgb[..., 0] < 127.5)).all()


def test_labels_come_back_to_the_truths_grid():
    labels = np.array([[1, 2], [3, 4]], np.int32)
    doubled = labels.repeat(2, 0).repeat(2, 1)
    assert (to_grid(labels, (4, 4)) == doubled).all()
    assert (to_grid(doubled, (2, 2)) == labels).all()
    assert (to_grid(doubled, (4, 4)) == doubled).all()


class Study:
    """A data folder of dark discs on pink, whose truth a test bends, and a bundle that sees every disc."""

    def __init__(self, folder, bundle):
        self.folder, self.bundle = folder, bundle
        self.rows = []

    def add(self, discs=CENTRES, labels=None, ignore=None, group="A", mpp=0.25, dots=None):
        name = f"{len(self.rows)}"
        painted = painted_discs(discs)
        row = {"image": f"{name}.png", "group": group, "split": "val", "mpp": mpp}
        self.write(row["image"], np.where(painted[..., None] > 0, (130, 50, 90), (215, 190, 235)).astype(np.uint8))
        if dots is not None:
            row["labels"] = f"{name}.txt"
            (self.folder / row["labels"]).write_text("".join(f"{y} {x} 1\n" for x, y in dots), "utf-8")
        else:
            row["instances"] = f"{name}_labels.png"
            self.write(row["instances"], (painted if labels is None else labels).astype(np.uint16))
            row["ignore"] = ""
        if ignore is not None:
            row["ignore"] = f"{name}_ignore.png"
            self.write(row["ignore"], ignore)
        self.rows.append(row)
        return self

    def write(self, name, pixels):
        assert cv2.imwrite(str(self.folder / name), pixels)

    def index(self):
        with (self.folder / "index.csv").open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, self.rows[0])
            writer.writeheader()
            writer.writerows(self.rows)

    def scored(self, **options):
        self.index()
        return evaluate_bundle(load_bundle(self.bundle), self.folder, "val", **options)


def painted_discs(centres):
    labels = np.zeros((SIDE, SIDE), np.uint8)
    for name, centre in enumerate(centres, 1):
        cv2.circle(labels, centre, RADIUS, name, -1)
    return labels


@pytest.fixture
def study(tmp_path, monkeypatch):
    monkeypatch.setattr("wsiseg.train.evaluate.load_network", lambda _: Darkness())
    (tmp_path / "study").mkdir()
    return Study(tmp_path / "study", write_bundle(tmp_path / "toy"))


def test_a_network_that_sees_all_is_perfect(study):
    found = study.add().add(CENTRES[:4], group="B").scored().as_dict()
    assert set(found["pooled"].values()) == set(found["mean_of_images"].values()) == {1}
    assert set(map(tuple, found["intervals"].values())) == {(1, 1)}
    assert found["thesis"] == {"iou": 1, "fscore": 1, "keras_mean_iou": 1}
    assert found["outlined"]["nuclei"] == found["nuclei_true"] == found["nuclei_predicted"] == 13
    assert (found["images"], found["groups"], found["data"], found["split"]) == (2, 2, "study", "val")
    assert (found["bundle"], found["version"], found["truth"], found["boxes"]) == (
        "toy",
        "1",
        "instances",
        "ignore",
    )


def test_pooled_figures_add_up_and_means_average(study):
    """Four of nine discs are unlabelled in one image; in the other all nine are right."""
    study.add().add(labels=painted_discs(CENTRES[:5]))
    found = study.scored().as_dict()
    assert (found["nuclei_true"], found["nuclei_predicted"]) == (14, 18)
    assert found["pooled"]["precision"] == round(14 / 18, 4)
    assert found["mean_of_images"]["precision"] == round((1 + 5 / 9) / 2, 4)
    assert found["pooled"]["dice"] == found["pooled"]["f1"] == round(28 / 32, 4)
    assert found["pooled"]["iou"] == round(14 / 18, 4)
    assert set(found["intervals"].values()) == {None}
    assert [row["image"] for row in found["per_image"]] == ["0.png", "1.png"]
    assert found["per_image"][1]["f1"] == round(10 / 14, 4)
    area = int((painted_discs(CENTRES[:1]) > 0).sum())
    background = SIDE**2 - 9 * area
    second = 5 / 9, background / (background + 4 * area)
    assert found["thesis"]["iou"] == pytest.approx((1 + sum(second) / 2) / 2, abs=1e-4)
    both = 14 / 18, 2 * background / (2 * background + 4 * area)
    assert found["thesis"]["keras_mean_iou"] == pytest.approx(sum(both) / 2, abs=1e-4)


def test_only_the_split_asked_for_is_scored(study):
    study.add(labels=painted_discs(CENTRES[:5])).add()
    study.rows[1]["split"] = "test"
    study.index()
    found = evaluate_bundle(load_bundle(study.bundle), study.folder, "test").as_dict()
    assert [row["image"] for row in found["per_image"]] == ["1.png"]
    assert (found["split"], found["pooled"]["f1"]) == ("test", 1)


def test_outside_the_field_nothing_counts(study):
    ignore = np.zeros((SIDE, SIDE), np.uint8)
    ignore[:40] = 1
    study.add(labels=painted_discs(CENTRES) * (ignore == 0), ignore=ignore)
    for count_boxes in (False, True):
        found = study.scored(count_boxes=count_boxes).summary()
        assert (found["nuclei_true"], found["nuclei_predicted"], found["outlined"]["nuclei"]) == (6, 6, 6)
        assert set(found["pooled"].values()) == {1}
        assert found["thesis"]["keras_mean_iou"] == 1


def with_boxes(count):
    """Label the first discs by filled boxes; give labels and ignore map."""
    labels, ignore = painted_discs(CENTRES), np.zeros((SIDE, SIDE), np.uint8)
    for name, (x, y) in enumerate(CENTRES[:count], 1):
        box = slice(y - RADIUS, y + RADIUS + 1), slice(x - RADIUS, x + RADIUS + 1)
        labels[box], ignore[box] = name, 2
    return {"labels": labels, "ignore": ignore}


def test_boxes_are_ignored_or_count(study):
    study.add(**with_boxes(3))
    ignored, counted = study.scored().summary(), study.scored(count_boxes=True).summary()
    assert (ignored["nuclei_true"], ignored["nuclei_predicted"], ignored["boxes"]) == (6, 6, "ignore")
    assert set(ignored["pooled"].values()) == {1}
    assert (counted["nuclei_true"], counted["nuclei_predicted"], counted["boxes"]) == (9, 9, "count")
    assert counted["pooled"]["f1"] == 1
    disc, box = int((painted_discs(CENTRES[:1]) > 0).sum()), (2 * RADIUS + 1) ** 2
    assert counted["pooled"]["dice"] == round(18 * disc / (15 * disc + 3 * box), 4)
    assert counted["pooled"]["pq"] == round((6 + 3 * disc / box) / 9, 4)
    assert ignored["thesis"]["keras_mean_iou"] == 1 > counted["thesis"]["keras_mean_iou"]
    assert ignored["outlined"] == counted["outlined"]
    assert (counted["outlined"]["nuclei"], counted["outlined"]["dice"], counted["outlined"]["recall"]) == (6, 1, 1)


def test_a_box_does_not_cut_what_was_found_on_an_outline_beside_it(study):
    labels, ignore = painted_discs(CENTRES[:1]), np.zeros((SIDE, SIDE), np.uint8)
    box = slice(10, 31), slice(24, 50)
    labels[box], ignore[box] = 2, 2
    study.add(CENTRES[:1], labels=labels, ignore=ignore)
    found = study.scored().summary()
    outline, disc = int((labels == 1).sum()), int((painted_discs(CENTRES[:1]) > 0).sum())
    assert found["outlined"]["dice"] == round(2 * outline / (outline + disc), 4)
    assert found["pooled"]["dice"] == 1


@pytest.mark.parametrize("mpp", [0.2, 0.5])
def test_images_are_brought_to_the_models_mpp(study, mpp):
    found = study.add(mpp=mpp).scored().summary()
    assert (found["nuclei_predicted"], found["pooled"]["f1"]) == (9, 1)
    assert found["pooled"]["dice"] > 0.95


def test_dots(study):
    study.add(CENTRES[:4], dots=[*CENTRES[:3], (25, 20), (60, 100)]).add(CENTRES[:2], dots=CENTRES[:2], group="B")
    found = study.scored().as_dict()
    assert (found["truth"], found["nuclei_true"], found["nuclei_predicted"]) == ("dots", 7, 6)
    assert found["pooled"] == {"f1": round(10 / 13, 4), "precision": round(5 / 6, 4), "recall": round(5 / 7, 4)}
    assert found["mean_of_images"]["recall"] == 0.8
    assert found["intervals"]["recall"] == [0.6, 1.0]
    assert found["outlined"] is found["thesis"] is None
    assert found["per_image"][0]["f1"] == round(6 / 9, 4)


def test_truth_of_another_size_is_refused(study):
    study.add(labels=np.zeros((SIDE, SIDE + 1)))
    with pytest.raises(SettingsError, match=r"E-DATA.*differ in size.*0\.png"):
        study.scored()


def test_a_device_that_is_not_there_is_refused(study):
    with pytest.raises(SettingsError, match="E-DEVICE"):
        study.add().scored(device="cuda:99")


def test_a_summary_fits_into_a_bundle(study):
    summary = study.add().scored().summary()
    spec = ModelSpec(
        **(GOOD | {"classes": load_bundle(study.bundle).spec.classes, "metrics": {"study val": summary}})
    )
    assert ModelSpec.from_json(spec.to_json()).metrics["study val"] == summary
    assert "per_image" not in summary
    assert str(study.folder) not in json.dumps(summary)


def test_the_command_prints_json_or_a_table(study, capsys):
    study.add(**with_boxes(3)).add(group="B")
    study.index()
    command = [
        "evaluate",
        "--model",
        str(study.bundle),
        "--data",
        str(study.folder),
        "--split",
        "val",
        "--boxes",
        "count",
    ]
    assert _status([*command, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == study.scored(count_boxes=True).as_dict()
    assert _status(command) == 0
    printed = capsys.readouterr().out
    assert "toy 1 on study, val: 2 images of 2 groups\n18 nuclei found, 18 true\n" in printed
    assert "F1            1.0000   1.0000 to 1.0000   1.0000" in printed
    assert "Each of 15 outlined nuclei" in printed
    assert "boxes count as nuclei" in printed
    assert "2/2 images" not in printed


def test_the_table_of_dots(study, capsys):
    study.add(dots=CENTRES[:5]).index()
    command = ["evaluate", "--model", str(study.bundle), "--data", str(study.folder), "--split", "val"]
    assert _status(command) == 0
    printed = capsys.readouterr().out
    assert "recall        1.0000   one group only     1.0000" in printed
    assert "A nucleus that holds a dot is found" in printed
    assert "Dice" not in printed


@pytest.mark.slow
@pytest.mark.parametrize("split", ["val", "test"])
def test_the_default_bundle_reproduces_its_card(shared, split):
    """The other sets of the card take minutes: `benchmarks/card.py`."""
    data = shared / "data" / "tnbc"
    if not data.is_dir():
        pytest.skip("TNBC is not beside the repository")
    bundle = load_bundle(DEFAULT_BUNDLE)
    stored = bundle.spec.metrics[f"tnbc {split}"]
    found = evaluate_bundle(bundle, data, split).summary()
    assert found["pooled"]["dice"] > 0.8
    assert found["nuclei_predicted"] == stored["nuclei_predicted"]
    for part in ("pooled", "mean_of_images", "thesis"):
        assert found[part] == pytest.approx(stored[part], abs=5e-4)
    for name, interval in stored["intervals"].items():
        assert found["intervals"][name] == pytest.approx(interval, abs=5e-4)
