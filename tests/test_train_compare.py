"""Comparison: what is read of trainings, table 5.1, figures, panels, and the pages that hold them."""

import itertools
import json
from html.parser import HTMLParser
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from tiny_models import SPEC, describe_model, training_of, write_model
from training_data import write_fields

from wsiseg.errors import BundleError, SettingsError
from wsiseg.models.network import build_network, count_parameters
from wsiseg.train.compare import speed
from wsiseg.train.compare.chapters import epochs_section
from wsiseg.train.compare.comparison import compare_runs
from wsiseg.train.compare.document import Picture, Section, as_html, as_markdown
from wsiseg.train.compare.fields import chosen_fields
from wsiseg.train.compare.measured import Measured
from wsiseg.train.compare.panels import FOUND, INVENTED, MISSED, Guess, PanelRow, agreement, draw_panels
from wsiseg.train.compare.plots import SpeedPoint, draw_curves, draw_speed
from wsiseg.train.compare.runs import read_runs
from wsiseg.train.confusion import Confusion
from wsiseg.train.evaluate import evaluate_bundle
from wsiseg.train.figures import painted
from wsiseg.train.metrics import Counts, OutlineCounts
from wsiseg.train.scores import EvaluationResult, FieldScore
from wsiseg.train.tables import Table


def read_one(tmp_path, **changes):
    return read_runs([describe_model(tmp_path / "model", **changes)])[0]


# Runs


def test_a_training_and_a_bundle_are_both_read(tmp_path):
    training = describe_model(tmp_path / "out/bundle", name="a", training=training_of([0.5, 0.7])).parent
    bundle = describe_model(tmp_path / "b", name="b", training={"history": [{"step": 200, "loss": 1.0}]})
    first, second = read_runs([training, bundle])
    assert (first.name, second.name) == ("a", "b")
    assert [epoch.epoch for epoch in first.epochs] == [1, 2]
    assert (first.epochs[0].train.loss, first.epochs[0].val.iou, first.epochs[1].val.fscore) == (
        0.4,
        0.5,
        0.7 + 0.1,
    )
    assert second.epochs == ()  # a history of another form


def test_the_best_epoch_is_the_first_of_the_highest_validation_iou(tmp_path):
    assert read_one(tmp_path, training=training_of([0.5, 0.7, 0.6, 0.7])).best.epoch == 2


def test_equal_names_give_way_to_folders_and_these_to_paths(tmp_path):
    folders = [describe_model(tmp_path / place) for place in ("x/one", "x/two", "y/two")]
    assert [run.name for run in read_runs(folders[:2])] == ["one", "two"]
    assert [run.name for run in read_runs(folders)] == ["one", str(folders[1]), str(folders[2])]


def test_an_unfinished_training_is_refused(tmp_path):
    (tmp_path / "epochs.csv").write_text("epoch\n1\n")
    with pytest.raises(BundleError, match="nor a finished") as refused:
        read_runs([tmp_path])
    assert refused.value.code == "E-BUNDLE-MISSING"


def test_a_folder_named_twice_is_refused(tmp_path):
    folder = describe_model(tmp_path / "model")
    with pytest.raises(SettingsError, match="twice"):
        read_runs([folder, tmp_path / "x" / ".." / "model"])


@pytest.mark.parametrize(
    ("training", "start"),
    [
        (training_of(encoder_weights=""), "random weights"),
        (training_of(encoder_weights="imagenet"), "ImageNet weights"),
        (training_of(encoder_weights="weights/lite0.safetensors"), "lite0.safetensors"),
        (training_of(start_from="nuclei-025"), "the bundle nuclei-025"),
        ({}, "weights not stated"),
        ({"config": [1]}, "weights not stated"),
    ],
)
def test_what_a_training_began_with_is_named(tmp_path, training, start):
    assert read_one(tmp_path, training=training).start == start


# Table 5.1


def test_table_5_1_has_the_best_epoch_and_the_thesis_beside_it(tmp_path):
    run = read_one(tmp_path, name="mine", encoder="resnet34", training=training_of([0.61, 0.65, 0.63]))
    table = epochs_section([run]).table
    assert table.rows == (
        ("mine", "random weights", "2 of 3", "0.4000", "0.8000", "0.9000", "0.5000", "0.6500", "0.7500", "0.6300"),
        ("ResNet-34 in the thesis", "ImageNet weights", "", "0.1694", "0.8539", "0.9205",
         "0.3798", "0.7019", "0.8223", ""),
    )  # fmt: skip
    assert table.quiet == {1}


def test_the_thesis_row_stands_once_below_the_last_of_its_encoder(tmp_path):
    names = {"a": "efficientnet-b2", "b": "inceptionv3", "c": "efficientnet-b2", "d": "mobilenet_v2"}
    folders = [
        describe_model(tmp_path / name, name=name, encoder=encoder, training=training_of([0.5]))
        for name, encoder in names.items()
    ]
    table = epochs_section(read_runs(folders)).table
    shown = [row[0] for row in table.rows]
    assert shown == ["a", "b", "Inception-V3 in the thesis", "c", "EfficientNet-B2 in the thesis", "d"]
    assert table.quiet == {2, 4}


def test_networks_that_began_at_random_are_named(tmp_path):
    folders = [
        describe_model(tmp_path / name, name=name, training=training_of([0.5], weights))
        for name, weights in (("chance", ""), ("taught", "imagenet"))
    ]
    notes = " ".join(epochs_section(read_runs(folders)).notes)
    assert "random weights, not with ImageNet's: chance." in notes
    assert "taught" not in notes


def test_losses_of_different_heads_are_said_not_to_compare(tmp_path):
    folders = [
        describe_model(tmp_path / head, name=head, head=head, training=training_of([0.5]))
        for head in ("nuclei", "semantic")
    ]
    runs = read_runs(folders)
    assert "different heads" in " ".join(epochs_section(runs).notes)
    assert "different heads" not in " ".join(epochs_section(runs[:1]).notes)


def test_trainings_on_other_data_or_for_other_times_are_said_not_to_compare(tmp_path):
    elsewhere, longer = training_of([0.5]), training_of([0.5])
    elsewhere["config"]["sources"] = [{"folder": "rings", "share": 1.0}]
    longer["steps"] = 1200
    trainings = {"a": training_of([0.5]), "b": elsewhere, "c": longer}
    runs = read_runs([describe_model(tmp_path / name, name=name, training=its) for name, its in trainings.items()])
    both = " ".join(epochs_section(runs).notes)
    on_both = "discs (75 % of the crops), rings (25 % of the crops)"
    assert f"do not compare: a: {on_both}; b: rings; c: {on_both}." in both
    assert "Trained for different times: a: 6 steps of 2 crops of 64 px; b: 6 steps" in both
    alone = " ".join(epochs_section(runs[:1]).notes)
    assert "different data" not in alone
    assert "different times" not in alone
    assert "different data" not in " ".join(epochs_section([runs[0], runs[2]]).notes)


# Figures


def decoded(png):
    return cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_COLOR_RGB)


def test_curves_draw_each_run_and_the_same_bytes_each_time(tmp_path):
    long = describe_model(tmp_path / "long", name="long", training=training_of([0.5, 0.6, 0.7]))
    short = describe_model(tmp_path / "short", name="short", training=training_of([0.5]))
    runs = read_runs([long, short])
    both, one = draw_curves(runs), draw_curves(runs[:1])
    assert both == draw_curves(runs)
    orange = (213, 94, 0)  # the second run's colour: a single epoch must be visible too
    assert (decoded(both) == orange).all(2).any()
    assert not (decoded(one) == orange).all(2).any()


def test_accuracy_lies_over_speed():
    def centre(speed, accuracy):
        other = SpeedPoint("other", 10.0, 0.6, None, 1)
        picture = decoded(draw_speed([SpeedPoint("one", speed, accuracy, (0.1, 0.9), 1), other], "IoU"))
        rows, columns = np.nonzero((picture[150:] == (0, 114, 178)).all(2))  # below the legend
        return rows.mean(), columns.mean()

    low, high, fast = centre(4, 0.4), centre(4, 0.8), centre(8, 0.4)
    assert high[0] < low[0] - 50
    assert fast[1] > low[1] + 50


def test_pixels_are_painted_by_whether_they_are_right():
    truth, guess = np.array([[1, 1, 0, 0, 1]], bool), np.array([[1, 0, 1, 0, 1]], bool)
    counted = np.array([[1, 1, 1, 1, 0]], bool)
    rgb = np.full((1, 5, 3), 255, np.uint8)
    found = painted(rgb, counted, agreement(truth, guess))[0].astype(int)
    for place, colour in enumerate((FOUND, MISSED, INVENTED)):
        assert np.abs(found[place] - (0.72 * np.array(colour) + 0.28 * 255)).max() <= 1
    assert (found[3:] == 255).all()  # rightly left alone; and not counted


def test_panels_have_a_picture_for_each_field_and_model():
    rgb = np.full((40, 60, 3), 200, np.uint8)
    nothing, everything = np.zeros((40, 60), bool), np.ones((40, 60), bool)
    row = PanelRow("field 1 of 2", rgb, nothing, everything, (Guess(everything, 0.1), Guess(nothing, 0.9)))
    one, two = (decoded(draw_panels([row] * count, ["a", "b"])) for count in (1, 2))
    assert two.shape[0] > one.shape[0] + 150
    assert two.shape[1] == one.shape[1]
    invented = np.abs(two.astype(int) - painted(rgb, everything, {INVENTED: everything})[0, 0]).max(2) <= 2
    columns = np.nonzero(invented[: -two.shape[0] // 8].any(0))[0] / two.shape[1]
    assert 0.5 < columns.min() < columns.max() < 0.75  # the third of four pictures


def test_fields_are_chosen_by_rank_from_worst_to_best():
    def scored(*values):
        return SimpleNamespace(fields=[SimpleNamespace(pixels=SimpleNamespace(iou=value)) for value in values])

    first, second = scored(0.9, 0.1, 0.5, 0.3, 0.7, 0.2, 0.6), scored(0.9, 0.3, 0.5, 0.3, 0.7, 0.0, 0.6)
    assert chosen_fields([first, second]) == [(1, 5), (3, 3), (4, 2), (5, 6), (7, 0)]
    assert chosen_fields([scored(0.4, 0.2)]) == [(1, 1), (2, 0)]


# What was measured


def field_score(group, right, wrong):
    return FieldScore("image", group, Counts(), OutlineCounts(), Confusion(right, wrong, wrong, right))


def test_iou_is_the_mean_of_fields_and_its_interval_over_patients(tmp_path):
    run = read_one(tmp_path, training=training_of([0.6, 0.4]))
    fields = field_score("A", 2, 1), field_score("A", 6, 1), field_score("B", 1, 1)
    one, two, three = 2 / 4, 6 / 8, 1 / 3
    model = Measured(run, 1, 1.0, EvaluationResult(run.bundle, "data", "val", "ignore", fields))
    assert model.iou == pytest.approx((one + two + three) / 3, abs=1e-4)
    assert model.iou_interval == pytest.approx((three, (one + two) / 2), abs=1e-4)  # only B drawn; only A drawn
    alone = Measured(run, 1, 1.0, EvaluationResult(run.bundle, "data", "val", "ignore", fields[:2]))
    assert alone.iou_interval is None
    unseen = Measured(run, 1, 1.0, None)
    assert (unseen.iou, unseen.iou_interval) == (0.6, None)


def test_seconds_per_mm2_follow_from_tiles_and_resolution(tmp_path):
    model = Measured(read_one(tmp_path, mpp=0.25), 1, 10.0, None)
    assert model.seconds_per_mm2 == pytest.approx(1 / (0.064 * 0.064 * 10))


# Speed


def test_speed_is_that_of_the_median_pass(monkeypatch):
    class Predictor:
        def __init__(self, *_):
            self.seconds = itertools.chain([9, 9], itertools.cycle([1, 1, 4]))  # two warm-ups first

        def predict(self, tiles):
            assert tiles.shape == (4, 256, 256, 3)
            clock["now"] += next(self.seconds)

    clock = {"now": 0.0}
    monkeypatch.setattr(speed, "TorchPredictor", Predictor)
    monkeypatch.setattr(speed.time, "perf_counter", lambda: clock["now"])
    assert speed.tiles_per_second(None, seconds=5.0) == 4.0
    assert clock["now"] == 18 + 6


def test_parameters_are_those_that_training_learns():
    network = build_network(SPEC)
    learned = [
        value for name, value in network.state_dict().items() if "running" not in name and "num" not in name
    ]
    assert count_parameters(SPEC) == sum(value.numel() for value in learned)


# Documents

NASTY = 'a|b <script src="http://x.example/y.js">'


class Page(HTMLParser):
    """Collects what a page is made of."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.texts = [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.texts.append(data)


def document():
    table = Table(("model", "figure"), ((NASTY, "0.5"), ("quiet", "")), frozenset({1}))
    png = draw_speed([SpeedPoint("one", 1.0, 0.5, None, 1)], "IoU")
    return [Section("Title", (NASTY,), table, Picture("speed.png", png, NASTY), (NASTY,))]


def test_a_page_loads_nothing_and_escapes_everything():
    page = Page(as_html("T", document(), "footer"))
    assert not [tag for tag, _ in page.tags if tag in {"script", "link", "iframe"}]
    sources = [attrs["src"] for _, attrs in page.tags if "src" in attrs]
    assert len(sources) == 1
    assert sources[0].startswith("data:image/png;base64,")
    assert page.texts.count(NASTY) == 3
    assert "default-src 'none'" in str(page.tags)


def test_a_tables_figures_are_aligned_and_its_cells_hold():
    lines = as_markdown("T", document()).splitlines()
    start = lines.index("| model | figure |")
    assert lines[start + 1 : start + 4] == [
        "| --- | ---: |",
        '| a\\|b <script src="http://x.example/y.js"> | 0.5 |',
        "| *quiet* |  |",
    ]


# The whole


@pytest.fixture(scope="module")
def compared(tmp_path_factory):
    root = tmp_path_factory.mktemp("compared")
    data = write_fields(root / "discs", splits=("val", "val", "train"), side=96)
    training = write_model(root / "out/bundle", name="trained", training=training_of([0.6, 0.5])).folder.parent
    bundle = write_model(root / "bundle", name="alone", head="nuclei").folder
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("wsiseg.train.compare.comparison.tiles_per_second", lambda *_: 7.5)
        compare_runs([bundle, training], root / "cmp", data, "val", "cpu")
    return root


def test_a_comparison_writes_everything(compared):
    names = {path.name for path in (compared / "cmp").iterdir()}
    pictures = {"curves.png", "panels.png", "speed.png"}
    assert names == pictures | {"comparison.md", "comparison.html", "comparison.json"}
    text = (compared / "cmp/comparison.md").read_text("utf-8")
    assert all(f"]({name})" in text for name in pictures)
    assert "| trained | random weights | 1 of 2 |" in text
    assert "The thesis has 0.7101, of a single batch" in text
    page = Page((compared / "cmp/comparison.html").read_text("utf-8"))
    assert sum(tag == "img" for tag, _ in page.tags) == 3


def test_its_record_holds_what_was_measured(compared):
    record = json.loads((compared / "cmp/comparison.json").read_bytes())
    trained, alone = record["models"]  # trainings first
    assert (trained["name"], alone["name"]) == ("trained", "alone")
    assert (trained["best_epoch"]["epoch"], trained["last_epoch"]["epoch"], alone["best_epoch"]) == (1, 2, None)
    assert trained["tiles_per_second"] == 7.5
    assert trained["began_with"] == "random weights"
    assert (trained["mpp"], trained["seconds_per_mm2"]) == (0.5, 8.14)
    bundle = read_runs([compared / "bundle"])[0].bundle
    assert alone["evaluation"] == evaluate_bundle(bundle, compared / "discs", "val", "cpu").summary()


def test_without_data_nothing_is_left_of_earlier_panels(compared, tmp_path, monkeypatch):
    monkeypatch.setattr("wsiseg.train.compare.comparison.tiles_per_second", lambda *_: 7.5)
    (tmp_path / "panels.png").write_bytes(b"of other models")
    compare_runs([compared / "out"], tmp_path)
    assert not (tmp_path / "panels.png").exists()
    assert (tmp_path / "speed.png").exists()
    assert json.loads((tmp_path / "comparison.json").read_bytes())["models"][0]["evaluation"] is None


def test_a_folder_without_truth_to_draw_is_refused_before_any_work(compared, tmp_path):
    (tmp_path / "index.csv").write_text("image,labels,group,split,mpp\n")
    with pytest.raises(SettingsError, match="instances") as refused:
        compare_runs([compared / "bundle"], tmp_path / "cmp", tmp_path)
    assert refused.value.code == "E-DATA"
    assert not (tmp_path / "cmp").exists()
