"""A toy run of two blocks, made again and again: begun, disturbed, looked at, ended and compared."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import psutil
from synthetic import paint_tissue, scattered, write_slide
from toy import describe_bundle, toy_spec, write_bundle

from wsiseg.errors import WsisegError
from wsiseg.fsio import PARTIAL, sha256_of
from wsiseg.run import State, inspect_run, verify_run

SIZE = (1100, 128)
"""Two blocks of the toy bundle, the second a narrow one."""
PATIENCE_S = 20.0
NOT_COMPARED = ("LOCK", "COMPLETE.json", "performance.json")
"""What tells of one execution: seconds."""


class Bench:
    """A slide, a bundle, an undisturbed run of them, and a server that makes more.

    Parameters
    ----------
    folder
        Where all of it lies. A memory file system makes the sweeps several times as quick.
    real
        Run the bundle's own network, not the colour rule.
    """

    def __init__(self, folder: Path, *, real: bool = False) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        painting = paint_tissue(SIZE, scattered(SIZE, spacing=64))
        slide = write_slide(folder / "slide.svs", painting.rgb, compression="deflate")
        bundle = write_bundle(folder / "bundle") if real else describe_bundle(folder / "bundle", toy_spec())
        command = [sys.executable, "-m", "faults.server", slide, bundle, folder, "real" if real else "toy"]
        tests = Path(__file__).resolve().parents[1]
        path = os.pathsep.join([str(tests), *filter(None, [os.environ.get("PYTHONPATH")])])
        self._server = subprocess.Popen(
            [str(part) for part in command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": path},
        )
        self._answer()
        self._process = 0
        self.orphaned = False
        """Whether the last run left a process behind."""
        self.out = folder / "run"
        assert self.finish() == 0, self.error()
        self.calls = self.take_calls()
        """How often an undisturbed run asks the network."""
        self.reference = digests(self.out)
        self.clear()

    def begin(self, gate: Path | None = None) -> int:
        """Start a run in `out`; give its process. With a gate it waits until that file is there."""
        (self.folder / "error").unlink(missing_ok=True)
        request = {"out": str(self.out), "gate": gate and str(gate)}
        self._server.stdin.write(json.dumps(request) + "\n")
        self._server.stdin.flush()
        self._process = self._answer()["pid"]
        return self._process

    def end(self) -> int:
        """Wait for the process; give its exit status, negative for a signal."""
        status = os.waitstatus_to_exitcode(self._answer()["status"])
        self.orphaned = has_orphans(self._process)
        return status

    def finish(self) -> int:
        """Make the run, or go on with it, undisturbed."""
        self.begin()
        return self.end()

    def error(self) -> str:
        """What the last run said."""
        path = self.folder / "error"
        return path.read_text() if path.exists() else ""

    def take_calls(self) -> int:
        """Give how often the network was asked since the last time."""
        path = self.folder / "calls"
        count = path.stat().st_size if path.exists() else 0
        path.unlink(missing_ok=True)
        return count

    def clear(self) -> None:
        """Remove the run."""
        shutil.rmtree(self.out, ignore_errors=True)
        self.take_calls()

    def problems_now(self) -> list[str]:
        """What is wrong with the state that an interrupted run left: it may be anything but a lie."""
        if self.orphaned:
            return ["a process of the run lives on"]
        state = inspect_run(self.out).state
        if state is State.COMPLETE:
            try:
                verify_run(self.out)
            except WsisegError as error:
                return [f"complete, but {error}"]
            return []
        return [] if state in (State.ABSENT, State.RESUMABLE) else [f"the state is {state}"]

    def problems_after(self, extra_calls: int | None = None) -> list[str]:
        """Run the same command again; say what is not as if nothing had happened."""
        status = self.finish()
        if status != 0:
            return [f"the rerun ended with {status}: {self.error()}"]
        problems = [] if inspect_run(self.out).state is State.COMPLETE else ["the rerun did not complete"]
        found = digests(self.out)
        names = sorted({**self.reference, **found})
        problems += [f"{name} differs" for name in names if found.get(name) != self.reference.get(name)]
        calls = self.take_calls()
        if extra_calls is not None and calls > self.calls + extra_calls:
            problems.append(f"the network was asked {calls} times, undisturbed {self.calls}")
        return problems

    def close(self) -> None:
        """End the server."""
        self._server.stdin.close()
        self._server.wait()
        self._server.stdout.close()

    def __enter__(self) -> Bench:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _answer(self) -> dict:
        line = self._server.stdout.readline()
        if not line:
            raise RuntimeError("the server of the sweeps has ended")
        return json.loads(line)


def digests(out: Path) -> dict[str, str]:
    """Digest every file that must not depend on interruptions; whatever is left over counts too."""
    files = (path for path in sorted(out.rglob("*")) if path.is_file() and path.name not in NOT_COMPARED)
    found = {path.relative_to(out).as_posix(): sha256_of(path) for path in files}
    folders = (path for path in out.rglob("*") if path.is_dir())
    return found | {f"{path.relative_to(out)}/": "left over" for path in folders if path.name.endswith(PARTIAL)}


def kill(process: int) -> None:
    """Kill a run, and not what it started: that has to notice."""
    with suppress(ProcessLookupError):  # it has just ended
        os.kill(process, signal.SIGKILL)


def has_orphans(process: int) -> bool:
    """Tell whether something that a run started outlives it by seconds."""
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        try:
            os.killpg(process, 0)
        except ProcessLookupError:
            return False
        if not any(_is_alive_in(group, process) for group in psutil.process_iter()):
            return False
        time.sleep(0.05)
    return True


def _is_alive_in(candidate: psutil.Process, group: int) -> bool:
    with suppress(psutil.Error, ProcessLookupError):
        return os.getpgid(candidate.pid) == group and candidate.status() != psutil.STATUS_ZOMBIE
    return False
