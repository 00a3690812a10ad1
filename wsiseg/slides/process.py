"""The parent's side of the process that reads a slide (`child` is the other): start it, ask it, outlive it.

It is started anew and never forked; lines of JSON go through its pipes and pixels through shared memory.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import weakref
from collections import deque
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from itertools import count
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from wsiseg.errors import ResourceError, SlideError
from wsiseg.slides import wire
from wsiseg.slides.handles import read_error
from wsiseg.slides.shared import SharedSlots

if TYPE_CHECKING:
    from mmap import mmap
    from pathlib import Path

    import numpy.typing as npt

    from wsiseg.geometry import Box
    from wsiseg.slides.base import SlideInfo
    from wsiseg.slides.mpp import Mpp

PATIENCE_S = 60.0
"""A read, or the opening, that takes longer hangs: a slow one takes a second."""
SMALL_BYTES = 2**20
"""Less is copied out of its slot, so that whoever collects small reads does not hold a slot for each."""
_GOODBYE_S = 5.0


@dataclass(frozen=True, slots=True)
class Opening:
    """What a process opens."""

    path: Path
    target: str
    """A value of `readers.READERS`."""
    mpp: Mpp | None = None
    patience_s: float = PATIENCE_S


class Died(Exception):
    """The reader's process ended before it answered; the text says how."""


class ReaderProcess:
    """One process that has a slide open.

    Raises
    ------
    Died
        It ended, or was ended after its patience, while it opened the slide.
    SlideError
        The reader refuses the slide.
    ResourceError
        E-IO: it does not start.
    """

    def __init__(self, opening: Opening) -> None:
        self._opening = opening
        self._free: deque[int] = deque()
        """Slots; its methods are atomic, because it gets them back wherever an array happens to end."""
        self._numbers, self._slots = count(), count()
        self._lock, self._sending = threading.Lock(), threading.Lock()
        self._waiting: dict[int, Future[dict[str, Any]]] = {}
        self._end = ""
        started, opened = self._register(wire.STARTED), self._register(wire.OPENED)
        self._process, self._memory = _start()
        self._listener = threading.Thread(target=self._listen, name="slide reader", daemon=True)
        self._listener.start()
        try:
            what = {"path": str(opening.path), "target": opening.target, "mpp": wire.mpp_content(opening.mpp)}
            self._send(what)
            try:
                self._answer(started)
            except Died as reason:
                raise ResourceError("E-IO", f"the process that reads slides does not start ({reason})") from None
            self.info: SlideInfo = _info(self._answer(opened), opening.path)
        except BaseException:
            self.close()
            raise

    @property
    def alive(self) -> bool:
        """Whether it still answers."""
        return not self._end

    def read(self, box: Box, level: int) -> npt.NDArray[np.uint8]:
        """Have a box of a level read: (height, width, 3).

        Raises
        ------
        Died
            The process ended meanwhile, whoever's fault that was.
        SlideError
            E-SLIDE-READ.
        """
        with self._lock:
            try:
                slot = self._free.pop()
            except IndexError:
                slot = next(self._slots)
            number = next(self._numbers)
            memory = self._shared(slot)
        future = self._register(number)
        downsample = self.info.levels[level].downsample
        location = (round(box.x * downsample), round(box.y * downsample))
        size = (box.width, box.height)
        self._send({"number": number, "slot": slot, "location": location, "level": level, "size": size})
        answer = self._answer(future)
        pixels = np.frombuffer(memory, np.uint8, 3 * box.width * box.height)
        # Not a copy: the slot is free again when nobody holds this array, or a part of it, any more.
        weakref.finalize(pixels, self._free.append, slot)
        if "error" in answer:
            raise wire.error_from(answer["error"])
        if not answer.get("done"):
            raise read_error(self._opening.path, box, level, answer.get("failed"))
        shaped = pixels.reshape(*box.shape, 3)
        return shaped.copy() if shaped.nbytes < SMALL_BYTES else shaped

    def close(self) -> None:
        """End the process, and give its memory back."""
        with suppress(OSError), self._sending:  # it may be gone already
            _pipe(self._process.stdin).close()
        try:
            self._process.wait(_GOODBYE_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
        self._listener.join()
        self._memory.close()

    def _shared(self, slot: int) -> mmap:
        try:
            return self._memory.slot(slot)
        except (OSError, MemoryError) as error:
            what = f"no memory is left for the pixels of a read ({error})"
            raise ResourceError("E-MEMORY", what, where=self._opening.path, fix="use --workers 1") from error

    def _register(self, number: int) -> Future[dict[str, Any]]:
        future: Future[dict[str, Any]] = Future()
        with self._lock:
            if self._end:
                future.set_exception(Died(self._end))
            else:
                self._waiting[number] = future
        return future

    def _send(self, content: dict[str, Any]) -> None:
        line = wire.packed(content)
        with suppress(OSError, ValueError), self._sending:  # if it is gone, the listener tells those who wait
            pipe = _pipe(self._process.stdin)
            pipe.write(line)
            pipe.flush()

    def _answer(self, future: Future[dict[str, Any]]) -> dict[str, Any]:
        try:
            return future.result(self._opening.patience_s)
        except TimeoutError:
            with self._lock:
                self._end = self._end or f"it took longer than {self._opening.patience_s:g} s"
            self._process.kill()
            raise Died(self._end) from None

    def _listen(self) -> None:
        """Hand every answer to whoever waits for it, until the process ends."""
        with _pipe(self._process.stdout) as answers:
            for line in answers:
                try:
                    content = wire.unpacked(line)
                    future = self._waiting.pop(content["number"])
                except (ValueError, KeyError):
                    self._process.kill()  # a library that went wild writes here
                    break
                future.set_result(content)
        status = self._process.wait()
        with self._lock:
            self._end = self._end or _ending(status)
            waiting, self._waiting = self._waiting, {}
        for future in waiting.values():
            future.set_exception(Died(self._end))


def _start() -> tuple[subprocess.Popen[bytes], SharedSlots]:
    """Start the process that `child` is, with this one's Python and import path, and memory to share with it."""
    paths = [path for path in sys.path if path]
    # Each thread of a BLAS reserves memory, which would count as the slide's.
    few = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    environment = {**os.environ, **few, "PYTHONPATH": os.pathsep.join(paths)}
    memory = None
    try:
        memory = SharedSlots()
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "wsiseg.slides.child", memory.name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            pass_fds=memory.descriptors,
            env=environment,
            creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
        )
    except OSError as error:
        if memory is not None:
            memory.close()
        what = f"the process that reads slides does not start ({error.strerror})"
        raise ResourceError("E-IO", what, fix="close other programs and run the command again") from error
    return process, memory


def _pipe(pipe: IO[bytes] | None) -> IO[bytes]:
    assert pipe is not None  # all pipes were asked for
    return pipe


def _info(answer: dict[str, Any], path: Path) -> SlideInfo:
    if "error" in answer:
        raise wire.error_from(answer["error"])
    try:
        return wire.info_from(answer["info"])
    except (KeyError, TypeError, ValueError) as error:
        raise SlideError("E-SLIDE-FORMAT", f"the slide describes no image ({error})", where=path) from error


def _ending(status: int) -> str:
    """Say how a process ended."""
    if status >= 0:
        return f"it ended with status {status}"
    try:
        return f"it ended by {signal.Signals(-status).name}"
    except ValueError:
        return f"it ended by signal {-status}"
