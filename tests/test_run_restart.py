"""The second promise: kill it anywhere, and the same command ends with the same bytes; nothing else is touched."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from synthetic import paint_tissue, scattered, write_slide
from test_run_exact import assert_same
from toy import ColourPredictor, run_toy, write_bundle

from wsiseg import fsio
from wsiseg.errors import DamageError, OutputError
from wsiseg.run import State, inspect_run, verify_run
from wsiseg.run.folder import RunFolder
from wsiseg.run.ledger import Entry, Ledger
from wsiseg.run.lock import locked
from wsiseg.tiling import Block

SIZE = (2300, 2200)
"""3 x 3 blocks of the toy bundle."""


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return write_bundle(tmp_path_factory.mktemp("bundle") / "toy")


@pytest.fixture(scope="module")
def slide(tmp_path_factory):
    painting = paint_tissue(SIZE, scattered(SIZE, spacing=64))
    return write_slide(tmp_path_factory.mktemp("slide") / "slide.svs", painting.rgb, compression="deflate")


@pytest.fixture(scope="module")
def reference(slide, bundle, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "reference"
    run_toy(slide, out, bundle, tissue="none")
    return out


@pytest.fixture
def copy(reference, tmp_path):
    """A complete run that a test may spoil."""
    import shutil

    return Path(shutil.copytree(reference, tmp_path / "copy"))


def snapshot(folder):
    return {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in folder.rglob("*") if path.is_file()}


class Stop(Exception):
    """The test's own power cut."""


class Failing(ColourPredictor):
    """Stops for good at its nth call."""

    def __init__(self, last: int):
        super().__init__()
        self.last = last

    def predict(self, windows):
        if self.calls >= self.last:
            raise Stop
        return super().predict(windows)


def start(slide, out, bundle, slow_s=0.05):
    toy = Path(__file__).with_name("toy.py")
    command = [sys.executable, str(toy), str(slide), str(out), str(bundle), str(slow_s)]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, cwd=toy.parent)


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="Windows knows no SIGKILL")
def test_killed_at_random_moments_ends_with_the_same_bytes(slide, bundle, reference, tmp_path):
    out = tmp_path / "run"
    moments = random.Random(4)
    for _ in range(6):
        process = start(slide, out, bundle)
        try:
            process.wait(timeout=moments.uniform(0.8, 3.0))
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.wait()
        assert inspect_run(out).state in (State.ABSENT, State.RESUMABLE, State.COMPLETE)
        process.stderr.close()
    run_toy(slide, out, bundle, tissue="none")
    assert_same(reference, out)
    assert not (out / "work").exists()


def test_finished_blocks_are_not_done_again(slide, bundle, reference, tmp_path):
    first, second = Failing(last=20), ColourPredictor()
    with pytest.raises(Stop):
        run_toy(slide, tmp_path / "run", bundle, predictor=first, tissue="none")
    run_toy(slide, tmp_path / "run", bundle, predictor=second, tissue="none")
    whole = ColourPredictor()
    run_toy(slide, tmp_path / "whole", bundle, predictor=whole, tissue="none")
    in_a_block = 16
    assert whole.calls <= first.calls + second.calls <= whole.calls + in_a_block
    assert second.calls < whole.calls
    assert_same(reference, tmp_path / "run")


@pytest.mark.parametrize("last", [0, 1, 17, 50, 80])
def test_any_stop_in_the_network_is_continued(last, slide, bundle, reference, tmp_path):
    out = tmp_path / "run"
    with pytest.raises(Stop):
        run_toy(slide, out, bundle, predictor=Failing(last), tissue="none")
    assert inspect_run(out).state is State.RESUMABLE
    run_toy(slide, out, bundle, tissue="none")
    assert_same(reference, out)


def test_stop_at_each_write_of_the_last_stage(slide, bundle, reference, tmp_path, monkeypatch):
    """A power cut before the nth publication, for every n until none is left."""
    out = tmp_path / "run"
    real, count = fsio.publish, 0

    def publish(temporary, final):
        nonlocal count
        if count == 0:
            raise Stop
        count -= 1
        real(temporary, final)

    monkeypatch.setattr(fsio, "publish", publish)
    for before in range(20):
        count = before
        try:
            run_toy(slide, out, bundle, tissue="none")
        except Stop:
            assert inspect_run(out).state is State.RESUMABLE
        else:
            break
    assert before >= 5
    assert_same(reference, out)


def test_complete_run_is_left_alone(slide, bundle, copy):
    before = snapshot(copy)
    predictor = ColourPredictor()
    outcome = run_toy(slide, copy, bundle, predictor=predictor, tissue="none")
    assert outcome.already_complete
    assert predictor.calls == 0
    after = snapshot(copy)
    assert before == after


@pytest.mark.parametrize(
    ("change", "key"),
    [
        ({"tissue": "auto"}, "tissue"),
        ({"mpp": 0.26}, "mpp"),
        ({"ngff": "0.4"}, "ngff"),
        ({"reader": "tiffslide"}, "reader"),
    ],
)
def test_other_settings_on_the_same_folder_are_refused(change, key, slide, bundle, copy):
    before = snapshot(copy)
    with pytest.raises(OutputError) as refused:
        run_toy(slide, copy, bundle, **{"tissue": "none", **change})
    assert refused.value.code == "E-OUT-SETTINGS"
    assert key in str(refused.value)
    after = snapshot(copy)
    assert before == after


def test_another_slide_on_the_same_folder_is_refused(bundle, copy, tmp_path):
    other = write_slide(tmp_path / "slide.svs", paint_tissue((600, 600), scattered((600, 600))).rgb)
    with pytest.raises(OutputError) as refused:
        run_toy(other, copy, bundle, tissue="none")
    assert refused.value.code == "E-SLIDE-CHANGED"


def test_unfinished_run_under_other_numerics_is_refused(slide, bundle, tmp_path):
    with pytest.raises(Stop):
        run_toy(slide, tmp_path / "run", bundle, predictor=Failing(9), tissue="none")
    other = replace(ColourPredictor(), numerics={"device": "other"})
    with pytest.raises(OutputError) as refused:
        run_toy(slide, tmp_path / "run", bundle, predictor=other, tissue="none")
    assert refused.value.code == "E-NUMERICS"
    assert "colours" in str(refused.value)


def test_fresh_sets_the_old_run_aside(slide, bundle, copy, reference):
    from wsiseg.run import RunSettings, run_slide

    settings = RunSettings(slide=slide, model=str(bundle), tissue="none")
    run_slide(settings, copy, fresh=True, make_predictor=lambda *_: ColourPredictor())
    assert_same(copy, reference)
    assert_same(copy.with_name("copy.old-1"), reference)


def test_foreign_folder_is_never_touched(slide, bundle, tmp_path):
    (tmp_path / "thesis.docx").write_text("years of work")
    before = snapshot(tmp_path)
    with pytest.raises(OutputError) as refused:
        run_toy(slide, tmp_path, bundle)
    assert refused.value.code == "E-OUT-FOREIGN"
    assert inspect_run(tmp_path).state is State.FOREIGN
    assert snapshot(tmp_path) == before


def test_output_that_is_a_file_is_refused(slide, bundle, tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(OutputError) as refused:
        run_toy(slide, tmp_path / "file", bundle)
    assert refused.value.code == "E-OUT-FOREIGN"


def test_second_process_is_refused(slide, bundle, tmp_path):
    process = start(slide, tmp_path / "run", bundle, slow_s=0.5)
    try:
        deadline = time.monotonic() + 60
        while inspect_run(tmp_path / "run").state is not State.RUNNING and time.monotonic() < deadline:
            time.sleep(0.05)
        with pytest.raises(OutputError) as refused:
            run_toy(slide, tmp_path / "run", bundle, tissue="none")
        assert refused.value.code == "E-LOCKED"
        assert str(process.pid) in str(refused.value)
    finally:
        process.kill()
        process.wait()
        process.stderr.close()
    assert inspect_run(tmp_path / "run").state is State.RESUMABLE


def test_lock_is_free_after_its_holder(tmp_path):
    with locked(tmp_path):
        pass
    with locked(tmp_path):
        pass


@pytest.mark.parametrize("spoil", ["flip", "truncate", "remove", "add"])
def test_verify_names_what_is_damaged(spoil, copy):
    assert verify_run(copy) > 10
    victim = copy / "nuclei.parquet"
    data = bytearray(victim.read_bytes())
    if spoil == "flip":
        data[len(data) // 2] ^= 1
        victim.write_bytes(data)
    elif spoil == "truncate":
        victim.write_bytes(data[:-1])
    elif spoil == "remove":
        victim.unlink()
    else:
        victim = copy / "masks.ome.zarr" / "labels" / "nuclei" / "0" / "c" / "9" / "9"
        victim.parent.mkdir(parents=True)
        victim.write_bytes(b"not of this run")
    with pytest.raises(DamageError) as found:
        verify_run(copy)
    assert victim.name in str(found.value)
    if spoil in ("truncate", "remove"):
        assert inspect_run(copy).state is State.DAMAGED


def test_every_file_counts_in_verify(copy):
    for path in sorted(path for path in copy.rglob("*") if path.is_file()):
        if path.name in ("LOCK", "COMPLETE.json"):
            continue
        data = path.read_bytes()
        path.write_bytes(bytes([data[0] ^ 1]) + data[1:])
        with pytest.raises(DamageError):
            verify_run(copy)
        path.write_bytes(data)
    verify_run(copy)


def test_broken_complete_json_does_not_mean_complete(slide, bundle, copy, reference):
    path = copy / "COMPLETE.json"
    content = json.loads(path.read_text())
    content["deliverables"][0]["size"] += 1
    path.write_text(json.dumps(content))
    assert RunFolder(copy).completion() is None
    assert inspect_run(copy).state is State.DAMAGED
    run_toy(slide, copy, bundle, tissue="none")
    assert_same(reference, copy)


def test_torn_and_damaged_ledger_lines_are_dropped(tmp_path):
    path = tmp_path / "ledger.jsonl"
    ledger = Ledger(path)
    blocks = [Block(0, column) for column in range(4)]
    for block in blocks:
        ledger.record(Entry("maps", block.name, 7, {"tiles": 1}))
    data = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(data[0] + data[1].replace(b"maps", b"mops") + data[2] + data[3][:-9])
    again = Ledger(path)
    found = [block for block in blocks if again.find("maps", block)]
    assert found == [blocks[0], blocks[2]]
    again.record(Entry("maps", blocks[3].name, 8, {"tiles": 1}))
    assert Ledger(path).find("maps", blocks[3]).crc == 8


def test_damaged_block_files_are_worked_again(slide, bundle, reference, tmp_path):
    out = tmp_path / "run"
    with pytest.raises(Stop):
        run_toy(slide, out, bundle, predictor=Failing(70), tissue="none")
    files = [path for path in (out / "work").rglob("*") if path.suffix in (".tiles", ".arrow")]
    assert len(files) > 3
    for path in files:
        data = bytearray(path.read_bytes())
        data[-1] ^= 255
        path.write_bytes(data)
    run_toy(slide, out, bundle, tissue="none")
    assert_same(reference, out)


def test_states_of_a_run(slide, bundle, tmp_path):
    assert inspect_run(tmp_path / "run").state is State.ABSENT
    with pytest.raises(Stop):
        run_toy(slide, tmp_path / "run", bundle, predictor=Failing(60), tissue="none")
    found = inspect_run(tmp_path / "run")
    assert found.state is State.RESUMABLE
    assert found.blocks_mapped >= 1
    run_toy(slide, tmp_path / "run", bundle, tissue="none")
    assert inspect_run(tmp_path / "run").state is State.COMPLETE
