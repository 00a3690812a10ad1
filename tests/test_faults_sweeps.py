"""The short tier of `make faults`: some points of every sweep, evenly spread, on a toy run of two blocks."""

from __future__ import annotations

import os
import re
import tempfile
from pathlib import Path

import pytest
from faults import disk, flips, kills, power
from faults.bench import Bench, digests
from faults.table import BEGIN, DOCUMENT, END, Row, as_markdown, put_into, spread
from faults.tracing import why_not
from toy import run_toy

SHM = Path("/dev/shm")


@pytest.fixture(scope="module")
def bench():
    if os.name == "nt":
        pytest.skip("Windows forks no processes")
    with tempfile.TemporaryDirectory(dir=SHM if SHM.is_dir() else None) as folder, Bench(Path(folder)) as made:
        yield made


@pytest.mark.slow
@pytest.mark.parametrize(
    ("sweep", "share", "least"),
    [
        (kills.sweep, 0.012, 4),
        (kills.sweep_random, 0.02, 1),
        (disk.sweep, 0.008, 4),
        (power.sweep, 0.01, 10),
        (flips.sweep, 1, 20),
    ],
)
def test_every_fault_is_survived(sweep, share, least, bench):
    if why_not() and sweep not in (kills.sweep_random, flips.sweep):
        pytest.skip(why_not())
    rows = sweep(bench, share)
    assert [note for row in rows for note in row.notes] == []
    assert sum(row.injected for row in rows) >= least


@pytest.mark.slow
def test_what_the_sweeps_compare_with_is_an_ordinary_run(bench, tmp_path):
    run_toy(bench.folder / "slide.svs", tmp_path / "run", bench.folder / "bundle", tissue="none")
    assert digests(tmp_path / "run") == bench.reference


def test_the_document_has_a_place_for_the_table():
    text = DOCUMENT.read_text(encoding="utf-8")
    assert text.index(BEGIN) < text.index(END)


def test_a_table_replaces_the_one_before(tmp_path):
    page = tmp_path / "page.md"
    page.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")
    row = Row("C1", "a kill")
    row.count("here", [])
    row.count("there", ["the state is foreign"])
    put_into(page, as_markdown([row], 0.5))
    text = page.read_text()
    assert text.startswith("before\n")
    assert text.endswith("after\n")
    assert "old" not in text
    assert "| C1 | a kill | 2 | 1 |" in text
    assert row.notes == ["there: the state is foreign"]


@pytest.mark.parametrize(("share", "chosen"), [(1, [0, 1, 2, 3]), (0.5, [1, 3]), (0.0, [2])])
def test_a_share_is_spread_evenly(share, chosen):
    assert spread([0, 1, 2, 3], share) == chosen


def test_the_tests_that_the_document_names_exist():
    text = DOCUMENT.read_text(encoding="utf-8")
    tests = Path(__file__).parent
    sources = "\n".join(path.read_text(encoding="utf-8") for path in tests.glob("test_*.py"))
    assert [name for name in re.findall(r"`(test_\w+)`", text) if f"def {name}(" not in sources] == []
    files = re.findall(r"`((?:faults/)?\w+\.py)`", text)
    assert [name for name in files if not (tests / name).is_file()] == []


def test_all_promises_have_a_proof():
    rows = [
        line.split("|") for line in DOCUMENT.read_text(encoding="utf-8").splitlines() if line.startswith("| P")
    ]
    assert [row[1].strip() for row in rows] == [f"P{number}" for number in range(1, 26)]
    assert all("`" in row[3] for row in rows)
