"""Runs toy runs, each in a fresh fork of a process that has only imported things: a second of imports is saved.

Reads one JSON object a line: `out`, the run directory, and `gate`, a file to wait for (for a tracer to attach), or
null. Answers `{"pid": n}` when the run's process is there, and `{"status": n}`, of `os.waitpid`, at its end. The
process writes one byte to `calls` whenever the network is asked, and its last error to `error`.
"""

from __future__ import annotations

import json
import os
import secrets
import sys
import time
import uuid
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace

from toy import ColourPredictor, run_toy

from wsiseg.errors import WsisegError

_LAZY = ("zarr", "dask.threaded", "pyarrow.parquet", "zarr.codecs", "numcodecs.zstd", "numcodecs.checksum32")
"""What a run imports on its way."""


@dataclass
class Counting(ColourPredictor):
    """Notes every call where a kill cannot take it back."""

    journal: int = -1

    def predict(self, windows):
        os.write(self.journal, b".")
        return super().predict(windows)


def serve(slide: Path, bundle: Path, folder: Path, *, real: bool) -> None:
    """Answer requests until stdin ends."""
    for name in _LAZY:
        import_module(name)
    if real:
        import_module("wsiseg.predict")
        import_module("wsiseg.models.network")
    print(json.dumps({"ready": True}), flush=True)
    while line := sys.stdin.readline():
        request = json.loads(line)
        pid = os.fork()
        if pid == 0:
            os._exit(_run(slide, bundle, folder, request, real=real))
        print(json.dumps({"pid": pid}), flush=True)
        print(json.dumps({"status": os.waitpid(pid, 0)[1]}), flush=True)


def _run(slide: Path, bundle: Path, folder: Path, request: dict, *, real: bool) -> int:
    os.setsid()  # whoever stops the run stops its children too
    while request["gate"] and not Path(request["gate"]).exists():
        time.sleep(0.005)
    # Equal names in every run, ours and zarr's of half written files, so that a point can be aimed at. Dask's keys
    # have to differ.
    secrets.token_hex = lambda _size: "0badcafe"
    sys.modules["zarr.storage._local"].uuid = SimpleNamespace(uuid4=lambda: uuid.UUID(int=0))
    try:
        if real:
            _run_real(slide, Path(request["out"]), bundle)
        else:
            journal = os.open(folder / "calls", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
            run_toy(
                slide, Path(request["out"]), bundle, predictor=Counting(journal=journal), tissue="none", workers=1
            )
    except WsisegError as error:
        (folder / "error").write_text(str(error))
        return error.exit_status
    except BaseException as error:  # noqa: BLE001 - a sweep wants to see every end
        (folder / "error").write_text(repr(error))
        return 1
    return 0


def _run_real(slide: Path, out: Path, bundle: Path) -> None:
    from wsiseg.run import RunSettings, run_slide

    run_slide(RunSettings(slide=slide, model=str(bundle), tissue="none", workers=1, device="cpu"), out)


if __name__ == "__main__":
    serve(*map(Path, sys.argv[1:4]), real=sys.argv[4] == "real")
