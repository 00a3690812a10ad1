"""Model cards: their figures are the bundle's, and their pictures show the worst fields."""

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from tiny_models import describe_model, training_of, write_model
from training_data import write_fields

from wsiseg.errors import SettingsError
from wsiseg.models.bundle import bundle_names, load_bundle
from wsiseg.train import failures
from wsiseg.train.card import render_card, write_card
from wsiseg.train.evaluate import evaluate_bundle
from wsiseg.train.failures import FOUND, TRUTH, compared, draw_failures

ROOT = Path(__file__).resolve().parent.parent
WORDS = "<!-- card: title -->\n\n<!-- card: facts -->\n\n<!-- card: figures -->\n\n<!-- card: failures -->\n"
SUMMARY = {
    "data": "tnbc",
    "split": "val",
    "images": 6,
    "groups": 2,
    "nuclei_true": 1465,
    "pooled": {"dice": 0.83, "f1": 0.7961, "precision": 0.8031, "recall": 0.7892, "pq": 0.6273, "aji": 0.6549},
    "intervals": {"dice": [0.781, 0.858], "f1": [0.7, 0.9], "pq": None, "aji": None},
}
DOTS = SUMMARY | {
    "data": "dots",
    "pooled": {"f1": 0.5, "precision": 0.6, "recall": 0.7},
    "intervals": {"f1": None},
}


@pytest.fixture
def folder(tmp_path):
    metrics = {"tnbc val": SUMMARY, "dots val": DOTS}
    place = describe_model(tmp_path / "tiny", metrics=metrics, training=training_of())
    (place / "weights.safetensors").write_bytes(bytes(1_230_000))
    return place


def written(folder, words=None):
    write_card(load_bundle(folder), words)
    return (folder / "README.md").read_text("utf-8")


def test_the_figures_are_the_bundles_with_intervals(folder):
    card = render_card(load_bundle(folder), WORDS)
    shown = "0.830 (0.78 to 0.86) | 0.796 (0.70 to 0.90) | 0.627 | 0.655 | 0.803 | 0.789"
    assert f"| tnbc | val | 6 | 2 | 1,465 | {shown} |" in card
    assert "| dots | val | 6 | 2 | 1,465 |  | 0.500 |  |  | 0.600 | 0.700 |" in card


def test_the_facts_are_the_bundles(folder):
    card = render_card(load_bundle(folder), WORDS)
    assert card.startswith("# tiny 0.0.1\n")
    assert "| Network | unet, encoder mobilenet_v2, " in card
    assert "| Weights | 1.2 MB, Apache-2.0 |" in card
    assert "| Resolution | 0.5 um/px |" in card
    assert "| Trained on | discs (75 % of the crops), rings (25 % of the crops) |" in card
    assert "| Training | 6 steps of 2 crops of 64 px, begun with random weights |" in card


def test_a_single_source_needs_no_share(tmp_path):
    training = training_of()
    training["config"]["sources"] = [{"folder": "discs", "share": 1.0}]
    folder = describe_model(tmp_path / "tiny", training=training)
    (folder / "weights.safetensors").write_bytes(b"")
    assert "| Trained on | discs |" in written(folder)


def test_a_bundle_that_tells_nothing_still_gets_a_card(tmp_path):
    folder = describe_model(tmp_path / "tiny", training={"config": "lost"})
    (folder / "weights.safetensors").write_bytes(b"")
    text = written(folder)
    assert "nobody has evaluated" in text
    assert "not for diagnosis" in text
    assert "Trained on" not in text
    assert "<!--" not in text


def test_pictures_are_shown_where_they_are(folder):
    assert "](failures.jpg)" not in render_card(load_bundle(folder), WORDS)
    (folder / "failures.jpg").write_bytes(b"")
    bundle = load_bundle(folder)
    assert "](failures.jpg)" in render_card(bundle, WORDS)
    unscored = replace(bundle, spec=replace(bundle.spec, metrics={}))
    assert "](failures.jpg)" not in render_card(unscored, WORDS)  # they are of earlier weights


@pytest.mark.parametrize(
    "words",
    [WORDS.replace("figures", "figure"), WORDS + "<!-- card: title -->\n", WORDS.replace("facts", "title"), ""],
)
def test_words_without_every_mark_once_are_refused(folder, tmp_path, words):
    (tmp_path / "card.md").write_text(words)
    with pytest.raises(SettingsError, match="marks") as refused:
        write_card(load_bundle(folder), tmp_path / "card.md")
    assert refused.value.code == "E-CONFIG"


def test_absent_words_are_refused(folder, tmp_path):
    with pytest.raises(SettingsError, match="words"):
        write_card(load_bundle(folder), tmp_path / "absent.md")


@pytest.mark.parametrize("words", ["default_model/nuclei-025.md", "default_model/nuclei-050.md", "thesis/card.md"])
def test_the_words_of_the_recipes_hold_every_mark(folder, words):
    text = written(folder, ROOT / "workflows" / words)
    assert "<!--" not in text
    assert "not for diagnosis" in text


@pytest.mark.parametrize("name", bundle_names())
def test_a_shipped_card_is_what_its_bundle_says(name):
    bundle = load_bundle(name)
    words = (ROOT / f"workflows/default_model/{name}.md").read_text("utf-8")
    assert (bundle.folder / "README.md").read_text("utf-8") == render_card(bundle, words)


@pytest.mark.parametrize("name", bundle_names())
def test_the_shipped_pictures_are_small(name):
    assert 10_000 < (load_bundle(name).folder / "failures.jpg").stat().st_size < 300_000


# Pictures


def test_truth_is_filled_and_what_was_found_is_outlined():
    truth, found = np.zeros((20, 20), np.int32), np.zeros((20, 20), np.int32)
    truth[2:9, 2:9], found[11:18, 11:18] = 1, 1
    picture = compared(np.full((20, 20, 3), 255, np.uint8), truth, found).astype(int)
    assert np.abs(picture[5, 5] - (0.72 * np.array(TRUTH) + 0.28 * 255)).max() <= 1
    assert (picture[11, 14] == FOUND).all()
    assert (picture[14, 14] == 255).all()  # inside an outline
    assert (picture[2, 14] == 255).all()


def test_the_worst_fields_are_drawn_the_worst_first(tmp_path, monkeypatch):
    data = write_fields(tmp_path / "discs", splits=("val",) * 4, side=96)
    bundle = write_model(tmp_path / "model", head="nuclei")
    result = evaluate_bundle(bundle, data, "val", "cpu")
    matched = (3, 0, 5, 1)
    fields = tuple(
        replace(field, nuclei=replace(field.nuclei, true=9, predicted=9, matched=number))
        for field, number in zip(result.fields, matched, strict=True)
    )
    seen = []
    monkeypatch.setattr(failures, "_failure", lambda *rest: seen.append(rest[2].image.name))
    monkeypatch.setattr(failures, "_drawn", lambda _: None)
    monkeypatch.setattr(failures, "_as_jpeg", lambda _: b"")
    draw_failures(bundle, [(data, replace(result, fields=fields))], each=3, device="cpu")
    assert seen == ["1.png", "3.png", "0.png"]


def test_a_picture_is_a_small_jpeg(tmp_path):
    data = write_fields(tmp_path / "discs", splits=("val",) * 3)
    bundle = write_model(tmp_path / "model", head="nuclei")
    jpeg = draw_failures(bundle, [(data, evaluate_bundle(bundle, data, "val", "cpu"))], each=3, device="cpu")
    assert jpeg[:2] == b"\xff\xd8"
    assert len(jpeg) < 300_000
    picture = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)
    assert picture.shape[1] == 1200
    assert picture.shape[0] > 600  # two rows
