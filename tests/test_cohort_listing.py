"""Files, folders, patterns and lists become slides with ids that never change or collide."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsiseg.cohort import listing as module
from wsiseg.cohort.ids import LONGEST, automatic_id, folded, objection
from wsiseg.cohort.listing import CohortSlide, read_listing
from wsiseg.errors import SettingsError
from wsiseg.run import RunSettings


def put(path, content=None):
    """A file that passes for a slide; its content is its path unless told."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes((content or str(path)).encode("utf-8", "surrogateescape"))
    return path


def listed(*sources):
    return read_listing([str(source) for source in sources])


def names(*sources):
    return [slide.path.name for slide in listed(*sources).slides]


def ids(*sources):
    return {slide.path: slide.id for slide in listed(*sources).slides}


# -- files, folders and patterns ------------------------------------------------------------------------------


def test_a_folder_gives_its_slides_in_natural_order(tmp_path):
    for name in (
        "slide10.svs",
        "slide2.SVS",
        "b/slide1.ndpi",
        "a/deep/x.tiff",
        "notes.txt",
        "thumb.png",
        "x.svs.part",
    ):
        put(tmp_path / name)
    found = [slide.path.relative_to(tmp_path).as_posix() for slide in listed(tmp_path).slides]
    assert found == ["a/deep/x.tiff", "b/slide1.ndpi", "slide2.SVS", "slide10.svs"]


def test_results_and_hidden_files_are_no_slides(tmp_path):
    put(tmp_path / "a.svs")
    for name in ("a-wsiseg/masks.ome.zarr/0.tif", "pyramid.ome.zarr/b.tiff", "._a.svs", ".trash/c.svs"):
        put(tmp_path / name)
    assert names(tmp_path) == ["a.svs"]
    assert names(tmp_path / "**") == ["a.svs"]


def test_a_folder_of_dicom_files_is_one_slide(tmp_path):
    for name in ("one/level-0.dcm", "one/level-1.DCM", "two/0.dcm"):
        put(tmp_path / name)
    assert names(tmp_path) == ["one", "two"]
    assert names(tmp_path / "one") == ["one"]
    assert names(tmp_path / "*" / "*.dcm") == ["one", "two"]
    assert ids(tmp_path)[tmp_path / "one"].startswith("one-")


def test_patterns_that_no_shell_expanded(tmp_path):
    for name in ("a/1.svs", "a/b/2.svs", "a/b/3.txt", "c/4.svs"):
        put(tmp_path / name)
    assert names(tmp_path / "a" / "*.svs") == ["1.svs"]
    assert names(tmp_path / "a" / "**" / "*.svs") == ["1.svs", "2.svs"]
    assert names(tmp_path / "?") == ["1.svs", "2.svs", "4.svs"]
    assert names(tmp_path / "**" / "[24].*") == ["2.svs", "4.svs"]


def test_a_file_whose_name_looks_like_a_pattern_is_that_file(tmp_path):
    put(tmp_path / "a1.svs")
    put(tmp_path / "a[1].svs")
    assert names(tmp_path / "a[1].svs") == ["a[1].svs"]


def test_sources_keep_their_order(tmp_path):
    for name in ("z.svs", "a/2.svs", "a/1.svs", "m.xyz"):
        put(tmp_path / name)
    assert names(tmp_path / "z.svs", tmp_path / "a", tmp_path / "m.xyz") == ["z.svs", "1.svs", "2.svs", "m.xyz"]


def test_linked_folders_are_searched_once(tmp_path):
    put(tmp_path / "disk" / "a.svs")
    (tmp_path / "study").mkdir()
    (tmp_path / "study" / "slides").symlink_to(tmp_path / "disk")
    (tmp_path / "disk" / "loop").symlink_to(tmp_path / "study")
    found = listed(tmp_path / "study")
    assert len(found.slides) == 1
    assert found.duplicates == ()


def test_nothing_found_is_an_error_that_names_the_place(tmp_path):
    put(tmp_path / "full" / "a.svs")
    (tmp_path / "empty").mkdir()
    for source in (tmp_path / "empty", tmp_path / "*.svs"):
        with pytest.raises(SettingsError, match=r"E-COHORT-LIST.*no slide was found") as error:
            listed(tmp_path / "full", source)
        assert str(source) in str(error.value)
    with pytest.raises(SettingsError, match="no slide was found"):
        listed()


def test_folders_of_earlier_runs_among_the_slides_do_not_matter(tmp_path):
    put(tmp_path / "a.svs")
    put(tmp_path / "a-wsiseg" / "overview.png")
    put(tmp_path / "run" / "run.json")
    put(tmp_path / "out" / "cohort.json")
    assert names(*sorted(tmp_path.iterdir())) == ["a.svs"]


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="this user may read every folder")
def test_a_folder_that_cannot_be_read_is_named(tmp_path):
    put(tmp_path / "a.svs")
    (tmp_path / "secret").mkdir(mode=0)
    with pytest.raises(SettingsError, match=r"cannot be read.*secret"):
        listed(tmp_path)


def test_an_error_of_the_walk_is_no_silent_gap(tmp_path, monkeypatch):
    def walk(folder, onerror, followlinks):
        onerror(PermissionError(13, "Permission denied", f"{folder}/secret"))
        return iter(())

    monkeypatch.setattr(os, "walk", walk)
    with pytest.raises(SettingsError, match=r"Permission denied.*secret"):
        listed(tmp_path)


# -- slides that cannot be read -------------------------------------------------------------------------------


def test_slides_that_are_missing_or_no_slides_are_listed_all_the_same(tmp_path):
    put(tmp_path / "empty.svs").write_bytes(b"")
    (tmp_path / "folder.svs").mkdir()
    (tmp_path / "dangling.svs").symlink_to(tmp_path / "nowhere.svs")
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe.svs")
    put(
        tmp_path / "list.csv",
        "slide\nempty.svs\nfolder.svs\nmissing.svs\ndangling.svs\npipe.svs\n" + "n" * 300 + ".svs\nodd\0.svs\n",
    )
    found = listed(tmp_path / "list.csv")
    assert len({slide.id for slide in found.slides}) == 7
    assert found == listed(tmp_path / "list.csv")


def test_missing_slides_of_one_name_have_different_ids(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = listed("a/x.svs", "b/x.svs", "./a/x.svs")
    assert len({slide.id for slide in found.slides}) == 2
    assert [first for _, first in found.duplicates] == [found.slides[0].id]


# -- ids ------------------------------------------------------------------------------------------------------

digests = st.text("0123456789abcdef", min_size=64, max_size=64)


@given(st.text(), digests)
def test_automatic_ids_name_a_folder_on_every_system(stem, content):
    name = automatic_id(stem, content)
    assert len(name) <= LONGEST
    assert name.isascii()
    assert objection(name) == ""
    assert not set(name) & set('<>:"/\\|?* \t')
    assert name == automatic_id(stem, content)


@given(
    st.sampled_from(
        ["CON", "nul.x", "COM1", "lpt9.a.b", "Aux", "cohort", "LOCK", ".", "..", "a.", "-rf", "ä" * 99]
    ),
    digests,
)
def test_names_that_systems_reserve_become_harmless(stem, content):
    assert objection(automatic_id(stem, content)) == ""


@given(st.lists(st.tuples(st.text(max_size=100), digests), unique_by=lambda each: each[1][:8]))
def test_slides_of_different_content_have_different_ids(slides):
    found = [folded(automatic_id(stem, content)) for stem, content in slides]
    assert len(set(found)) == len(slides)


def test_an_id_tells_whose_it_is():
    assert automatic_id("Müller 3 (HE)", "0123456789abcdef") == "Muller_3_HE-01234567"


def test_ids_depend_on_no_other_slide_and_no_place(tmp_path):
    for name in ("a/x.svs", "b/x.svs", "c/y.svs"):
        put(tmp_path / name)
    alone = ids(tmp_path / "b" / "x.svs")
    together = ids(tmp_path)
    reversed_ = ids(tmp_path / "c", tmp_path / "b", tmp_path / "a")
    assert len(set(together.values())) == 3
    assert together == reversed_
    assert alone.items() <= together.items()
    shutil.copytree(tmp_path / "b", tmp_path / "elsewhere")
    assert list(ids(tmp_path / "elsewhere").values()) == list(alone.values())


def test_a_collision_of_digests_is_refused_and_not_merged(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_content", lambda path: "01234567" + path.parent.name)
    with pytest.raises(SettingsError, match=r"x-01234567.*a/x\.svs and .*b/x\.svs"):
        listed(put(tmp_path / "a" / "x.svs"), put(tmp_path / "b" / "x.svs"))


# -- the same slide twice -------------------------------------------------------------------------------------


def test_the_same_slide_runs_once_and_the_other_is_named(tmp_path):
    first = put(tmp_path / "a.svs")
    shutil.copy(first, tmp_path / "copy.svs")
    (tmp_path / "link.svs").symlink_to(first)
    other = put(tmp_path / "other.svs")
    found = listed(first, other, first, tmp_path / "copy.svs", tmp_path / "link.svs")
    assert [slide.path for slide in found.slides] == [first, other]
    assert [slide.path.name for slide, _ in found.duplicates] == ["a.svs", "copy.svs", "link.svs"]
    assert {owner for _, owner in found.duplicates} == {found.slides[0].id}


def test_one_slide_with_two_settings_needs_two_ids(tmp_path):
    put(tmp_path / "a.svs")
    sheet = put(tmp_path / "list.csv", "slide,mpp\na.svs,0.25\na.svs,0.5\n")
    with pytest.raises(SettingsError, match=r"E-COHORT-LIST.*line 2 and .*line 3.*column id"):
        listed(sheet)
    sheet.write_text("slide,mpp,id\na.svs,0.25,fine\na.svs,0.5,coarse\na.svs,0.50,again\n")
    found = listed(sheet)
    assert [(slide.id, slide.mpp) for slide in found.slides] == [("fine", 0.25), ("coarse", 0.5)]
    assert [(slide.id, owner) for slide, owner in found.duplicates] == [("again", "coarse")]


@pytest.mark.parametrize("second", ["x", "X"])
def test_one_id_for_two_slides_is_refused(second, tmp_path):
    put(tmp_path / "a.svs")
    put(tmp_path / "b.svs")
    sheet = put(tmp_path / "list.csv", f"slide,id\na.svs,x\nb.svs,{second}\n")
    with pytest.raises(SettingsError, match=r"E-COHORT-LIST.*line 2 and .*line 3"):
        listed(sheet)


# -- lists ----------------------------------------------------------------------------------------------------


def test_a_list_keeps_its_order_and_says_what_it_knows(tmp_path):
    text = 'slide,id,mpp,roi,tissue\nsub/b.svs,second,0.25,roi.geojson,masks/b.png\n"/abs, here/a.svs",,,,NONE\n'
    found = listed(put(tmp_path / "list.csv", text)).slides
    assert found[0] == CohortSlide(
        "second", tmp_path / "sub/b.svs", 0.25, tmp_path / "roi.geojson", str(tmp_path / "masks/b.png")
    )
    assert (found[1].path, found[1].mpp, found[1].roi, found[1].tissue) == (
        Path("/abs, here/a.svs"),
        None,
        None,
        "none",
    )


ROWS = ["Slide{0}ID{0}mpp", "", "schön/Grüße 1.svs{0}Fall 1{0}0.5", " a.svs {0} b {0} 0.25 ", "{0}{0}", ""]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "cp1252"])
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_lists_as_spreadsheets_write_them(delimiter, newline, encoding, tmp_path):
    path = tmp_path / "list.CSV"
    path.write_bytes(newline.join(ROWS).format(delimiter).encode(encoding))
    found = listed(path).slides
    assert [(slide.path, slide.id, slide.mpp) for slide in found] == [
        (tmp_path / "schön" / "Grüße 1.svs", "Fall 1", 0.5),
        (tmp_path / "a.svs", "b", 0.25),
    ]


def test_empty_columns_and_a_comma_in_a_number_are_tolerated(tmp_path):
    found = listed(put(tmp_path / "list.csv", "slide;mpp;;\na.svs;0,25;;\nb.svs\n")).slides
    assert [slide.mpp for slide in found] == [0.25, None]


@pytest.mark.parametrize(
    ("text", "complaint", "line"),
    [
        ("", "the list is empty", 0),
        ("slide,id\n\n", "names no slide", 0),
        ("slide,stain\na.svs,HE\n", "no column 'stain'", 1),
        ("path\na.svs\n", "no column 'path'", 1),
        ("id,mpp\na,0.5\n", "'slide' is missing", 1),
        ("slide,Slide\na.svs,b.svs\n", "'slide' is there twice", 1),
        ("slide,mpp\na.svs,0.25\n\nb.svs,40x\n", "mpp '40x'", 4),
        ("slide,mpp\na.svs,0\n", "mpp '0'", 2),
        ("slide,mpp\na.svs,250\n", "mpp '250'", 2),
        ("slide,mpp\na.svs,nan\n", "mpp 'nan'", 2),
        ("slide,mpp\n,0.25\n", "names no slide", 2),
        ("slide\na, b.svs\n", "'b.svs' is in no column", 2),
        ('slide\n"a.svs\n', "not a CSV file", 2),
        ("slide,id\na.svs,a/b\n", "it holds '/'", 2),
        ("slide,id\na.svs,..\n", "begins with a dot", 2),
        ("slide,id\na.svs,nul\n", "Windows reserves", 2),
        ("slide,id\na.svs,cohort.csv\n", "own files", 2),
        ("slide,id\na.svs,LOCK\n", "own files", 2),
        ("slide,id\na.svs," + "x" * 81 + "\n", "longer than 80", 2),
    ],
)
def test_a_wrong_list_is_refused_with_file_and_line(text, complaint, line, tmp_path):
    path = put(tmp_path / "list.csv", text or "\n")
    with pytest.raises(SettingsError, match="E-COHORT-LIST") as error:
        listed(path)
    assert complaint in str(error.value)
    assert (f"{path}, line {line}" if line else str(path)) in str(error.value)


def test_a_list_stands_alone_and_must_be_there(tmp_path):
    with pytest.raises(SettingsError, match="cannot be read"):
        listed(tmp_path / "none.csv")
    with pytest.raises(SettingsError, match="stands alone"):
        listed(put(tmp_path / "list.csv", "slide\na.svs\n"), put(tmp_path / "a.svs"))


# -- settings -------------------------------------------------------------------------------------------------


def test_a_slides_own_values_replace_the_shared_ones():
    shared = RunSettings(Path(), mpp=0.5, tissue="none", roi=Path("all.geojson"), workers=3)
    plain = CohortSlide("a", Path("a.svs")).settings(shared)
    assert (plain.slide, plain.mpp, plain.tissue, plain.roi, plain.workers) == (
        Path("a.svs"), 0.5, "none", Path("all.geojson"), 3,
    )  # fmt: skip
    own = CohortSlide("a", Path("a.svs"), 0.25, Path("own.geojson"), "auto").settings(shared)
    assert (own.mpp, own.tissue, own.roi, own.workers) == (0.25, "auto", Path("own.geojson"), 3)
