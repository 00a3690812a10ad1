"""A cohort as people have it, through the command line: real slides, mosaics, broken ones and a repeated one."""

from __future__ import annotations

import csv
import json
import shutil
from collections import Counter
from functools import partial

import pytest
from synthetic import paint_tissue, scattered, truncate, write_slide
from toy import write_bundle

from wsiseg.cli import _status
from wsiseg.cohort.pipeline import Workplace

REAL = {"CMU-1-Small-Region.svs": "", "dicom-cmu-small": "", "tcga-cr-7395-01a-01-ts1.svs": "0.25"}
"""Name and, where the file states none, um per pixel."""
SIZES = [(600, 500), (900, 700), (1300, 1100), (1900, 800), (2600, 2100), (4500, 1300)]
"""Of the mosaics, level-0 pixels."""


def mosaic(path, size, seed, **facts):
    return write_slide(path, paint_tissue(size, scattered(size, spacing=64, seed=seed)).rgb, **facts)


@pytest.fixture
def listed(real_slides, tmp_path):
    """What is listed: the path of each slide, and its pixel size where the list gives one."""
    folder = tmp_path / "slides"
    (folder / "again").mkdir(parents=True)
    mosaics = [mosaic(folder / f"mosaic{i}.svs", size, i) for i, size in enumerate(SIZES)]
    truncated = mosaic(folder / "truncated.svs", (1500, 1500), 8)
    truncate(truncated, 0.7)
    unscaled = mosaic(folder / "unscaled.svs", (700, 700), 9, mpp=None, power=None)
    again = shutil.copy(mosaics[2], folder / "again")
    own = dict.fromkeys(map(str, [*mosaics, truncated, unscaled, again]), "")
    return {**{str(real_slides / name): mpp for name, mpp in REAL.items()}, **own}


@pytest.fixture
def run(listed, tmp_path, monkeypatch):
    """Run the cohort; give the exit status and the table's rows by slide."""
    bundle = write_bundle(tmp_path / "bundle", mpp=1.0)
    monkeypatch.setattr("wsiseg.cohort.pipeline.Workplace", partial(Workplace, make="toy_cohort:colours"))
    sheet, out = tmp_path / "slides.csv", tmp_path / "out"

    def call():
        sheet.write_text("slide,mpp\n" + "".join(f"{slide},{mpp}\n" for slide, mpp in listed.items()))
        status = _status(["cohort", str(sheet), "-o", str(out), "--model", str(bundle), "--device", "cpu"])
        rows = csv.DictReader((out / "cohort.csv").read_text(encoding="utf-8").splitlines())
        return status, {row["slide"]: row for row in rows}

    return call


def begun(out):
    """How often each slide was begun."""
    lines = [json.loads(line.partition(" ")[2]) for line in (out / "cohort.jsonl").read_text().splitlines()]
    return Counter(line["slide"] for line in lines if line["event"] == "begun")


def test_a_cohort_of_twelve(run, listed, tmp_path):
    slides, out = tmp_path / "slides", tmp_path / "out"
    truncated, unscaled = str(slides / "truncated.svs"), str(slides / "unscaled.svs")
    status, rows = run()
    assert status == 7
    assert Counter(row["state"] for row in rows.values()) == {"complete": 9, "failed": 2, "duplicate": 1}
    assert [rows[slide]["code"] for slide in (truncated, unscaled)] == ["E-SLIDE-TRUNCATED", "E-MPP-MISSING"]
    assert (
        rows[str(slides / "again" / "mosaic2.svs")]["message"]
        == f"the same slide as {rows[str(slides / 'mosaic2.svs')]['id']}"
    )
    assert all(int(row["nuclei"]) > 0 for row in rows.values() if row["state"] == "complete")
    files = {path: path.stat().st_mtime_ns for path in out.glob("*/**/*")}

    status, rows = run()
    assert status == 7
    assert begun(out) == {row["id"]: 1 + (row["state"] == "failed") for row in rows.values()}
    assert files == {path: path.stat().st_mtime_ns for path in out.glob("*/**/*")}

    listed[unscaled] = "0.25"
    status, rows = run()
    assert status == 7
    assert rows[unscaled]["state"] == "complete"
    assert rows[unscaled]["mpp"] == "0.25"
    assert Counter(row["state"] for row in rows.values()) == {"complete": 10, "failed": 1, "duplicate": 1}
    assert set(begun(out).values()) == {1, 3}
