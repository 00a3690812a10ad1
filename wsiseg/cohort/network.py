"""The network of a worker process: one thread runs it for all tasks, so that one is read while another is seen.

The network belongs to the oldest task until that has had all its windows. So blocks end one after the other, the
next has its first windows read by then, and a worker that dies takes one half-seen block with it.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from concurrent.futures import Future
from contextlib import contextmanager
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import numpy as np
    import numpy.typing as npt

    from wsiseg.predict import Predictor

    Answer = tuple[npt.NDArray[np.uint8], float]
    Request = tuple[npt.NDArray[np.uint8], Future[Answer]]


class NetworkThread:
    """A thread of its own for a predictor: torch counts the threads it may use for each calling thread.

    Parameters
    ----------
    make
        Makes the predictor; called in the thread.
    """

    def __init__(self, make: Callable[[], Predictor]) -> None:
        self._make = make
        self._made: Future[Predictor] = Future()
        self._requests: SimpleQueue[Request | None] = SimpleQueue()
        self._turns: deque[Turn] = deque()
        """Of tasks that have not had all their windows, the oldest first."""
        self._changed = threading.Condition()
        threading.Thread(target=self._serve, name="network", daemon=True).start()

    def predictor(self) -> Predictor:
        """Give the predictor itself, once it is made; its errors are raised here."""
        return self._made.result()

    @contextmanager
    def turn(self, windows: int) -> Iterator[Turn]:
        """Give the network as one task sees it: after the older tasks, for as many windows."""
        turn = Turn(self, windows)
        with self._changed:
            self._turns.append(turn)
        try:
            yield turn
        finally:
            self.end(turn)

    def ask(self, turn: Turn, windows: npt.NDArray[np.uint8]) -> Answer:
        """Have windows predicted when it is the task's turn; give their maps, and the seconds that they took."""
        with self._changed:
            self._changed.wait_for(lambda: self._turns[0] is turn)
        answer: Future[Answer] = Future()
        self._requests.put((windows, answer))
        return answer.result()

    def end(self, turn: Turn) -> None:
        """Let the next task have the network."""
        with self._changed:
            if turn in self._turns:
                self._turns.remove(turn)
                self._changed.notify_all()

    def close(self) -> None:
        """End the thread after what it was asked for."""
        self._requests.put(None)

    def _serve(self) -> None:
        try:
            predictor = self._make()
        except BaseException as error:  # noqa: BLE001 - raised where the predictor is asked for
            self._made.set_exception(error)
            return
        self._made.set_result(predictor)
        while request := self._requests.get():
            windows, answer = request
            started = time.perf_counter()
            try:
                maps = predictor.predict(windows)
                answer.set_result((maps, time.perf_counter() - started))
            except BaseException as error:  # noqa: BLE001 - raised in the task that asked
                answer.set_exception(error)


class Turn:
    """A predictor that waits for its turn."""

    def __init__(self, network: NetworkThread, windows: int) -> None:
        self.seconds = 0.0
        """The network worked for this task, waiting left out."""
        self._network = network
        self._left = windows

    @property
    def batch(self) -> int:
        """Tiles in one forward pass at most."""
        return self._network.predictor().batch

    @property
    def numerics(self) -> dict[str, Any]:
        """What decides the bits of the result besides the bundle."""
        return self._network.predictor().numerics

    def predict(self, windows: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        """Turn (n, h, w, 3) RGB windows into (n, channels, h, w) maps."""
        maps, seconds = self._network.ask(self, windows)
        self.seconds += seconds
        self._left -= len(windows)
        if not self._left:
            self._network.end(self)
        return maps
