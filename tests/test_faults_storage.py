"""Group C of the faults: disks, processes and hosts that fail under a run. What is left is never a lie.

Each case names its fault, then the exact code and exit status, or that the run is as if nothing had happened.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import ClassVar

import pytest
from faults.bench import SIZE, digests
from synthetic import paint_tissue, scattered, write_slide
from toy import ColourPredictor, describe_bundle, run_toy, toy_spec

from wsiseg import fsio
from wsiseg.errors import DamageError, OutputError, ResourceError, WsisegError
from wsiseg.run import RunSettings, State, inspect_run, run_slide, verify_run
from wsiseg.run.folder import RunFolder
from wsiseg.run.lock import is_locked, locked
from wsiseg.run.progress import Silent

POSIX = pytest.mark.skipif(os.name == "nt", reason="Windows has other permissions, links and limits")


@dataclass(frozen=True)
class Made:
    """A slide, a bundle, an undisturbed run and two interrupted ones."""

    slide: Path
    bundle: Path
    whole: Path
    begun: Path
    """Stopped when one of two blocks had its maps."""
    decoded: Path
    """Stopped when both blocks had their nuclei, before the first deliverable."""
    reference: dict[str, str]

    def run(self, out, predictor=None, **settings):
        return run_toy(self.slide, out, self.bundle, predictor=predictor, tissue="none", workers=1, **settings)


class Stop(Exception):
    """The test's own end of the world."""


class Failing(ColourPredictor):
    def __init__(self, last, act=None):
        super().__init__()
        self.last, self.act = last, act

    def predict(self, windows):
        if self.calls == self.last:
            if self.act is None:
                raise Stop
            self.act()
        return super().predict(windows)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("made")
    painting = paint_tissue(SIZE, scattered(SIZE, spacing=64))
    slide = (
        write_slide(folder / "slides" / "slide.svs", painting.rgb, compression="deflate")
        if (folder / "slides").mkdir() is None
        else None
    )
    bundle = describe_bundle(folder / "bundle", toy_spec())
    found = Made(slide, bundle, folder / "whole", folder / "begun", folder / "decoded", {})
    found.run(found.whole)
    found.reference.update(digests(found.whole))
    with pytest.raises(Stop):
        found.run(found.begun, Failing(last=2))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("wsiseg.run.pipeline.new_attempt", raising(Stop()))
        with pytest.raises(Stop):
            found.run(found.decoded)
    return found


@pytest.fixture
def out(tmp_path):
    return tmp_path / "run"


def raising(error):
    def fail(*_arguments, **_options):
        raise error

    return fail


def snapshot(folder):
    return {
        path: (path.lstat().st_mtime_ns, path.read_bytes() if path.is_file() else b"")
        for path in sorted(folder.rglob("*"))
    }


def assert_recovers(made, out):
    made.run(out)
    assert digests(out) == made.reference
    assert inspect_run(out).state is State.COMPLETE


# -- C4, C5, C6, C19: the system refuses ------------------------------------------------------------------


def failing_at(real, number, nth):
    calls = 0

    def call(*arguments, **options):
        nonlocal calls
        calls += 1
        if calls == nth:
            raise OSError(number, os.strerror(number))
        return real(*arguments, **options)

    return call


@POSIX
@pytest.mark.parametrize(
    ("call", "nth", "number", "kind", "code", "status"),
    [
        ("fsync", 1, errno.ENOSPC, ResourceError, "E-NOSPACE", 6),
        ("fsync", 4, errno.EDQUOT, ResourceError, "E-NOSPACE", 6),
        ("fsync", 20, errno.EIO, ResourceError, "E-IO", 6),
        ("replace", 1, errno.EROFS, OutputError, "E-OUT-READONLY", 5),
        ("replace", 3, errno.ENOSPC, ResourceError, "E-NOSPACE", 6),
        ("replace", 11, errno.EPERM, OutputError, "E-OUT-READONLY", 5),
    ],
)
def test_a_refused_write_stops_and_loses_nothing(call, nth, number, kind, code, status, made, out, monkeypatch):
    """The sweeps of `make faults` do this at every call."""
    with monkeypatch.context() as patch:
        patch.setattr(os, call, failing_at(getattr(os, call), number, nth))
        with pytest.raises(kind) as refused:
            made.run(out)
    assert (refused.value.code, refused.value.exit_status) == (code, status)
    assert str(out) in refused.value.where
    assert inspect_run(out).state in (State.ABSENT, State.RESUMABLE)
    assert not [*out.glob(f"work/maps/*{fsio.PARTIAL}"), *out.glob(f"work/nuclei/*{fsio.PARTIAL}")]
    assert_recovers(made, out)


@pytest.mark.slow
@POSIX
def test_a_disk_that_fills_up_is_named_and_the_run_goes_on_when_there_is_room(made, tmp_path):
    code = (
        "import sys\nfrom pathlib import Path\nfrom toy import run_toy\nfrom wsiseg.errors import WsisegError\n"
        "try: run_toy(*map(Path, sys.argv[1:4]), tissue='none', workers=1)\n"
        "except WsisegError as e: print(e.code, e.exit_status)\nelse: print('done')\n"
    )
    disk = tmp_path / "disk"
    disk.mkdir()
    program = f'"{sys.executable}" -c "$0" "{made.slide}" "{disk}/run" "{made.bundle}"'
    steps = [f'mount -t tmpfs -o size=300k none "{disk}" && {program}']
    steps += [f'mount -o remount,size={size} "{disk}" && {program}' for size in ("1500k", "4m", "9m")]
    steps.append(f'cp -r "{disk}/run" "{tmp_path}/kept"')
    ended = subprocess.run(
        ["unshare", "-m", "sh", "-c", " && ".join(steps), code],
        cwd=Path(__file__).parent, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if "unshare" in ended.stderr or "mount" in ended.stderr:
        pytest.skip("no file system can be mounted here")
    said = ended.stdout.split("\n")
    assert said[0] == "E-NOSPACE 6", ended.stderr
    assert said[-2] == "done"
    assert set(said[1:-2]) <= {"E-NOSPACE 6", "done"}
    assert digests(tmp_path / "kept") == made.reference


@POSIX
@pytest.mark.parametrize("limit", [0, 20_000])
def test_a_file_size_limit_is_a_full_disk(limit, made, out):
    import resource

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    network = Failing(last=1, act=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1])))
    try:
        with pytest.raises(ResourceError) as refused:
            made.run(out, network)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert refused.value.code == "E-NOSPACE"
    assert_recovers(made, out)


@pytest.mark.parametrize("number", [errno.EIO, errno.ESTALE])
@pytest.mark.parametrize(("failures", "survives"), [(1, True), (3, True), (4, False)])
def test_a_read_that_fails_is_tried_again(number, failures, survives, tmp_path, monkeypatch):
    path = tmp_path / "file"
    path.write_bytes(b"content")
    left = failures

    def faltering(_handle):
        nonlocal left
        left -= 1
        if left >= 0:
            raise OSError(number, os.strerror(number))
        return b"content"

    monkeypatch.setattr(fsio, "_PAUSES_S", (0.0, 0.0, 0.0))
    if survives:
        assert fsio._patiently(path, faltering) == b"content"
        return
    with pytest.raises(ResourceError) as refused:
        fsio._patiently(path, faltering)
    assert refused.value.code == "E-IO"


def test_a_missing_file_is_not_waited_for(tmp_path, monkeypatch):
    monkeypatch.setattr(time, "sleep", raising(AssertionError("waited")))
    with pytest.raises(ResourceError):
        fsio.read(tmp_path / "nowhere")


@pytest.mark.parametrize("spoil", ["short", "gone", "flipped"])
def test_maps_that_vanish_or_change_during_the_run_are_an_error_and_not_background(spoil, made, out):
    def act():
        path = out / "work" / "maps" / "r000c000.tiles"
        if spoil == "gone":
            path.unlink()
        elif spoil == "short":
            path.write_bytes(path.read_bytes()[:1000])
        else:
            data = bytearray(path.read_bytes())
            data[-1] ^= 1
            path.write_bytes(data)

    with pytest.raises(ResourceError) as refused:
        made.run(out, Failing(last=2, act=act))
    assert refused.value.code == "E-IO"
    assert "r000c000.tiles" in str(refused.value)
    assert_recovers(made, out)


# -- C7: folders that may not be written ------------------------------------------------------------------


@contextmanager
def as_nobody():
    """Root may write everywhere, so be somebody else for a while."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.fixture
def open_folder():
    """A folder that others may look into; pytest's own are closed to them."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


@POSIX
@pytest.mark.parametrize("case", ["no folder yet", "empty folder", "interrupted run"])
def test_a_folder_that_may_not_be_written_is_refused(case, made, open_folder):
    """Both steps come before the network is loaded."""
    folder = RunFolder(open_folder / "run")
    if case == "empty folder":
        folder.path.mkdir()
    elif case == "interrupted run":
        shutil.copytree(made.begun, folder.path)
    for path in (open_folder, *open_folder.rglob("*")):
        path.chmod(0o555)
    before = snapshot(open_folder)
    with as_nobody(), pytest.raises(OutputError) as refused:
        begin(folder)
    assert (refused.value.code, refused.value.exit_status) == ("E-OUT-READONLY", 5)
    assert snapshot(open_folder) == before


def begin(folder):
    folder.create()
    with locked(folder.path):
        raise AssertionError("it could be written")


@POSIX
def test_a_complete_run_of_somebody_else_is_complete_for_all(made, open_folder):
    out = shutil.copytree(made.whole, open_folder / "run")
    (out / "LOCK").chmod(0o600)
    with as_nobody():
        assert inspect_run(out).state is State.COMPLETE
        assert verify_run(out) > 10


@POSIX
def test_a_folder_that_may_not_be_seen_is_one_line(open_folder):
    (open_folder / "run").mkdir(mode=0o000)
    with as_nobody(), pytest.raises(OutputError) as refused:
        inspect_run(open_folder / "run")
    assert refused.value.code == "E-OUT-READONLY"


# -- C8: the folder disappears ----------------------------------------------------------------------------


@pytest.mark.parametrize("moment", [0, 1, 2])
def test_a_folder_deleted_during_the_run_is_not_made_again(moment, made, out):
    with pytest.raises(ResourceError) as refused:
        made.run(out, Failing(last=moment, act=lambda: shutil.rmtree(out)))
    assert (refused.value.code, refused.value.exit_status) == ("E-IO", 6)
    assert inspect_run(out).state is State.ABSENT
    assert_recovers(made, out)


# -- C10, C11: locks --------------------------------------------------------------------------------------


@pytest.mark.parametrize("content", [b"", b"process 1 on elsewhere\n", b"\0" * 100, b"process 99999999 on here\n"])
def test_what_a_dead_process_left_in_the_lock_does_not_matter(content, made, out):
    shutil.copytree(made.begun, out)
    (out / "LOCK").write_bytes(content)
    assert inspect_run(out).state is State.RESUMABLE
    assert_recovers(made, out)


@POSIX
@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS])
def test_a_file_system_without_locks_is_worked_on(number, made, out, monkeypatch):
    import fcntl

    monkeypatch.setattr(fcntl, "flock", raising(OSError(number, os.strerror(number))))
    assert_recovers(made, out)


@POSIX
def test_a_lock_that_fails_otherwise_is_an_error(made, out, monkeypatch):
    import fcntl

    monkeypatch.setattr(fcntl, "flock", raising(OSError(errno.EIO, "broken")))
    with pytest.raises(ResourceError) as refused:
        made.run(out)
    assert refused.value.code == "E-IO"


@POSIX
def test_the_lock_of_a_folder_that_was_set_aside_is_not_held_for_the_new_one(tmp_path, monkeypatch):
    """Between opening the file and getting the lock, `--fresh` may have renamed the folder."""
    from wsiseg.run import lock

    folder, real, tried = tmp_path / "run", lock._try_lock, []
    folder.mkdir()

    def slow(handle, **options):
        real(handle, **options)
        tried.append(handle.name)
        if len(tried) == 1:
            folder.rename(tmp_path / "run.old-1")
            folder.mkdir()

    monkeypatch.setattr(lock, "_try_lock", slow)
    with locked(folder):
        assert len(tried) == 2
        assert (folder / "LOCK").read_text().startswith("process")
    assert not (tmp_path / "run.old-1" / "LOCK").read_text()


def test_asking_whether_a_run_is_held_does_not_hold_it(made, out):
    shutil.copytree(made.begun, out)
    assert not is_locked(out)
    with locked(out):
        assert is_locked(out)
        assert inspect_run(out).state is State.RUNNING
    assert not is_locked(out)


# -- C13: clocks, time zones, languages, places -----------------------------------------------------------


@pytest.mark.parametrize("now", [0.0, 2.0**31 + 5, 4e9])
def test_no_clock_decides_anything(now, made, out, monkeypatch):
    monkeypatch.setattr(time, "time", lambda: now)
    shutil.copytree(made.begun, out)
    for path in out.rglob("*"):
        os.utime(path, (now, now))
    assert_recovers(made, out)


@pytest.mark.slow
@pytest.mark.parametrize(
    "surroundings",
    [
        {"TZ": "Pacific/Kiritimati", "LC_ALL": "C", "PYTHONHASHSEED": "1"},
        {"TZ": "XXX+17:23", "LC_ALL": "de_DE.UTF-8", "LANG": "tr_TR.UTF-8", "PYTHONHASHSEED": "2"},
        {"TMPDIR": "/nowhere", "TEMP": "/nowhere", "HOME": "/nowhere", "USER": "x", "COLUMNS": "3"},
    ],
)
def test_no_surroundings_decide_anything(surroundings, made, out):
    command = [sys.executable, "toy.py", made.slide, out, made.bundle, "0"]
    tests = Path(__file__).parent
    subprocess.run(list(map(str, command)), cwd=tests, env={**os.environ, **surroundings}, check=True)
    assert digests(out) == made.reference


def test_no_host_and_no_path_decide_anything(made, tmp_path, monkeypatch):
    monkeypatch.setattr(socket, "gethostname", lambda: "elsewhere")
    monkeypatch.chdir(tmp_path)
    slide = shutil.copy(made.slide, tmp_path)
    run_toy(Path(slide).relative_to(tmp_path), Path("run"), made.bundle, tissue="none")
    assert digests(tmp_path / "run") == made.reference


# -- C14, C16: complete runs ------------------------------------------------------------------------------


def flip(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def into_link(path):
    path.rename(path.with_name("moved"))
    path.symlink_to(path.with_name("nowhere"))


def into_folder(path):
    path.unlink()
    path.mkdir()


SPOILS = {
    "flipped": (flip, False),
    "cut": (lambda path: os.truncate(path, path.stat().st_size - 1), True),
    "emptied": (lambda path: path.write_bytes(b""), True),
    "longer": (lambda path: path.write_bytes(path.read_bytes() + b"\n"), True),
    "removed": (Path.unlink, True),
    "a folder": (into_folder, True),
    "a dead link": (into_link, True),
}
"""How a file is spoilt, and whether its name and size give it away."""
DELIVERED = (
    "nuclei.parquet", "nuclei.geojson.gz", "overview.png", "summary.json", "report.html", "performance.json",
    "masks.ome.zarr/zarr.json", "masks.ome.zarr/labels/nuclei/0/c/0/0", "masks.ome.zarr/0/c/0/0/0",
)  # fmt: skip


VERIFIED = [*product(DELIVERED, ("flipped", "removed")), *product(DELIVERED[:1], SPOILS)]


@POSIX
@pytest.mark.parametrize(("name", "spoil"), VERIFIED)
def test_verify_names_what_is_not_as_it_was(name, spoil, made, out):
    shutil.copytree(made.whole, out)
    change, shows = SPOILS[spoil]
    change(out / name)
    with pytest.raises(DamageError) as found:
        verify_run(out)
    assert (found.value.code, found.value.exit_status) == ("E-DAMAGED", 8)
    assert name in found.value.what
    assert inspect_run(out).state is (State.DAMAGED if shows else State.COMPLETE)


@pytest.mark.parametrize("spoil", ["cut", "removed"])
def test_a_damaged_run_is_not_called_complete_and_not_mended_in_silence(spoil, made, out):
    shutil.copytree(made.whole, out)
    SPOILS[spoil][0](out / "nuclei.parquet")
    before = snapshot(out)
    with pytest.raises(OutputError) as refused:
        made.run(out)
    assert (refused.value.code, refused.value.exit_status) == ("E-OUT-MISSING", 5)
    assert "nuclei.parquet" in str(refused.value)
    assert "--fresh" in refused.value.fix
    assert snapshot(out) == before


@pytest.mark.parametrize("spoil", ["flipped", "emptied", "removed"])
def test_a_complete_run_without_its_record_is_damaged(spoil, made, out):
    shutil.copytree(made.whole, out)
    SPOILS[spoil][0](out / "run.json")
    before = snapshot(out)
    assert inspect_run(out).state is State.DAMAGED
    with pytest.raises(DamageError) as found:
        verify_run(out)
    assert "run.json" in found.value.what
    with pytest.raises(OutputError):
        made.run(out)
    assert snapshot(out) == before


@pytest.mark.parametrize("spoil", ["flipped", "cut", "emptied", "longer", "removed"])
def test_without_its_last_word_a_run_is_not_complete(spoil, made, out):
    shutil.copytree(made.whole, out)
    SPOILS[spoil][0](out / "COMPLETE.json")
    whole = spoil in ("cut", "longer")  # a newline after the last brace says nothing
    state = State.RESUMABLE if spoil == "removed" else State.COMPLETE if whole else State.DAMAGED
    assert inspect_run(out).state is state
    assert_recovers(made, out)


def test_a_complete_run_is_quick_and_untouched(made, out):
    shutil.copytree(made.whole, out)
    before, started = snapshot(out), time.process_time()
    predictor = ColourPredictor()
    assert made.run(out, predictor).already_complete
    assert time.process_time() - started < 2
    assert predictor.calls == 0
    assert snapshot(out) == before


@pytest.mark.parametrize("schema", [0, 2, "1", None])
def test_another_layout_is_refused(schema, made, out):
    shutil.copytree(made.begun, out)
    record = json.loads((out / "run.json").read_bytes())
    (out / "run.json").write_text(json.dumps({**record, "schema": schema}))
    with pytest.raises(OutputError) as refused:
        made.run(out)
    assert (refused.value.code, refused.value.exit_status) == ("E-OUT-SCHEMA", 5)


# -- C15: ledger and block files --------------------------------------------------------------------------

EDITS = {
    "empty": lambda data: b"",
    "torn": lambda data: data[:-7],
    "repeated": lambda data: data * 3,
    "reversed": lambda data: b"".join(reversed(data.splitlines(keepends=True))),
    "one line lost": lambda data: b"".join(data.splitlines(keepends=True)[1:]),
    "flipped": lambda data: bytes([*data[:40], data[40] ^ 4, *data[41:]]),
    "binary": lambda data: os.urandom(5000),
    "zeros at its end": lambda data: data + b"\0" * 4096,
    "a line without checksum": lambda data: data + b'{"stage": "maps", "block": "r000c001", "crc": 7}\n',
    "a list": lambda data: data + line_of(b"[1, 2]"),
    "another stage": lambda data: data + line_of(b'{"stage": "maks", "block": "r000c001", "crc": 7}'),
    "a number for a name": lambda data: data + line_of(b'{"stage": "maps", "block": 7, "crc": "x"}'),
    "another block's checksum": lambda data: data + line_of(b'{"stage": "maps", "block": "r000c000", "crc": 7}'),
    "deep": lambda data: data + line_of(b"[" * 100_000),
}


def line_of(body):
    import zlib

    return b"%08x %s\n" % (zlib.crc32(body), body)


@pytest.mark.parametrize("edit", EDITS)
def test_a_ledger_is_believed_no_further_than_its_checksums(edit, made, out):
    shutil.copytree(made.decoded, out)
    ledger = out / "work" / "ledger.jsonl"
    ledger.write_bytes(EDITS[edit](ledger.read_bytes()))
    assert inspect_run(out).state is State.RESUMABLE
    assert_recovers(made, out)


def swap(path):
    other = path.with_name(path.name.replace("c000", "c001"))
    if other.exists():
        other.rename(path)
    else:
        path.write_bytes(b"another block's")


@POSIX
@pytest.mark.parametrize(
    ("stage", "name", "spoil"),
    [
        *product(("begun",), ("maps/r000c000.tiles",), ("flipped", "longer", "a folder", "a dead link")),
        *product(("decoded",), ("nuclei/r000c000.arrow",), ("flipped", "cut", "emptied", "removed", "swapped")),
    ],
)
def test_a_block_file_that_is_not_what_was_recorded_is_made_again(stage, name, spoil, made, out):
    shutil.copytree(getattr(made, stage), out)
    change = swap if spoil == "swapped" else SPOILS[spoil][0]
    change(out / "work" / name)
    if spoil == "a folder":  # nothing of ours is a folder there: it is not removed
        with pytest.raises(ResourceError) as refused:
            made.run(out)
        assert refused.value.code == "E-IO"
        return
    assert_recovers(made, out)


def test_what_a_kill_left_half_written_is_swept(made, out):
    shutil.copytree(made.begun, out)
    for name in ("work/maps/r000c001.tiles.0badcafe.partial", "run.json.partial", "work/results-1234/x.partial"):
        (out / name).parent.mkdir(exist_ok=True)
        (out / name).write_bytes(b"half")
    assert_recovers(made, out)


# -- C17, C18: nothing of anybody else --------------------------------------------------------------------

FOREIGN = {
    "a letter": {"thesis.docx": b"years of work"},
    "a folder called work": {"work/data.csv": b"1"},
    "a report": {"report.html": b"mine"},
    "somebody's masks": {"masks.ome.zarr/zarr.json": b"{}"},
    "somebody's run.json": {"run.json": b'{"steps": 5}'},
    "a run.json that is none": {"run.json": b"#!/bin/sh"},
    "somebody's COMPLETE.json": {"COMPLETE.json": b"{}"},
    "a database": {"LOCK": b"rocks", "CURRENT": b"1"},
    "a half file": {"nuclei.parquet.partial": b"not ours"},
    "hidden things": {".git/HEAD": b"ref"},
}
FRESH = ("a folder called work", "somebody's run.json", "a database")
"""Tried with --fresh as well."""


@pytest.mark.parametrize(
    ("case", "fresh"), [*((case, False) for case in FOREIGN), *((case, True) for case in FRESH)]
)
def test_a_folder_that_is_not_ours_is_not_touched(case, fresh, made, out):
    for name, data in FOREIGN[case].items():
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        (out / name).write_bytes(data)
    before = snapshot(out.parent)
    with pytest.raises(OutputError) as refused:
        made.run(out, fresh=fresh)
    assert (refused.value.code, refused.value.exit_status) == ("E-OUT-FOREIGN", 5)
    assert inspect_run(out).state is State.FOREIGN
    assert snapshot(out.parent) == before


def test_the_slide_s_own_folder_is_refused(made):
    before = snapshot(made.slide.parent)
    with pytest.raises(OutputError) as refused:
        made.run(made.slide.parent)
    assert refused.value.code == "E-OUT-FOREIGN"
    assert snapshot(made.slide.parent) == before


def test_somebody_s_files_in_a_run_are_kept(made, out):
    shutil.copytree(made.begun, out)
    (out / "notes").mkdir()
    mine = {out / "notes.txt": b"mine", out / "notes" / "more.partial": b"mine", out / "slide.svs": b"mine"}
    for path, data in mine.items():
        path.write_bytes(data)
    made.run(out)
    assert {path: path.read_bytes() for path in mine} == mine


LINKS = (
    "nuclei.parquet",
    "summary.json",
    "error.json",
    "run.json.partial",
    "COMPLETE.json.partial",
    "performance.json",
)


@POSIX
@pytest.mark.parametrize("name", LINKS)
def test_a_link_under_a_name_of_ours_is_replaced_and_not_followed(name, made, out, tmp_path):
    precious = tmp_path / "precious"
    precious.write_bytes(b"years of work")
    shutil.copytree(made.begun, out)
    (out / name).symlink_to(precious)
    made.run(out)
    assert precious.read_bytes() == b"years of work"
    assert not (out / name).is_symlink()


@POSIX
def test_a_link_for_a_lock_is_refused(made, out, tmp_path):
    precious = tmp_path / "precious"
    precious.write_bytes(b"years of work")
    out.mkdir()
    (out / "LOCK").symlink_to(precious)
    with pytest.raises(WsisegError) as refused:
        made.run(out)
    assert refused.value.code == "E-IO"
    assert precious.read_bytes() == b"years of work"


@POSIX
def test_links_to_folders_are_unlinked_and_not_emptied(made, out, tmp_path):
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "slide.svs").write_bytes(b"years of work")
    shutil.copytree(made.begun, out)
    (out / "masks.ome.zarr").symlink_to(precious, target_is_directory=True)
    assert_recovers(made, out)
    assert (precious / "slide.svs").read_bytes() == b"years of work"


def test_slides_are_only_read(made, out):
    before = snapshot(made.slide.parent)
    made.run(out)
    assert snapshot(made.slide.parent) == before


# -- C9: nobody listens -----------------------------------------------------------------------------------


@POSIX
def test_a_closed_stderr_does_not_end_a_run(monkeypatch):
    from wsiseg.cli.display import watching

    reader, writer = os.pipe()
    os.close(reader)
    closed = os.fdopen(writer, "w", buffering=1)
    monkeypatch.setattr(sys, "stderr", closed)
    with watching() as progress:
        progress.stage("tiles", 2)
        progress.note("something")
        monkeypatch.setattr(progress, "SECONDS_BETWEEN", -1.0)
        progress.advance()
    with suppress(BrokenPipeError):
        closed.close()


# -- what a run says of itself ----------------------------------------------------------------------------


def test_a_bug_leaves_its_traceback(made, out):
    with pytest.raises(Stop):
        made.run(out, Failing(last=1))
    assert "Stop" in (out / "work" / "traceback.txt").read_text()
    assert inspect_run(out).state is State.RESUMABLE
    assert_recovers(made, out)


def test_too_little_space_is_said_beforehand(made, out, monkeypatch):
    class Listening(Silent):
        notes: ClassVar[list[str]] = []

        def note(self, text):
            self.notes.append(text)

    monkeypatch.setattr(fsio, "free_bytes", lambda _where: 1_000_000)
    settings = RunSettings(slide=made.slide, model=str(made.bundle), tissue="none", workers=1)
    run_slide(settings, out, progress=Listening(), make_predictor=lambda *_: ColourPredictor())
    assert [note for note in Listening.notes if "1 MB free" in note]
    assert digests(out) == made.reference
