"""The table has one row for everything that was listed, and calls nothing complete that is not."""

from __future__ import annotations

import csv
import io
from dataclasses import fields, replace
from pathlib import Path

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fake_runs import a_summary, write_run

from wsiseg.cohort.book import SlideOutcome
from wsiseg.cohort.listing import CohortSlide, Listing
from wsiseg.cohort.table import (
    TABLE_CSV,
    TABLE_PARQUET,
    ClassFigures,
    CohortRow,
    rows_of,
    table_schema,
    tables_hold,
    write_tables,
)

HEADER = (
    "id,slide,state,code,message,tissue_mm2,nuclei,nuclei_per_mm2,mean_area_um2,seconds,"
    "mpp,mpp_source,model,folder"
)


def slide(name, path=""):
    return CohortSlide(name, Path(path or f"slides/{name}.svs"))


def only_row(out, name="a", outcome=None):
    outcomes = {} if outcome is None else {name: outcome}
    (row,) = rows_of(out, Listing((slide(name),), ()), outcomes)
    return row


def test_a_complete_run_gives_its_numbers(tmp_path):
    write_run(tmp_path / "a", seconds=12.5)
    assert only_row(tmp_path, outcome=SlideOutcome("a", "complete", seconds=7.0)) == CohortRow(
        id="a",
        slide=str(Path("slides/a.svs")),
        state="complete",
        tissue_mm2=0.875,
        nuclei=2800,
        nuclei_per_mm2=3200.0,
        mean_area_um2=33.125,
        seconds=7.0,
        mpp=0.499,
        mpp_source="aperio.MPP",
        model="lite 1",
        folder="a",
    )
    # Without a word in the ledger, as after single runs of a job array, the run directory tells.
    assert only_row(tmp_path).state == "complete"
    assert only_row(tmp_path).seconds == 12.5
    assert only_row(tmp_path, outcome=SlideOutcome("a")).seconds == 12.5


def test_places_that_could_not_be_read_show_in_the_state(tmp_path):
    write_run(tmp_path / "a", a_summary(tiles={"unreadable": 2}))
    assert only_row(tmp_path).state == "complete-with-gaps"


def test_a_slide_without_tissue_has_no_density(tmp_path):
    write_run(tmp_path / "a", a_summary(tissue_mm2=0, nuclei=0, nuclei_per_mm2=None, area_um2={"mean": None}))
    row = only_row(tmp_path)
    assert (row.nuclei, row.tissue_mm2, row.nuclei_per_mm2, row.mean_area_um2) == (0, 0.0, None, None)
    assert isinstance(row.tissue_mm2, float)


def test_a_failure_has_code_and_message_and_no_numbers(tmp_path):
    write_run(tmp_path / "a")  # of earlier settings, say
    printed = "error[E-MPP-MISSING]: no pixel size in the slide; slides/a.svs; pass --mpp"
    row = only_row(tmp_path, outcome=SlideOutcome("a", "failed", "E-MPP-MISSING", printed, 1, 2.5))
    assert (row.state, row.code, row.seconds) == ("failed", "E-MPP-MISSING", 2.5)
    assert row.message == "no pixel size in the slide; slides/a.svs; pass --mpp"
    assert row.nuclei is None


def test_a_run_directory_tells_of_its_own_failure(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "run.json").write_text('{"schema": 1, "wsiseg": "0", "slide": {}}')
    (tmp_path / "a" / "error.json").write_bytes(
        orjson.dumps({"code": "E-SLIDE-READ", "message": "error[E-SLIDE-READ]: level 0\nof a.svs"})
    )
    row = only_row(tmp_path)
    assert (row.state, row.code, row.message) == ("failed", "E-SLIDE-READ", "level 0\nof a.svs")


def test_what_was_not_begun_or_not_finished_waits(tmp_path):
    assert only_row(tmp_path).folder is None
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "run.json").write_text('{"schema": 1, "wsiseg": "0", "slide": {}}')
    for outcome in (None, SlideOutcome("a", tries=1)):
        row = only_row(tmp_path, outcome=outcome)
        assert (row.state, row.folder, row.code) == ("waiting", "a", None)


@pytest.mark.parametrize("harm", ["report.html", "COMPLETE.json", "summary.json", None])
def test_a_damaged_run_is_never_called_complete(harm, tmp_path):
    folder = write_run(tmp_path / "a")
    if harm is None:
        for file in folder.iterdir():
            file.unlink()
    elif harm == "COMPLETE.json":
        (folder / harm).write_text("{}")
    elif harm == "summary.json":  # of the right size
        (folder / harm).write_bytes(b"{" * (folder / harm).stat().st_size)
    else:
        (folder / harm).unlink()
    row = only_row(tmp_path, outcome=SlideOutcome("a", "complete"))
    assert (row.state, row.code, row.nuclei) == ("failed", "E-DAMAGED", None)
    assert row.message


def test_everything_listed_has_its_row(tmp_path):
    write_run(tmp_path / "a")
    listing = Listing((slide("a"), slide("b")), ((slide("again", "copy.svs"), "a"), (slide("b"), "b")))
    rows = rows_of(tmp_path, listing, {"b": SlideOutcome("b", "failed", "E-MEMORY", "memory ran out")})
    assert [(row.id, row.state) for row in rows] == [
        ("a", "complete"), ("b", "failed"), ("again", "duplicate"), ("b", "duplicate"),
    ]  # fmt: skip
    again = rows[2]
    assert (again.slide, again.message, again.folder) == ("copy.svs", "the same slide as a", "a")
    assert again.nuclei is None  # nothing counts twice


# -- files ----------------------------------------------------------------------------------------------------

DONE = CohortRow(
    "a", 'x/ä,"1".svs', "complete", None, None, 0.875, 2800, 3200.0, 33.1, 7.25, 0.499, "aperio.MPP", "lite 1", "a"
)
ROWS = (DONE, CohortRow("b", "b.svs", "failed", "E-BUG", "two\nlines; and =a formula", seconds=1.0))


def test_the_csv_is_plain_utf8_with_empty_unknowns(tmp_path):
    write_tables(tmp_path, ROWS)
    text = (tmp_path / TABLE_CSV).read_text("utf-8")
    header, first, second = csv.reader(io.StringIO(text, newline=""))
    assert ",".join(header) == HEADER
    assert [*header, "classes"] == [field.name for field in fields(CohortRow)]
    assert first[:9] == ["a", 'x/ä,"1".svs', "complete", "", "", "0.875", "2800", "3200.0", "33.1"]
    message = r"two\nlines; and =a formula"  # a row is a line
    assert second == ["b", "b.svs", "failed", "E-BUG", message, "", "", "", "", "1.0", "", "", "", ""]


def test_the_parquet_has_types_and_nulls(tmp_path):
    write_tables(tmp_path, ROWS)
    table = pq.read_table(tmp_path / TABLE_PARQUET)
    assert table.schema.equals(table_schema(ROWS))
    assert table.schema.field("nuclei").type == pa.int64()
    assert table.schema.field("mpp").type == pa.float64()
    assert table.schema.field("code").type == pa.string()
    assert CohortRow(**table.to_pylist()[0]) == ROWS[0]
    assert table["nuclei"].to_pylist() == [2800, None]
    assert table["code"].to_pylist() == [None, "E-BUG"]


TYPES = (ClassFigures("tumour or epithelial", 1000, 1250.5), ClassFigures("lymphocyte", 300, 400.0))
TYPED = replace(DONE, classes=(*TYPES, ClassFigures("stromal", 100, None)))


def test_classes_have_columns_of_their_own(tmp_path):
    rows = (ROWS[1], TYPED)
    write_tables(tmp_path, rows)
    table = pq.read_table(tmp_path / TABLE_PARQUET)
    text = (tmp_path / TABLE_CSV).read_text("utf-8")
    header, failed, done = csv.reader(io.StringIO(text, newline=""))
    more = [
        "class_tumour_or_epithelial_nuclei",
        "class_tumour_or_epithelial_per_mm2",
        "class_lymphocyte_nuclei",
        "class_lymphocyte_per_mm2",
        "class_stromal_nuclei",
        "class_stromal_per_mm2",
        "stromal_lymphocyte_share",
    ]
    assert header == table.schema.names == HEADER.split(",") + more
    assert done[-7:] == ["1000", "1250.5", "300", "400.0", "100", "", "0.75"]
    assert failed[-7:] == [""] * 7
    assert [table[name].to_pylist() for name in more[:2]] == [[None, 1000], [None, 1250.5]]
    assert tables_hold(tmp_path, rows)
    assert not tables_hold(tmp_path, (ROWS[1], DONE))


def test_without_both_classes_there_is_no_share(tmp_path):
    write_tables(tmp_path, [replace(DONE, classes=TYPES)])
    assert pq.read_schema(tmp_path / TABLE_PARQUET).names[-1] == "class_lymphocyte_per_mm2"
    none = replace(DONE, classes=(ClassFigures("lymphocyte", 0, 0.0), ClassFigures("stromal", 0, 0.0)))
    assert none.stromal_lymphocyte_share is None


def test_a_run_gives_the_figures_of_its_classes(tmp_path):
    about = {"value": 3, "color": [1, 2, 3], "share": 0.5, "mean_probability": 0.9}
    classes = [{**about, "name": "lymphocyte", "nuclei": 3, "nuclei_per_mm2": 4}]
    write_run(tmp_path / "a", a_summary(classes=classes))
    assert only_row(tmp_path).classes == (ClassFigures("lymphocyte", 3, 4.0),)


def test_equal_rows_give_equal_bytes(tmp_path):
    for name in ("one", "two"):
        write_tables(tmp_path / name, ROWS)
    for file in (TABLE_CSV, TABLE_PARQUET):
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()


def test_no_rows_make_an_empty_table(tmp_path):
    write_tables(tmp_path, ())
    assert (tmp_path / TABLE_CSV).read_text() == HEADER + "\n"
    assert pq.read_table(tmp_path / TABLE_PARQUET).num_rows == 0


def test_a_name_that_is_no_text_can_be_written(tmp_path):
    odd = Listing((slide("a", "odd\udcff.svs"),), ())
    write_tables(tmp_path, rows_of(tmp_path, odd, {}))
    assert pq.read_table(tmp_path / TABLE_PARQUET)["slide"].to_pylist() == ["odd?.svs"]


def test_tables_that_hold_the_rows_are_told_from_others(tmp_path):
    assert not tables_hold(tmp_path, ROWS)
    write_tables(tmp_path, ROWS)
    assert tables_hold(tmp_path, ROWS)
    assert not tables_hold(tmp_path, ROWS[1:])
    (tmp_path / TABLE_PARQUET).unlink()
    assert not tables_hold(tmp_path, ROWS)
