"""Evaluation of types, whole: a bundle that sees what discs are by their colour, on dots and on instance maps."""

import json
from dataclasses import replace

import numpy as np
import pytest
from test_train_evaluate import CENTRES, SIDE, Study, painted_discs
from toy import write_bundle

from wsiseg.cli import _status
from wsiseg.errors import SettingsError
from wsiseg.models.bundle import ClassSpec, load_bundle
from wsiseg.train import card
from wsiseg.train.evaluate import evaluate_bundle
from wsiseg.train.pixels import at_mpp

NAMES = "lymphocyte", "tumour", "stromal"
CLASSES = tuple(ClassSpec(value, name, (value, 0, 0)) for value, name in enumerate(NAMES, 1))
LYMPHOCYTE, TUMOUR, STROMAL = 1, 2, 3


def seen(rgb, mpp):
    """Maps at 0.25 um/px of discs whose red tells the class, 20 each, and whose green its probability."""
    pixels = at_mpp(rgb, mpp, 0.25).astype(int)
    dark = pixels[..., 0] < 100
    cells = pixels[2::4, 2::4]
    kind, sure = np.rint(cells[..., 0] / 20).astype(int), cells[..., 1]
    types = np.zeros(dark.shape, np.uint8)
    for place in range(3):
        share = np.where(kind == place + 1, sure, np.where(kind % 3 == place, 255 - sure, 0))
        types[place // 4 :: 4, place % 4 :: 4] = np.where(kind > 3, 0, share)
    return np.stack([255 * dark, 255 * dark, types]).astype(np.uint8)


class TypedStudy(Study):
    """Discs of classes, each with what it is taken for: (x, y) -> (true class, class seen, probability)."""

    def add_discs(self, discs, true=True, group="A", dots=None, mpp=0.25, names=None):
        labels = painted_discs(discs)
        rgb = np.full((SIDE, SIDE, 3), (215, 190, 235), np.uint8)
        values = np.zeros((SIDE, SIDE), np.uint8)
        for name, (value, kind, probability) in enumerate(discs.values(), 1):
            rgb[labels == name] = 20 * kind, round(255 * probability), 130
            values[labels == name] = value
        self.add(labels=labels, group=group, mpp=mpp, dots=[] if dots is not None else None)
        row = self.rows[-1]
        self.write(row["image"], rgb[..., ::-1])
        if dots is not None:
            (self.folder / row["labels"]).write_text(
                "".join(f"{y} {x} {value}\n" for x, y, value in dots), "utf-8"
            )
        else:
            row["classes"] = f"{len(self.rows)}_classes.png" if true else ""
        if row.get("classes"):
            self.write(row["classes"], values)
        if names:
            lines = "".join(f"{value},{name}\n" for value, name in names.items())
            (self.folder / "classes.csv").write_text(f"value,name\n{lines}", "utf-8")
        return self

    def scored(self, **options):
        self.index()
        bundle = load_bundle(self.bundle)
        typed = replace(bundle, spec=replace(bundle.spec, classes=CLASSES))
        return evaluate_bundle(typed, self.folder, "val", **options)


@pytest.fixture
def study(tmp_path, monkeypatch):
    monkeypatch.setattr("wsiseg.train.evaluate._field_maps", lambda *_: seen)
    (tmp_path / "study").mkdir()
    return TypedStudy(tmp_path / "study", write_bundle(tmp_path / "toy"))


def numbers_of(figures):
    return [figures[key] for key in ("predicted", "true", "matched")]


def right(discs, value=LYMPHOCYTE):
    return dict.fromkeys(discs, (value, value, 0.8))


KINDS = {
    CENTRES[0]: (LYMPHOCYTE, LYMPHOCYTE, 0.8),
    CENTRES[1]: (LYMPHOCYTE, TUMOUR, 0.6),
    CENTRES[2]: (TUMOUR, TUMOUR, 0.8),
    CENTRES[3]: (STROMAL, STROMAL, 1.0),
}


def test_dots(study):
    """One dot is beside its nucleus, one is missed, and one nucleus is invented."""
    dots = [(*place, value) for place, (value, _, _) in KINDS.items()]
    dots[3] = (dots[3][0] + 13, dots[3][1], STROMAL)  # 3.25 um
    study.add_discs(KINDS, dots=dots).add_discs(right(CENTRES[:2]), dots=[(*CENTRES[0], 1)], group="B")
    found = study.scored().summary()
    types = found["types"]
    assert found["truth"] == "dots"
    assert (types["matched_by"], types["fields"]) == ("distance", 2)
    assert list(types["classes"]) == list(NAMES)
    numbers = {name: numbers_of(each) for name, each in types["classes"].items()}
    assert numbers == {"lymphocyte": [3, 3, 2], "tumour": [2, 1, 1], "stromal": [1, 1, 0]}
    assert [each["f1"] for each in types["classes"].values()] == [round(4 / 6, 4), round(2 / 3, 4), 0]
    assert types["mean"]["f1"] == round((4 / 6 + 2 / 3) / 3, 4)
    assert types["confusion"] == {
        "true": ["lymphocyte", "tumour", "stromal"],
        "predicted": ["lymphocyte", "tumour", "stromal"],
        "nuclei": [[2, 1, 0], [0, 1, 0], [0, 0, 0]],
        "missed": [0, 0, 1],
        "invented": [1, 0, 1],
    }
    bins = [(each["from"], each["nuclei"], each["right"]) for each in types["calibration"]["bins"]]
    assert bins == [(0.6, 1, 0.0), (0.8, 3, 1.0)]
    assert types["calibration"]["expected_error"] == round((0.6 + 3 * 0.2) / 4, 4)
    assert types["classes"]["lymphocyte"]["intervals"]["recall"] == [0.5, 1.0]
    # What dots in nuclei tell is as ever.
    assert found["pooled"]["recall"] == round(4 / 5, 4)


@pytest.mark.parametrize("mpp", [0.25, 0.5])
@pytest.mark.parametrize(("steps", "matched"), [(0, 1), (1, 1), (-1, 1), (1 + 1e-3, 0), (-1.001, 0)])
def test_three_micrometres_are_those_of_the_image(study, mpp, steps, matched):
    x, y = CENTRES[4]
    dot = x, y + steps * 3 / mpp, LYMPHOCYTE
    found = study.add_discs(right([CENTRES[4]]), dots=[dot], mpp=mpp).scored().summary()["types"]
    assert found["classes"]["lymphocyte"]["matched"] == matched


def test_dots_of_unknown_class_and_of_none(study):
    study.add_discs(right(CENTRES[:3]), dots=[(*CENTRES[0], 0), (*CENTRES[1], 1)])
    figures = study.scored().summary()["types"]["classes"]["lymphocyte"]
    assert numbers_of(figures) == [2, 1, 1]
    study.rows.clear()
    study.add_discs(right(CENTRES[:3]), dots=[(*CENTRES[0], 0)])
    assert "types" not in study.scored().summary()
    study.rows.clear()
    study.add_discs(right(CENTRES[:3]), dots=[(*CENTRES[0], 4)])
    with pytest.raises(SettingsError, match=r"E-DATA.*no class has the value 4.*0\.txt"):
        study.scored()


def test_instance_maps_by_the_names_of_both(study):
    names = {5: "stromal", 1: "tumor_any", 2: "lymphocyte"}
    discs = {
        CENTRES[0]: (5, STROMAL, 0.8),
        CENTRES[1]: (1, TUMOUR, 0.8),
        CENTRES[2]: (2, TUMOUR, 0.8),
        CENTRES[3]: (0, LYMPHOCYTE, 0.8),
    }
    types = study.add_discs(discs, names=names).scored().summary()["types"]
    assert types["matched_by"] == "iou"
    assert types["confusion"]["true"] == ["stromal", "tumor_any", "lymphocyte"]
    assert types["confusion"]["nuclei"] == [[0, 0, 1], [0, 1, 0], [0, 1, 0]]
    assert types["confusion"]["missed"] == types["confusion"]["invented"] == [0, 0, 0]
    assert {name: each["f1"] for name, each in types["classes"].items()} == {"lymphocyte": 0, "stromal": 1}
    assert types["mean"]["f1"] == 0.5
    assert types["calibration"]["nuclei"] == 2


def test_what_does_not_count_has_no_type(study):
    """The upper discs are outside the field, those on the right only boxes; one is missed and one invented."""
    discs = right(CENTRES)
    study.add_discs(discs)
    row = study.rows[-1]
    ignore = np.zeros((SIDE, SIDE), np.uint8)
    ignore[:, 85:] = 2
    ignore[:40] = 1
    row["ignore"] = "ignore.png"
    study.write("ignore.png", ignore)
    labels = painted_discs(CENTRES).astype(np.uint16)
    labels[labels == 4] = 0  # seen, not labelled
    labels[45:51, 35:45] = 12
    study.write(row["instances"], labels)
    values = np.where(labels > 0, TUMOUR, 0).astype(np.uint8)
    study.write(row["classes"], values)
    confusion = study.scored().summary()["types"]["confusion"]
    assert confusion["nuclei"] == [[0, 0, 0], [3, 0, 0], [0, 0, 0]]
    assert (confusion["missed"], confusion["invented"]) == ([0, 1, 0], [1, 0, 0])
    counted = study.scored(count_boxes=True).summary()["types"]["confusion"]
    assert counted["nuclei"][1][0] == 5


def test_without_classes_in_truth_or_bundle_nothing_is_said(study):
    study.add_discs(right(CENTRES), true=False)
    assert "types" not in study.scored().summary()
    study.add_discs(right(CENTRES))
    assert study.scored().summary()["types"]["fields"] == 1
    one = evaluate_bundle(load_bundle(study.bundle), study.folder, "val")
    assert one.classes is None
    assert "types" not in one.summary()


def test_the_command_and_the_card_show_types(study, monkeypatch, capsys):
    dots = [(*place, value) for place, (value, _, _) in KINDS.items()]
    result = study.add_discs(KINDS, dots=dots).add_discs(right(CENTRES[:2]), dots=[], group="B").scored()
    monkeypatch.setattr("wsiseg.train.evaluate.evaluate_bundle", lambda *_, **__: result)
    command = ["evaluate", "--model", str(study.bundle), "--data", str(study.folder), "--split", "val"]
    assert _status([*command, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["types"] == result.summary()["types"]
    assert _status(command) == 0
    printed = capsys.readouterr().out
    assert "lymphocyte             2      3  0.400 (0.00 to 0.67)      0.333   0.500\n" in printed
    assert "within 3 um of the dot; what is left of either is wrong.\n" in printed
    assert "truth            lymphocyte  tumour  stromal  missed\n" in printed
    assert "no true nucleus           2       0        0\n" in printed
    assert "Of 4 matched nuclei 75.0% have the class that they were taken for" in printed
    typed = replace(result.bundle, spec=replace(result.bundle.spec, metrics={"study val": result.summary()}))
    shown = card._figures(typed)
    assert "### Types: study, val\n\n| type | true | found | F1 | precision | recall |" in shown
    assert "| truth | lymphocyte | tumour | stromal | missed |" in shown
    assert "expected calibration error" in shown
