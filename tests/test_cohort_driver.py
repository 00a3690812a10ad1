"""Cohorts on workers: the bytes of `wsiseg run`, whatever dies; bad slides are rows and cost no others."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import psutil
import pytest
from synthetic import paint_tissue, scattered, write_slide
from test_run_exact import assert_same
from toy import run_toy, write_bundle
from toy_cohort import LOG, POISON, SLOW, run_toys

from wsiseg.cohort import tasks
from wsiseg.cohort.book import Book
from wsiseg.errors import OutputError, ResourceError, SettingsError
from wsiseg.run.lock import locked

LARGE, SMALL = (2060, 1400), (600, 500)
"""6 blocks and 1 block of the toy bundle."""
BLOCK_WINDOWS = 16


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return write_bundle(tmp_path_factory.mktemp("bundle") / "toy")


@pytest.fixture(scope="module")
def slides(tmp_path_factory):
    """One slide of many blocks and two small ones."""
    folder = tmp_path_factory.mktemp("slides")
    for number, size in enumerate([LARGE, SMALL, SMALL]):
        painting = paint_tissue(size, scattered(size, spacing=64, seed=number))
        write_slide(folder / f"slide{number}.svs", painting.rgb)
    return folder


@pytest.fixture(scope="module")
def references(slides, bundle, tmp_path_factory):
    """What `wsiseg run` makes of each slide, by the slide's name."""
    out = tmp_path_factory.mktemp("references")
    for slide in slides.iterdir():
        run_toy(slide, out / slide.name, bundle, tissue="none")
    return out


def assert_as_run(rows, out, references):
    assert {row.state for row in rows} == {"complete"}, rows
    for row in rows:
        assert_same(references / Path(row.slide).name, out / row.id)
        assert not (out / row.id / "work").exists()


def bad_slide(folder, name="bad.svs"):
    path = folder / name
    path.write_bytes(b"this is no slide")
    return path


def inferences(log):
    """How often each window was seen."""
    return Counter(log.read_text().split())


class Notes:
    """A watcher that remembers."""

    def __init__(self, on_tiles=lambda: None):
        self.said, self.tiles, self.found, self.outcomes, self._on_tiles = [], 0, 0, [], on_tiles

    def begin(self, slides, done):
        self.slides, self.done = slides, done

    def planned(self, tiles, done):
        pass

    def inferred(self, tiles):
        self.tiles += tiles
        self._on_tiles()

    def nuclei(self, count):
        self.found += count

    def ended(self, outcome):
        self.outcomes.append(outcome)

    def note(self, text):
        self.said.append(text)


def test_two_workers_give_the_bytes_of_run_and_one_bad_slide_costs_no_other(
    slides, bundle, references, tmp_path, monkeypatch
):
    bad = bad_slide(tmp_path)
    out, log, watcher = tmp_path / "out", tmp_path / "log", Notes()
    monkeypatch.setenv(LOG, str(log))
    sources = [slides, bad, slides / "slide1.svs"]
    rows = run_toys(sources, out, bundle, workers=2, watcher=watcher, tissue="none")
    complete, failed, again = rows[:3], rows[3], rows[4]
    assert_as_run(complete, out, references)
    assert (failed.state, failed.code, failed.folder) == ("failed", "E-SLIDE-FORMAT", None)
    assert again.state == "duplicate"
    assert watcher.found == sum(row.nuclei for row in complete)
    assert set(inferences(log).values()) == {1}, "every window is seen once"
    table = list(csv.DictReader((out / "cohort.csv").read_text(encoding="utf-8").splitlines()))
    assert [line["state"] for line in table] == [row.state for row in rows]
    assert (out / "cohort.html").is_file()

    log.unlink()
    again = Notes()
    before = {path: path.stat().st_mtime_ns for row in complete for path in (out / row.id).rglob("*")}
    rows = run_toys(sources, out, bundle, workers=1, watcher=again, tissue="none")
    assert [outcome.id for outcome in again.outcomes] == [failed.id]
    assert (again.slides, again.done) == (4, 3)
    assert not log.exists(), "nothing is inferred again"
    assert before == {path: path.stat().st_mtime_ns for path in before}

    bad.unlink()
    os.link(slides / "slide2.svs", bad)  # mended: its content, and so its id, are now another slide's
    rows = run_toys(sources, out, bundle, watcher=Notes(), tissue="none")
    assert Counter(row.state for row in rows) == {"complete": 3, "duplicate": 2}


def test_mpp_in_the_list_mends_a_slide(bundle, tmp_path):
    slide = write_slide(tmp_path / "a.svs", paint_tissue(SMALL, scattered(SMALL)).rgb, mpp=None, power=None)
    listing, out = tmp_path / "list.csv", tmp_path / "out"
    listing.write_text(f"slide\n{slide}\n")
    assert run_toys([listing], out, bundle)[0].code == "E-MPP-MISSING"
    listing.write_text(f"slide,mpp\n{slide},0.25\n")
    row = run_toys([listing], out, bundle)[0]
    assert (row.state, row.mpp_source) == ("complete", "--mpp")

    written = [out / name for name in ("cohort.html", "cohort.csv", "cohort.parquet")]
    before = [path.stat().st_mtime_ns for path in written]
    run_toys([listing], out, bundle)
    assert [path.stat().st_mtime_ns for path in written] == before, "nothing has changed"
    written[0].unlink()
    run_toys([listing], out, bundle)
    assert written[0].is_file()


def test_workers_keep_to_their_cores_and_to_this_machine(slides, bundle, tmp_path, monkeypatch):
    log = tmp_path / "log"
    monkeypatch.setenv(LOG, str(log))
    monkeypatch.setattr("wsiseg.cohort.cluster.usable_cores", lambda: 4)
    rows = run_toys(
        [slides / "slide1.svs"], tmp_path / "out", bundle, workers=2, make="toy_cohort:witness", tissue="none"
    )
    assert rows[0].state == "complete"
    found = [json.loads(line) for line in log.read_text().splitlines()]
    allowed = {"torch": 2, "opencv": 1, "blas": 1, "openmp": 1, "zarr": 2, "listens": ["127.0.0.1"]}
    assert found == [allowed, allowed]


def workers_of(process):
    """The worker processes that a process has started."""
    return [
        one for one in psutil.Process(process).children(recursive=True) if "spawn_main" in " ".join(one.cmdline())
    ]


@pytest.mark.skipif(os.name == "nt", reason="Windows knows no SIGKILL")
def test_killed_workers_and_a_killed_driver_end_with_the_same_bytes(
    slides, bundle, references, tmp_path, monkeypatch
):
    """Workers die at random, then the driver; a block per kill is seen twice at most."""
    out, log = tmp_path / "out", tmp_path / "log"
    monkeypatch.setenv(LOG, str(log))
    monkeypatch.setenv(SLOW, "0.05")
    script = Path(__file__).with_name("toy_cohort.py")
    command = [sys.executable, str(script), str(slides), str(out), str(bundle), "2"]
    process = subprocess.Popen(command, cwd=script.parent, stderr=subprocess.PIPE)
    kills, seen = 0, 0
    deadline = time.monotonic() + 120
    while kills < 3 and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
        now = len(log.read_text().split()) if log.exists() else 0
        if now - seen >= 12 and (workers := workers_of(process.pid)):
            workers[kills % len(workers)].kill()
            kills, seen = kills + 1, now
    time.sleep(0.2)
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stderr.close()
    assert kills == 3
    monkeypatch.setenv(SLOW, "0")
    rows = run_toys([slides], out, bundle, workers=2, tissue="none")
    assert_as_run(rows, out, references)
    twice = sum(count - 1 for count in inferences(log).values())
    assert twice <= (kills + 2) * (BLOCK_WINDOWS + 3), "the driver's kill ends both workers"


def test_poison_slide_fails_after_two_deaths_and_the_others_go_on(slides, bundle, references, tmp_path):
    painting = paint_tissue(SMALL, scattered(SMALL))
    painting.rgb[300:340, 300:340] = POISON
    poison = write_slide(tmp_path / "poison.svs", painting.rgb)
    out = tmp_path / "out"
    rows = run_toys([slides / "slide1.svs", poison, slides / "slide2.svs"], out, bundle, tissue="none")
    assert_as_run([rows[0], rows[2]], out, references)
    assert (rows[1].state, rows[1].code) == ("failed", "E-POISON")
    lines = [json.loads(line.partition(" ")[2]) for line in (out / "cohort.jsonl").read_text().splitlines()]
    lost = [line for line in lines if line["event"] == "lost"]
    assert {line["slide"] for line in lost} == {rows[1].id}, "its neighbours on the worker are not blamed"
    assert len(lost) == 2
    assert json.loads((out / rows[1].id / "error.json").read_text())["code"] == "E-POISON"


def test_scheduler_that_dies_is_named_and_a_rerun_goes_on(slides, bundle, references, tmp_path, monkeypatch):
    monkeypatch.setenv(SLOW, "0.02")
    scheduler = subprocess.Popen(
        [sys.executable, "-m", "distributed.cli.dask_scheduler", "--host", "127.0.0.1", "--port", "0",
         "--no-dashboard", "--scheduler-file", str(tmp_path / "scheduler.json")],
        stderr=subprocess.DEVNULL,
    )  # fmt: skip
    worker = subprocess.Popen(
        [sys.executable, "-m", "distributed.cli.dask_worker", "--scheduler-file", str(tmp_path / "scheduler.json"),
         "--nthreads", "2", "--no-nanny", "--no-dashboard", "--death-timeout", "20"],
        cwd=Path(__file__).parent, stderr=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parent)},
    )  # fmt: skip
    out = tmp_path / "out"
    file = tmp_path / "scheduler.json"
    while not file.exists():
        time.sleep(0.05)
    watcher = Notes(on_tiles=scheduler.kill)
    try:
        with pytest.raises(ResourceError) as refused:
            run_toys([slides], out, bundle, scheduler=str(file), watcher=watcher, tissue="none")
        assert refused.value.code == "E-SCHEDULER"
        assert refused.value.exit_status == 6
    finally:
        for process in (scheduler, worker):
            process.kill()
            process.wait()
    monkeypatch.setenv(SLOW, "0")
    assert_as_run(run_toys([slides], out, bundle, tissue="none"), out, references)


def test_no_scheduler_is_refused(slides, bundle, tmp_path, monkeypatch):
    monkeypatch.setattr("wsiseg.cohort.cluster._CONNECT_S", 0.5)
    with pytest.raises(ResourceError) as refused:
        run_toys([slides], tmp_path / "out", bundle, scheduler="tcp://127.0.0.1:9")
    assert refused.value.code == "E-SCHEDULER"


def test_workers_of_other_versions_are_refused(slides, bundle, tmp_path, monkeypatch):
    real = tasks.versions()
    monkeypatch.setattr(tasks, "versions", lambda: {**real, "zarr": "2.0.0"})
    with pytest.raises(SettingsError) as refused:
        run_toys([slides], tmp_path / "out", bundle)
    assert refused.value.code == "E-WORKERS"
    assert "zarr" in str(refused.value)
    assert "2.0.0" in str(refused.value)


def test_workers_whose_networks_differ_are_not_mixed(slides, bundle, tmp_path):
    with pytest.raises(SettingsError) as refused:
        run_toys([slides], tmp_path / "out", bundle, workers=2, make="toy_cohort:own_numerics")
    assert refused.value.code == "E-WORKERS"


def test_the_folder_of_another_cohort_is_refused(slides, bundle, tmp_path):
    out = tmp_path / "out"
    bad = bad_slide(tmp_path)
    run_toys([bad], out, bundle)
    with pytest.raises(OutputError) as refused:
        run_toys([bad], out, bundle, tissue="none")
    assert refused.value.code == "E-OUT-SETTINGS"
    with locked(out), pytest.raises(OutputError) as refused:
        run_toys([bad], out, bundle)
    assert refused.value.code == "E-LOCKED"
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "thesis.docx").write_text("years of work")
    with pytest.raises(OutputError) as refused:
        run_toys([bad], tmp_path / "thesis", bundle)
    assert refused.value.code == "E-OUT-FOREIGN"


def test_book_counts_tries_and_forgets_losses_when_a_slide_ends(tmp_path):
    from wsiseg.errors import SlideError

    path = tmp_path / "cohort.jsonl"
    book = Book(path)
    assert book.outcome("a").state == "waiting"
    book.begun("a")
    assert book.lost("a", "infer r000c000") == 1
    book = Book(path)
    book.begun("a")
    assert book.lost("a", "infer r000c001") == 1
    assert book.lost("a", "infer r000c000") == 2, "counted over calls"
    book.failed("a", SlideError("E-POISON", "it kills"), 3.0)
    found = Book(path).outcome("a")
    assert (found.state, found.code, found.tries, found.seconds) == ("failed", "E-POISON", 2, 3.0)
    book.begun("a")
    assert book.lost("a", "infer r000c000") == 1
    assert book.complete("a", 2.0).state == "complete"
    path.write_bytes(path.read_bytes()[:-5])
    assert Book(path).outcome("a").state == "waiting", "a torn line counts for nothing"


def test_command_line(bundle, tmp_path, capsys):
    from wsiseg.cli import _status

    bad, out = bad_slide(tmp_path), tmp_path / "out"
    options = ["-o", str(out), "--model", str(bundle), "--device", "cpu"]
    assert _status(["cohort", str(bad), *options, "--json"]) == 7
    printed = capsys.readouterr()
    assert [row["code"] for row in json.loads(printed.out)["slides"]] == ["E-SLIDE-FORMAT"]
    assert printed.err.splitlines()[-1].startswith("wsiseg: error[E-COHORT-FAILED]: 1 slide failed")
    assert "Traceback" not in printed.err
    assert _status(["status", str(out)]) == 0
    assert capsys.readouterr().out == "failed: 1\n"
    assert _status(["cohort", str(tmp_path / "*.svs"), *options, "--scheduler", str(tmp_path / "none.json")]) == 6
    assert "E-SCHEDULER" in capsys.readouterr().err
    assert _status(["cohort", str(tmp_path / "nothing-*"), *options]) == 2
    assert "E-COHORT-LIST" in capsys.readouterr().err
