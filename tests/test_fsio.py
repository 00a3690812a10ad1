"""Files are whole or not there, and the system's refusals become ours."""

from __future__ import annotations

import errno
import os
import threading
import time
from contextlib import suppress

import pytest

from wsiseg import fsio, host
from wsiseg.errors import OutputError, ResourceError


def test_a_write_that_fails_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "file"
    fsio.write_atomic(path, b"old")

    def full(_descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ResourceError) as refused:
        fsio.write_atomic(path, b"new")
    assert refused.value.code == "E-NOSPACE"
    assert path.read_bytes() == b"old"


@pytest.mark.parametrize(
    ("number", "kind", "code"),
    [
        (errno.ENOSPC, ResourceError, "E-NOSPACE"),
        (errno.EFBIG, ResourceError, "E-NOSPACE"),
        (errno.EACCES, OutputError, "E-OUT-READONLY"),
        (errno.EROFS, OutputError, "E-OUT-READONLY"),
        (errno.EIO, ResourceError, "E-IO"),
        (errno.EMFILE, ResourceError, "E-IO"),
    ],
)
def test_refusals_are_explained(number, kind, code, tmp_path):
    with pytest.raises(kind) as refused, fsio.explained(tmp_path / "deep" / "er"):
        raise OSError(number, os.strerror(number))
    assert refused.value.code == code
    assert str(tmp_path) in str(refused.value)


def test_append_and_truncate(tmp_path):
    path = tmp_path / "log"
    fsio.append_line(path, b"one")
    fsio.append_line(path, b"two")
    fsio.truncate(path, 4)
    fsio.append_line(path, b"three")
    assert path.read_bytes() == b"one\nthree\n"


def test_publish_gives_a_folder_its_name(tmp_path):
    partial = fsio.partial_name(tmp_path / "store")
    fsio.write_atomic(partial / "a" / "b", b"1")
    fsio.publish(partial, tmp_path / "store")
    assert (tmp_path / "store" / "a" / "b").read_bytes() == b"1"
    assert not partial.exists()


def test_a_link_is_removed_and_not_followed(tmp_path):
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "slide.svs").write_bytes(b"1")
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "precious", target_is_directory=True)
    fsio.remove(link)
    assert not link.exists()
    assert (tmp_path / "precious" / "slide.svs").exists()
    fsio.remove(tmp_path / "nowhere")


def test_control_characters_of_a_name_do_not_reach_the_terminal():
    text = str(OutputError("E-LOCKED", "held", where="a\x1b[31m\nb"))
    assert "\x1b" not in text
    assert "\n" not in text


def test_cores_respect_affinity_slurm_and_quota(monkeypatch, tmp_path):
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: set(range(16)), raising=False)
    monkeypatch.delenv("SLURM_CPUS_PER_TASK", raising=False)
    monkeypatch.setattr(host, "_CGROUP", tmp_path)
    assert host.usable_cores() == 16
    monkeypatch.setenv("SLURM_CPUS_PER_TASK", "8")
    assert host.usable_cores() == 8
    (tmp_path / "cpu.max").write_text("250000 100000\n")
    assert host.usable_cores() == 3
    (tmp_path / "cpu.max").write_text("max 100000\n")
    assert host.usable_cores() == 8


def test_memory_respects_the_cgroup(monkeypatch, tmp_path):
    monkeypatch.setattr(host, "_CGROUP", tmp_path)
    (tmp_path / "memory.max").write_text("1000000\n")
    (tmp_path / "memory.current").write_text("400000\n")
    assert host.available_bytes() == 600000


def test_limits_of_the_group_that_a_process_is_in_count_as_do_those_around_it(monkeypatch, tmp_path):
    """Version 1 as older clusters have it, then version 2 without a namespace."""
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: set(range(16)), raising=False)
    monkeypatch.delenv("SLURM_CPUS_PER_TASK", raising=False)
    monkeypatch.setattr(host, "_CGROUP", tmp_path)
    monkeypatch.setattr(host, "_MEMBERSHIP", tmp_path / "mine")
    (tmp_path / "mine").write_text("4:memory:/job/step\n3:cpu,cpuacct:/job/step\n0::/slice\n")
    job = tmp_path / "cpu" / "job"
    (job / "step").mkdir(parents=True)
    (job / "step" / "cpu.cfs_quota_us").write_text("-1\n")
    (job / "step" / "cpu.cfs_period_us").write_text("100000\n")
    assert host.usable_cores() == 16
    (job / "cpu.cfs_quota_us").write_text("400000\n")
    (job / "cpu.cfs_period_us").write_text("100000\n")
    assert host.usable_cores() == 4
    memory = tmp_path / "memory" / "job"
    memory.mkdir(parents=True)
    (memory / "memory.limit_in_bytes").write_text("1000\n")
    (memory / "memory.usage_in_bytes").write_text("300\n")
    assert host.available_bytes() == 700
    (tmp_path / "slice").mkdir()
    (tmp_path / "slice" / "cpu.max").write_text("50000 100000\n")
    assert host.usable_cores() == 1


def test_folder_is_removed_while_somebody_still_writes_into_it(tmp_path):
    folder = tmp_path / "work"
    folder.mkdir()
    for number in range(300):
        (folder / f"{number}").touch()
    ending = time.monotonic() + 0.15

    def write():
        number = 0
        while time.monotonic() < ending:
            number += 1
            with suppress(FileNotFoundError):
                (folder / f"late{number}").touch()
                (folder / f"late{number}").rename(folder / "last")

    writer = threading.Thread(target=write)
    writer.start()
    fsio.remove(folder)
    writer.join()
    assert not folder.exists()


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such limit")
def test_as_many_files_may_be_open_as_the_system_grants():
    import resource

    before, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(256, before), most))
    try:
        host.allow_open_files()
        assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] >= before
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (before, most))
