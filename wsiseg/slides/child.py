"""The process that reads one slide, and may die of it: `contained` starts it and watches over it.

Its first line of input says what to open, each further one what to read; each has an answer, in any order. Threads
read side by side, each with its own handle. It ends when its input does.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import cv2
import numpy as np

from wsiseg.errors import SlideError
from wsiseg.host import keep_freed_memory, usable_cores
from wsiseg.slides import wire
from wsiseg.slides.pool import SlidePool
from wsiseg.slides.readers import load_reader, open_handle
from wsiseg.slides.shared import SharedSlots

if TYPE_CHECKING:
    from wsiseg.slides.base import Handle

MEMORY_BYTES, MEMORY_BYTES_A_CORE = 2 * 2**30, 2**27
"""What a slide may take beside the libraries; a decompression bomb meets this limit, and not the machine's."""
MOST_THREADS = 64


def main() -> None:
    """Serve one slide until nobody asks any more."""
    answers = _answers()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal's Ctrl-C reaches us too; our parent decides
    cv2.setNumThreads(1)  # reads run beside each other
    keep_freed_memory()
    memory, questions = SharedSlots(sys.argv[1]), sys.stdin.buffer
    opening = wire.unpacked(questions.readline())
    load_reader(opening["target"])
    _limit()
    server = _Server(answers, memory)
    server.answer(wire.STARTED)
    slide = server.opened(opening)
    with ThreadPoolExecutor(MOST_THREADS) as threads:
        if slide is not None:
            for line in questions:
                threads.submit(server.read, slide, wire.unpacked(line))
        os._exit(0)  # nobody listens: what is still being read is of no use


def _answers() -> BinaryIO:
    """Keep the output for answers: what a C library prints must not look like one."""
    private = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)
    return private


def _limit() -> None:
    """Bound the memory, where the system can: an absurd allocation then fails here and harms nobody."""
    if sys.platform != "linux":
        return
    import resource

    # Private memory, not the address space: libraries and what is shared with the parent would count there.
    with open("/proc/self/statm", encoding="ascii") as file:
        used = int(file.read().split()[5]) * resource.getpagesize()
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    most = used + MEMORY_BYTES + usable_cores() * MEMORY_BYTES_A_CORE
    resource.setrlimit(resource.RLIMIT_DATA, (most if hard < 0 else min(most, hard), hard))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # an abort that was expected leaves no core file


class _Server:
    """Opens, reads and answers."""

    def __init__(self, answers: BinaryIO, memory: SharedSlots) -> None:
        self._answers = answers
        self._memory = memory
        self._lock, self._scarce = threading.Lock(), threading.Lock()

    def answer(self, number: int, **content: Any) -> None:  # noqa: ANN401 - JSON values
        """Say how a question ended."""
        with self._lock:
            self._answers.write(wire.packed({"number": number, **content}))

    def opened(self, opening: dict[str, Any]) -> Handle | None:
        """Open the slide; None if it is refused."""
        path, mpp = Path(opening["path"]), wire.mpp_from(opening["mpp"])
        try:
            slide = SlidePool(lambda: open_handle(path, opening["target"], mpp))
        except SlideError as error:
            self.answer(wire.OPENED, error=wire.error_content(error))
        except Exception as error:  # noqa: BLE001 - whatever a library raises over a slide is the slide's fault
            what = f"the reader failed ({type(error).__name__}: {error})"
            self.answer(wire.OPENED, error=["E-SLIDE-FORMAT", what, str(path), ""])
        else:
            self.answer(wire.OPENED, info=wire.info_content(slide.info))
            return slide
        return None

    def read(self, slide: Handle, question: dict[str, Any]) -> None:
        """Put the pixels of a region into the slot that the question names."""
        number = question["number"]
        try:
            try:
                self._read(slide, question)
            except MemoryError:  # perhaps because of the reads beside this one
                with self._scarce:
                    self._read(slide, question)
        except SlideError as error:
            self.answer(number, error=wire.error_content(error))
        except Exception as error:  # noqa: BLE001 - as above
            self.answer(number, failed=f"{type(error).__name__}: {error}")
        else:
            self.answer(number, done=True)

    def _read(self, slide: Handle, question: dict[str, Any]) -> None:
        (x, y), (width, height) = question["location"], question["size"]
        with self._lock:
            slot = self._memory.slot(question["slot"])
        out = np.frombuffer(slot, np.uint8, 3 * width * height).reshape(height, width, 3)
        pixels = slide.read_region((x, y), question["level"], (width, height), out)
        if not np.may_share_memory(pixels, out):
            np.copyto(out, pixels)


if __name__ == "__main__":
    main()
