"""NuCLS as published becomes training fields: its traps, its two modes, and the real fields."""

from __future__ import annotations

import csv
import json
from collections import Counter

import cv2
import numpy as np
import pytest
from nucls_fields import (
    FIELD_BOX,
    ROWS,
    SIZE,
    Row,
    box,
    diamond,
    mask_of,
    name_of,
    pixels_of,
    write_field,
    write_png,
    write_set,
    write_table,
)
from PIL import ImageFile

from wsiseg import fsio
from wsiseg.errors import OutputError, SettingsError
from wsiseg.train.classes import classes_of_nuclei, read_class_map, read_class_names
from wsiseg.train.data import BOX_ONLY, COUNTED, OUTSIDE_FIELD, read_ignore, read_index, read_labels, read_rgb
from wsiseg.train.nucls.decode import UnusableFileError, decode_png
from wsiseg.train.nucls.drawing import draw_nuclei, field_inside, mask_nuclei
from wsiseg.train.nucls.modes import split_files, split_patients
from wsiseg.train.nucls.prepare import prepare_nucls
from wsiseg.train.nucls.published import FieldName, PublishedField, field_files, read_field


def read(source, name):
    return read_field(source / "rgb" / f"{name}.png")


def tree(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in fsio.files_below(folder)}


def rows_of(path):
    with path.open(newline="", encoding="utf-8") as lines:
        return list(csv.DictReader(lines))


@pytest.fixture
def source(tmp_path):
    return tmp_path / "nucls"


# Reading


def test_a_name_gives_slide_patient_and_box():
    name = FieldName.parse("Ps.1_E_" + name_of("A0CM"))
    assert (name.patient, name.slide, name.size_level0) == ("TCGA-A2-A0CM", "TCGA-A2-A0CM-DX1", (256, 240))
    assert FieldName.parse("ALL_FOV_LOCATIONS") is None
    assert FieldName.parse(name_of("A0CM", level0=(240, 0))) is None


def test_classes_come_from_the_table_or_from_the_papers_grouping(source):
    name = name_of("A001")
    write_field(source, name)
    table = source / "csv" / f"{name}.csv"
    table.write_text(
        "raw_classification,super_classification,type,coords_x,coords_y\n"
        'plasma_cell,,polyline,"1,9,9","1,1,9"\n'
        'correction_fibroblast,,rectangle,"1,9,9,1","1,1,9,9"\n'
        'tumor,sTIL,rectangle,"1,9,9,1","1,1,9,9"\n'
        'unlabeled,,point,"50","60"\n'
    )
    nuclei = read(source, name).nuclei
    assert [(n.raw_class, n.main_class, n.super_class, n.kind) for n in nuclei] == [
        ("plasma_cell", "plasma_cell", "sTIL", "outline"),
        ("fibroblast", "nonTILnonMQ_stromal", "nonTIL_stromal", "box"),
        ("tumor", "tumor_nonMitotic", "sTIL", "box"),
        ("unlabeled", "AMBIGUOUS", "AMBIGUOUS", "point"),
    ]
    assert nuclei[1].area_um2 == pytest.approx(64 * 0.04)
    assert nuclei[3].ring.mean(0).tolist() == [50, 60]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("a,b\n1,2\n", "columns are missing: raw_classification, type, coords_x, coords_y"),
        (
            'raw_classification,type,coords_x,coords_y\ntumor,polyline,"1,2,3","1,2"\n',
            "row 1: coords_x and coords_y",
        ),
        (
            'raw_classification,type,coords_x,coords_y\ntumor,polyline,"1,2,x","1,2,3"\n',
            "row 1: a coordinate is not",
        ),
        ('raw_classification,type,coords_x,coords_y\ntumor,polyline,"1,2,nan","1,2,3"\n', "row 1: coords_x and"),
        ("\xff\xfe\x00garbage", "not a CSV table"),
    ],
)
def test_a_broken_table_is_named_with_the_reason(source, text, reason):
    name = name_of("A001")
    write_field(source, name)
    (source / "csv" / f"{name}.csv").write_bytes(text.encode("latin-1"))
    with pytest.raises(UnusableFileError) as refused:
        read(source, name)
    assert refused.value.file == f"csv/{name}.csv"
    assert refused.value.reason.startswith(reason)


@pytest.mark.parametrize("mask_size", [(301, 320), (299, 320), (300, 321), (298, 319)])
def test_image_and_mask_are_cut_to_their_common_size(source, mask_size):
    name = name_of("A001")
    rgb = write_field(source, name, mask_size=mask_size)
    field = read(source, name)
    common = tuple(np.minimum(SIZE, mask_size))
    assert field.rgb.shape[:2] == field.mask.codes.shape == common
    assert (field.rgb == rgb[: common[0], : common[1]]).all()


def test_another_fields_mask_is_refused(source):
    name = name_of("A001")
    write_field(source, name, mask_size=(200, 320))
    with pytest.raises(UnusableFileError, match="image and mask differ in size: 320 x 300 and 320 x 200"):
        read(source, name)


# Decoding


@pytest.fixture
def picture(tmp_path):
    path = tmp_path / "rgb" / "picture.png"
    write_png(path, np.random.default_rng(1).integers(0, 255, (60, 50, 3), dtype=np.uint8))
    return path


@pytest.mark.parametrize("lenient", [False, True])
def test_every_cut_and_every_changed_byte_is_found(picture, lenient, monkeypatch):
    """Also where somebody has told Pillow to fill up what is missing."""
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", lenient)
    whole, truth = picture.read_bytes(), decode_png(picture)
    random = np.random.default_rng(2)
    for cut in [0, 1, 8, 20, 33, 40, *random.integers(50, len(whole), 20), len(whole) - 1]:
        picture.write_bytes(whole[:cut])
        with pytest.raises(UnusableFileError, match=r"empty|not a PNG|cut short"):
            decode_png(picture)
    for at in [0, 9, 17, 30, *random.integers(0, len(whole), 40)]:
        changed = bytearray(whole)
        changed[at] ^= 0x10
        picture.write_bytes(changed)
        with pytest.raises(UnusableFileError):
            decode_png(picture)
    picture.write_bytes(whole)
    assert (decode_png(picture) == truth).all()


# Drawing


def test_pixels_are_those_whose_centre_is_inside(source):
    name = name_of("A001")
    write_field(source, name)
    labels = draw_nuclei(read(source, name).nuclei, SIZE)
    expected = np.zeros(SIZE, int)
    for number in (2, 4, 1, 3):  # boxes first, outlines over them
        expected[pixels_of(ROWS[number - 1])] = number
    assert (labels == expected).all()


def test_small_nuclei_lie_over_large_ones_and_beyond_the_edge_is_cut(source):
    name = name_of("A001")
    write_field(source, name, (box("tumor", 50, 50, 60, 60), box("tumor", 40, 40, 400, 90)), mask_size=None)
    labels = draw_nuclei(read(source, name).nuclei, SIZE)
    assert (labels[50:60, 50:60] == 1).all()
    assert Counter(labels.ravel().tolist()) == {0: 300 * 320 - 280 * 50, 1: 100, 2: 280 * 50 - 100}


def test_a_masks_objects_are_numbered_as_the_rows(source):
    """Also where products of channels 1 and 2 meet: 1 x 6 = 2 x 3."""
    name = name_of("A001")
    write_field(source, name)
    mask = mask_of(ROWS)
    mask[mask[..., 2] == 4, 1:] = (2, 3)  # row 2; row 4 has (1, 6)
    write_png(source / "mask" / f"{name}.png", mask)
    field = read(source, name)
    expected = np.zeros(SIZE, int)
    for number, row in enumerate(ROWS, 1):
        expected[pixels_of(row)] = number
    assert (mask_nuclei(field.mask, field.nuclei) == expected).all()


def test_objects_without_a_row_get_numbers_above_the_rows(source):
    name = name_of("A001")
    write_field(source, name, ROWS)
    write_table(source / "csv" / f"{name}.csv", ROWS[:2])
    field = read(source, name)
    labels = mask_nuclei(field.mask, field.nuclei)
    assert set(np.unique(labels[pixels_of(ROWS[3])])) == {max(5, labels.max())}
    assert (labels > 0).sum() == np.isin(field.mask.codes, (0, 253), invert=True).sum()


def test_a_mask_without_nuclei_gives_none(source):
    name = name_of("A001")
    write_field(source, name, ())
    field = read(source, name)
    assert not mask_nuclei(field.mask, field.nuclei).any()
    assert not draw_nuclei(field.nuclei, SIZE).any()


# Strict


def test_strict_ignores_boxes_and_what_lies_outside_the_field(source, tmp_path):
    names = write_set(source)
    prepare_nucls(source, tmp_path / "out")
    entries = [entry for split in ("train", "val", "test") for entry in read_index(tmp_path / "out", split)]
    (entry,) = [entry for entry in entries if entry.image.stem == names[-1]]
    labels = read_labels(entry.instances)
    ignore = read_ignore(entry, labels.shape)
    outline = pixels_of(ROWS[0]) | pixels_of(ROWS[2])
    boxes = (pixels_of(ROWS[1]) | pixels_of(ROWS[3])) & ~outline
    inside = np.zeros(SIZE, bool)
    inside[FIELD_BOX] = True
    assert (ignore[outline] == COUNTED).all()
    assert (ignore[boxes] == BOX_ONLY).all()
    assert (ignore[~outline & ~boxes] == np.where(inside, COUNTED, OUTSIDE_FIELD)[~outline & ~boxes]).all()
    assert cv2.imread(str(entry.instances), cv2.IMREAD_UNCHANGED).dtype == np.uint16
    assert (read_rgb(entry.image) == read(source, names[-1]).rgb).all()


@pytest.mark.parametrize(
    ("grouping", "names", "values"),
    [
        (None, ["tumor_any", "nonTIL_stromal", "sTIL", "other_nucleus"], (1, 3, 0, 2)),
        (
            "main",
            ["tumor_nonMitotic", "tumor_mitotic", "nonTILnonMQ_stromal", "macrophage", "lymphocyte",
             "plasma_cell", "other_nucleus"],
            (1, 5, 0, 3),
        ),
    ],
)  # fmt: skip
def test_strict_tells_what_each_nucleus_is(source, tmp_path, grouping, names, values):
    """Classes of no nucleus have their values too; an ambiguous nucleus hides what lies under it."""
    name = write_set(source)[0]
    content = prepare_nucls(source, tmp_path / "out", grouping=grouping).as_dict()
    assert content["grouping"] == (grouping or "super")
    assert list(read_class_names(tmp_path / "out").items()) == list(enumerate(names, 1))
    (entry,) = [entry for entry in read_index(tmp_path / "out", "all") if entry.image.stem == name]
    expected = np.zeros(SIZE, int)
    for number in (2, 4, 1, 3):
        expected[pixels_of(ROWS[number - 1])] = values[number - 1]
    assert (read_class_map(entry, SIZE) == expected).all()
    labels = read_labels(entry.instances)
    assert classes_of_nuclei(labels, read_class_map(entry, SIZE)).tolist() == list(values)


def test_the_thesis_knows_no_classes(source, tmp_path):
    write_set(source)
    with pytest.raises(SettingsError, match=r"E-USAGE.*--mode thesis does not tell classes apart"):
        prepare_nucls(source, tmp_path / "out", "thesis", grouping="super")
    assert prepare_nucls(source, tmp_path / "out", "thesis").as_dict()["grouping"] is None
    assert read_index(tmp_path / "out", "all")[0].classes is None
    assert not {"classes", "classes.csv"} & {path.name for path in (tmp_path / "out").iterdir()}


def test_without_a_mask_only_what_is_surely_inside_the_field_counts(source):
    """The image is 320 x 300 px of 256 x 240: the field of 256 px is wider than it; with 1.25 times, it is not."""
    name = name_of("A001", level0=(300, 320))  # 1 px of the slide = 1 px here: the field is 256 x 256
    write_field(source, name, (diamond("tumor", 20, 150, 10), box("tumor", 290, 100, 315, 120)), mask_size=None)
    inside = field_inside(read(source, name))
    # From left: the nucleus ending at 30 and the one starting at 290 both meet it, so it starts in 34..30: at 30.
    # Rows know no more than that 256 of 300 rows are the field.
    y, x = np.nonzero(inside)
    assert (y.min(), y.max() + 1) == (44, 256)
    assert (x.min(), x.max() + 1) == (34, 286)
    assert inside.sum() == (256 - 44) * (286 - 34)


def test_patients_are_split_and_no_split_is_empty():
    names = [FieldName.parse(name_of(f"B{patient:03}", number)) for patient in range(20) for number in range(3)]
    splits = split_patients(names)
    of_patient = {}
    for name, split in zip(names, splits, strict=True):
        of_patient.setdefault(name.patient, set()).add(split)
    assert all(len(its) == 1 for its in of_patient.values())
    assert Counter(next(iter(its)) for its in of_patient.values()) == {"train": 14, "val": 3, "test": 3}
    assert split_patients(names[::-1]) == splits[::-1]
    assert Counter(split_patients(names[:9])) == {"train": 3, "val": 3, "test": 3}
    assert set(split_patients(names[:6])) == {"train"}


# Thesis


def test_thesis_crops_the_center_and_takes_any_nucleus_of_the_mask(source, tmp_path):
    name = write_set(source, ("A001",), 1)[0]
    prepare_nucls(source, tmp_path / "out", "thesis")
    crop = slice(22, 278), slice(32, 288)
    labels = read_labels(tmp_path / "out" / "instances" / f"{name}.png")
    codes = mask_of(ROWS)[crop][..., 0]
    assert ((labels > 0) == ((codes != 253) & (codes != 0))).all()
    assert (read_rgb(tmp_path / "out" / "images" / f"{name}.png") == read(source, name).rgb[crop]).all()
    assert not (tmp_path / "out" / "ignore").exists()
    assert [row["id"] for row in rows_of(tmp_path / "out" / "nuclei.csv")] == ["1", "2", "3"]  # row 4 is cut away


def test_thesis_reports_what_its_own_rule_would_make_of_code_0(source, tmp_path):
    """Two fields with a rim, one wide enough to reach into the crop, and one without."""
    rims = {"A001": FIELD_BOX, "A002": (slice(0, 270), slice(0, 320)), "A003": (slice(0, 300), slice(0, 320))}
    for patient, rim in rims.items():
        write_field(source, name_of(patient))
        write_png(source / "mask" / f"{name_of(patient)}.png", mask_of(ROWS, field=rim))
    content = prepare_nucls(source, tmp_path / "out", "thesis").as_dict()
    found = {field["field"]: field for field in content["thesis_rule"]["fields"]}
    assert set(found) == {name_of("A001"), name_of("A002")}
    for patient in ("A001", "A002"):
        codes = mask_of(ROWS, field=rims[patient])[..., 0]
        nucleus = (codes != 0) & (codes != 253)
        assert found[name_of(patient)] == {
            "field": name_of(patient),
            "nucleus": nucleus.sum(),
            "nucleus_by_thesis_rule": (codes != 253).sum(),
            "outside_field": (codes == 0).sum(),
            "outside_field_in_crop": (codes[22:278, 32:288] == 0).sum(),
        }
    assert found[name_of("A001")]["outside_field_in_crop"] == 0
    assert found[name_of("A002")]["outside_field_in_crop"] == 8 * 256
    assert name_of("A002") in (tmp_path / "out" / "summary.md").read_text(encoding="utf-8")


def test_a_field_smaller_than_the_crop_is_left_out_of_the_thesis_only(source, tmp_path):
    write_set(source, ("A001",), 1)
    small = name_of("A002", level0=(200, 200))
    write_field(source, small, (), mask_size=None, size=(250, 250))
    assert prepare_nucls(source, tmp_path / "thesis", "thesis").left_out == (
        (f"rgb/{small}.png", "250 x 250 px, less than the crop of 256"),
    )
    assert len(prepare_nucls(source, tmp_path / "strict").records) == 2


def test_files_are_split_by_the_permutation_of_seed_42():
    """The first tenth of numpy's legacy permutation of 21: what scikit-learn's train_test_split takes too."""
    names = [FieldName.parse(name_of("A001", number)) for number in range(21)]
    assert [i for i, split in enumerate(split_files(names)) if split == "val"] == [0, 15, 17]


def test_the_leak_of_a_split_by_file_is_reported(source, tmp_path):
    write_set(source, ("A001", "A002"), 10)
    content = prepare_nucls(source, tmp_path / "out", "thesis").as_dict()
    assert content["splits"]["val"]["fields"] == 2
    assert content["patients_in_two_splits"] > 0


# The whole folder


def test_counts_classes_and_tables_agree(source, tmp_path):
    names = write_set(source)
    content = prepare_nucls(source, tmp_path / "out").as_dict()
    assert content["kinds"] == {"outline": 12, "box": 12, "point": 0}
    assert content["classes"]["lymphocyte"] == {"outline": 0, "box": 6, "point": 0}
    assert content["super_classes"]["AMBIGUOUS"] == {"outline": 6, "box": 0, "point": 0}
    assert sum(split["nuclei"] for split in content["splits"].values()) == content["nuclei"] == 24
    assert content["patients_in_two_splits"] == 0
    nuclei = rows_of(tmp_path / "out" / "nuclei.csv")
    assert len(nuclei) == 24
    assert [row for row in nuclei if row["image"] == f"images/{names[0]}.png"][1] == {
        "image": f"images/{names[0]}.png", "id": "2", "raw_class": "lymphocyte", "super_class": "sTIL",
        "label": "box", "area_um2": "12.00",
    }  # fmt: skip
    assert json.loads((tmp_path / "out" / "summary.json").read_text()) == content
    assert cv2.imread(str(tmp_path / "out" / "summary.png")).shape[1] > 1000


def test_broken_files_are_named_and_left_out_and_the_rest_is_prepared(source, tmp_path):
    good = write_set(source)
    bad = {kind: name_of("A009", number) for number, kind in enumerate(("cut", "garbage", "mask", "no table"))}
    for name in bad.values():
        write_field(source, name)
    cut = source / "rgb" / f"{bad['cut']}.png"
    cut.write_bytes(cut.read_bytes()[:-5000])
    (source / "rgb" / f"{bad['garbage']}.png").write_bytes(bytes(range(256)) * 40)
    (source / "mask" / f"{bad['mask']}.png").write_bytes(b"")
    (source / "csv" / f"{bad['no table']}.csv").unlink()
    (source / "rgb" / "holiday.png").write_bytes(cut.read_bytes())
    (source / "rgb" / f"{name_of('A011')}.png").mkdir()
    (source / "rgb" / "._hidden.png").write_bytes(b"a Mac's own")
    write_table(source / "csv" / f"{name_of('A010')}.csv", ROWS)
    (source / "csv" / "ALL_FOV_LOCATIONS.csv").write_text("fovname\n")
    (source / "visualization").mkdir()
    (source / "visualization" / f"{good[0]}.png").write_bytes(b"nothing")
    survey = prepare_nucls(source, tmp_path / "out")
    left_out = dict(survey.left_out)
    assert [record.name.name for record in survey.records] == good
    assert left_out.pop(f"rgb/{bad['cut']}.png").startswith("cut short")
    assert left_out == {
        f"rgb/{bad['garbage']}.png": "not a PNG image",
        f"mask/{bad['mask']}.png": "empty file",
        f"csv/{bad['no table']}.csv": "missing",
        f"rgb/{name_of('A011')}.png": "cannot be read (Is a directory)",
        "rgb/holiday.png": "the name does not give slide, id and box",
        f"csv/{name_of('A010')}.csv": "no image of that name in rgb/",
        f"visualization/{good[0]}.png": "not a PNG image",
    }
    assert f"rgb/{bad['garbage']}.png | not a PNG image" in (tmp_path / "out" / "summary.md").read_text()


@pytest.mark.parametrize("mode", ["strict", "thesis"])
def test_the_same_source_gives_the_same_bytes_and_stays_as_it_is(source, tmp_path, mode):
    write_set(source)
    before = tree(source)
    prepare_nucls(source, tmp_path / "out", mode)
    first = tree(tmp_path / "out")
    prepare_nucls(source, tmp_path / "out", mode)
    assert tree(tmp_path / "out") == first
    assert tree(source) == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["nucls", "out"]


def test_what_is_not_ours_or_of_another_mode_is_never_replaced(source, tmp_path):
    write_set(source)
    out = tmp_path / "out"
    prepare_nucls(source, out)
    with pytest.raises(OutputError, match=r"E-OUT-SETTINGS.*--mode strict --classes super"):
        prepare_nucls(source, out, "thesis")
    with pytest.raises(OutputError, match=r"E-OUT-SETTINGS.*--mode strict --classes super"):
        prepare_nucls(source, out, grouping="main")
    (out / "my notes.txt").write_text("dear diary")
    before = tree(out)
    with pytest.raises(OutputError, match=r"E-OUT-FOREIGN.*my notes.txt"):
        prepare_nucls(source, out)
    assert tree(out) == before
    with pytest.raises(OutputError, match="E-OUT-FOREIGN"):
        prepare_nucls(source, source.parent)
    with pytest.raises(SettingsError, match=r"E-USAGE.*may not lie in the data set"):
        prepare_nucls(source, source / "prepared")


def test_an_interrupted_preparation_leaves_what_was_there(source, tmp_path, monkeypatch):
    write_set(source)
    prepare_nucls(source, tmp_path / "out")
    before = tree(tmp_path / "out")

    def stop(done, _total):
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prepare_nucls(source, tmp_path / "out", progress=stop)
    assert tree(tmp_path / "out") == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["nucls", "out"]


def test_a_folder_that_is_no_nucls_is_refused(tmp_path):
    with pytest.raises(SettingsError, match=r"E-DATA.*no folder 'rgb'"):
        prepare_nucls(tmp_path / "nowhere", tmp_path / "out")
    (tmp_path / "rgb").mkdir()
    (tmp_path / "csv").mkdir()
    with pytest.raises(SettingsError, match=r"E-DATA.*no PNG image"):
        prepare_nucls(tmp_path, tmp_path / "out")
    (tmp_path / "rgb" / f"{name_of('A001')}.png").write_bytes(b"")
    with pytest.raises(SettingsError, match=r"E-DATA.*no field can be used.*empty file"):
        prepare_nucls(tmp_path, tmp_path.parent / f"{tmp_path.name}-out")
    assert not (tmp_path.parent / f"{tmp_path.name}-out.partial").exists()


def test_points_are_ignored_as_boxes_are(source, tmp_path):
    rows = (Row("lymphocyte", "point", ((150.0, 150.0),)), diamond("tumor", 60, 60, 9))
    for number in range(3):
        write_field(source, name_of(f"A00{number}"), rows, mask_size=None)
    content = prepare_nucls(source, tmp_path / "out").as_dict()
    assert content["kinds"] == {"outline": 3, "box": 0, "point": 3}
    assert content["pixels"]["box_only"] == 3 * 30 * 30
    assert rows_of(tmp_path / "out" / "nuclei.csv")[0]["area_um2"] == ""


# The real fields


@pytest.fixture(scope="module")
def real(shared):
    return shared / "data" / "nucls"


def test_real_counts_agree_with_the_tables(real, tmp_path):
    expected_class, expected_kind = Counter(), Counter()
    for table in (real / "csv").glob("*.csv"):
        for row in rows_of(table):
            kind = {"polyline": "outline", "rectangle": "box"}[row["type"]]
            expected_class[row["raw_classification"], kind] += 1
            expected_kind[kind] += 1
    content = prepare_nucls(real, tmp_path / "out").as_dict()
    assert (content["fields"], content["fields_with_mask"], content["left_out"]) == (21, 12, [])
    assert {kind: n for kind, n in content["kinds"].items() if n} == expected_kind
    found = {(name, kind): n for name, counts in content["classes"].items() for kind, n in counts.items() if n}
    assert found == expected_class


def test_real_classes_agree_with_the_tables(real, tmp_path):
    """As far as published: where the grouping is left empty in a table, it follows from the raw class."""
    prepare_nucls(real, tmp_path / "out")
    names = read_class_names(tmp_path / "out")
    for entry in read_index(tmp_path / "out", "all"):
        labels = read_labels(entry.instances)
        rows = rows_of(real / "csv" / f"{entry.image.stem}.csv")
        published = [rows[label - 1]["super_classification"] for label in np.unique(labels[labels > 0])]
        found = classes_of_nuclei(labels, read_class_map(entry, labels.shape))
        for ours, theirs in zip(found.tolist(), published, strict=True):
            assert not theirs or names.get(ours, "AMBIGUOUS") == theirs


def test_real_maps_agree_with_the_reference_maps(real, tmp_path):
    """The references draw the boundary's pixels too, so they are a little larger."""
    prepare_nucls(real, tmp_path / "out")
    kept = {
        (row["image"], int(row["id"]))
        for row in rows_of(tmp_path / "out" / "nuclei.csv")
        if row["label"] == "outline"
    }
    overlap, union, outline_overlap, outline_union = 0, 0, 0, 0
    for path in sorted((tmp_path / "out" / "instances").iterdir()):
        labels = read_labels(path)
        part = tuple(slice(side) for side in labels.shape)
        every = read_labels(real / "instances" / path.name)[part] > 0
        outlines = read_labels(real / "instances_polyline_only" / path.name)[part] > 0
        ours = np.isin(labels, [name for image, name in kept if image == f"images/{path.name}"])
        overlap, union = overlap + ((labels > 0) & every).sum(), union + ((labels > 0) | every).sum()
        outline_overlap += (ours & outlines).sum()
        outline_union += (ours | outlines).sum()
    assert overlap / union > 0.94
    assert outline_overlap / outline_union > 0.93


def test_real_masks_and_tables_name_the_same_nuclei(real):
    """Each object of the 12 masks finds a row of its own; tables without their mask place the field safely."""
    for mask in sorted((real / "mask").iterdir()):
        field = read(real, mask.stem)
        labels = mask_nuclei(field.mask, field.nuclei)
        assert set(np.unique(labels)) == set(range(len(field.nuclei) + 1))
        drawn = draw_nuclei(field.nuclei, labels.shape)
        assert ((labels > 0) & (drawn > 0)).sum() / ((labels > 0) | (drawn > 0)).sum() > 0.92
        surely = field_inside(PublishedField(field.name, field.rgb, field.nuclei, None))
        inside = field_inside(field)
        assert not (surely & ~inside).any()
        assert surely.sum() > 0.7 * inside.sum()


def test_real_fields_show_what_the_thesis_rule_does(real, tmp_path):
    content = prepare_nucls(real, tmp_path / "out", "thesis").as_dict()
    rule = content["thesis_rule"]
    assert len(rule["fields"]) == 12
    assert rule["total"]["nucleus_by_thesis_rule"] == rule["total"]["nucleus"] + rule["total"]["outside_field"]
    assert content["splits"]["val"]["fields"] == 3
    for image in field_files(real):
        assert read_labels(tmp_path / "out" / "instances" / image.name).shape == (256, 256)
