"""The network of a worker process: one thread runs it for all tasks, so that one is read while another is seen.

The oldest task goes first: a younger one gets the network only while the older ones wait for pixels. So blocks end
one after the other, and the device never waits for a disk that could have been read earlier.
"""

from __future__ import annotations

import threading
import time
from concurrent.futures import Future
from itertools import count
from queue import PriorityQueue
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    import numpy.typing as npt

    from wsiseg.predict import Predictor

    Answer = tuple[npt.NDArray[np.uint8], float]
    Request = tuple[float, int, npt.NDArray[np.uint8] | None, Future[Answer]]


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
        self._requests: PriorityQueue[Request] = PriorityQueue()
        self._numbers = count()
        threading.Thread(target=self._serve, name="network", daemon=True).start()

    def predictor(self) -> Predictor:
        """Give the predictor itself, once it is made; its errors are raised here."""
        return self._made.result()

    def turn(self) -> Turn:
        """Give the network as one task sees it; older tasks go first."""
        return Turn(self, next(self._numbers))

    def ask(self, task: int, windows: npt.NDArray[np.uint8]) -> Answer:
        """Have windows predicted when it is the task's turn; give their maps, and the seconds that they took."""
        answer: Future[Answer] = Future()
        self._requests.put((task, next(self._numbers), windows, answer))
        return answer.result()

    def close(self) -> None:
        """End the thread after what it was asked for."""
        self._requests.put((float("inf"), next(self._numbers), None, Future()))

    def _serve(self) -> None:
        try:
            predictor = self._make()
        except BaseException as error:  # noqa: BLE001 - raised where the predictor is asked for
            self._made.set_exception(error)
            return
        self._made.set_result(predictor)
        while True:
            _, _, windows, answer = self._requests.get()
            if windows is None:
                return
            started = time.perf_counter()
            try:
                maps = predictor.predict(windows)
                answer.set_result((maps, time.perf_counter() - started))
            except BaseException as error:  # noqa: BLE001 - raised in the task that asked
                answer.set_exception(error)


class Turn:
    """A predictor that waits for its turn."""

    def __init__(self, network: NetworkThread, task: int) -> None:
        self.seconds = 0.0
        """The network worked for this task, waiting left out."""
        self._network = network
        self._task = task

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
        maps, seconds = self._network.ask(self._task, windows)
        self.seconds += seconds
        return maps
