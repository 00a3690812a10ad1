"""The loop that leads a cohort's slides over the workers of a Dask cluster, in a bounded window.

Slides that were begun go first, and as many more are begun as it takes to keep every worker busy: a huge slide
spreads over all of them, and small ones fill them. Scheduler and driver hold the tasks that workers are at, and
nothing of the thousand slides that wait.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from queue import Empty, Queue
from typing import TYPE_CHECKING, Any

from distributed import KilledWorker

from wsiseg.cohort import tasks
from wsiseg.cohort.crew import Crew, Kind
from wsiseg.errors import InternalError, SlideError, WsisegError
from wsiseg.run.folder import record_failure

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from distributed import Client, Future

    from wsiseg.cohort.book import Book
    from wsiseg.cohort.course import Course, Task
    from wsiseg.cohort.progress import Watcher
    from wsiseg.cohort.recruit import Recruiter

TRIES = 2
"""A slide has failed when one of its tasks, alone on its worker, lost so many workers."""
_LOOK_S = 1.0
"""Between two looks at which workers there are."""
_HURRY_S = 0.1
"""The same while there is none yet."""
_RESULT_S = 20.0
"""A worker that cannot be asked for its result for so long is lost."""


class Lost:
    """What comes back of a task whose worker is gone."""


@dataclass(frozen=True, eq=False)
class Flight:
    """A task that a worker is at."""

    course: Course
    task: Task
    address: str


@dataclass
class Driver:
    """The work on all slides of one call.

    Parameters
    ----------
    begin
        Makes the course of a slide, by its id.
    """

    client: Client
    recruiter: Recruiter
    book: Book
    watcher: Watcher
    begin: Callable[[str], Course]
    crew: Crew = field(default_factory=Crew)
    _courses: dict[str, Course] = field(default_factory=dict)
    _flights: dict[int, tuple[Flight, Future]] = field(default_factory=dict)
    _suspects: deque[tuple[Course, Task]] = field(default_factory=deque)
    """Tasks whose worker died while it did other things too: each is repeated alone."""
    _landed: Queue[tuple[int, Any]] = field(default_factory=Queue)
    _numbers: Iterator[int] = field(default_factory=count)
    _looked: float = 0.0
    _missing: set[str] = field(default_factory=set)
    """Workers that were not there at the last look."""
    _lacking: set[Kind] = field(default_factory=set)
    """What no worker could do at the last look."""

    def run(self, slides: Iterable[str]) -> None:
        """Work until every slide has ended.

        Raises
        ------
        WsisegError
            What concerns all slides: the scheduler is gone, the disk is full, workers do not fit.
        """
        waiting = iter(slides)
        more = True
        try:
            while more or self._courses:
                self._look_at_workers()
                if more:
                    more = self._admit(waiting)
                self._hand_out()
                self._take_landed()
        except WsisegError:
            raise
        except Exception:
            self.recruiter.check_scheduler()  # without a scheduler, Dask fails in many ways
            raise
        finally:
            for course in self._courses.values():
                course.close()

    # -- who is there -----------------------------------------------------------------------------------

    def _look_at_workers(self) -> None:
        """Take note of workers that came or went; one that is not there twice in a row is gone."""
        if time.monotonic() - self._looked < (_LOOK_S if len(self.crew) else _HURRY_S):
            return
        self._looked = time.monotonic()
        present = self.recruiter.present()
        missing = self.crew.addresses() - present
        for address in missing & self._missing:
            self._lose(address)
        self._missing = missing
        for address, offer in self.recruiter.newcomers(present - self.crew.addresses()):
            self.crew.join(address, offer)
        lacking = {kind for kind in Kind if len(self.crew) and not self.crew.slots(kind)}
        for kind in lacking - self._lacking:
            self.watcher.note(f"no worker takes tasks for the {kind}; waiting for one that does")
        self._lacking = lacking

    def _lose(self, address: str) -> None:
        """A worker is gone: its tasks are done again, each alone on a worker.

        Only a task that was the only one there is taken for what killed it, and none if the worker left in order.
        """
        self.crew.leave(address)
        died = not self.recruiter.has_retired(address)
        lost = [number for number, (flight, _) in self._flights.items() if flight.address == address]
        for number in lost:
            flight, future = self._flights.pop(number)
            future.cancel()
            course, task = flight.course, flight.task
            if course.id not in self._courses:
                continue
            if died and len(lost) == 1 and self.book.lost(course.id, task.name) >= TRIES:
                self._fail(course, _poison(task))
            else:
                self._suspects.append((course, task))

    # -- what comes next --------------------------------------------------------------------------------

    def _admit(self, waiting: Iterator[str]) -> bool:
        """Begin slides until there is work for every slot; tell whether more of them wait."""
        if self.recruiter.network is None:
            return True
        slots = self.crew.slots(Kind.DEVICE) + self.crew.slots(Kind.CPU)
        while len(self._courses) < 2 * slots and self._ready() < slots:
            slide = next(waiting, None)
            if slide is None:
                return False
            self.book.begun(slide)
            self._courses[slide] = self.begin(slide)
        return True

    def _ready(self) -> int:
        """Give how many tasks could be begun."""
        return sum(len(queue) for course in self._courses.values() for queue in course.waiting.values())

    def _hand_out(self) -> None:
        """Give workers what they can take."""
        while self._suspects:
            course, task = self._suspects[0]
            worker = self.crew.alone(task.kind)
            if worker is None:
                break
            self._suspects.popleft()
            self._send(course, task, worker.address)
        if not self._suspects:
            self.crew.release()
        for kind in Kind:
            for worker in self.crew.free(kind):
                chosen = self._next(kind, worker.seen)
                if chosen is None:
                    break
                self._send(chosen, chosen.waiting[kind].popleft(), worker.address)

    def _next(self, kind: Kind, seen: Iterable[str]) -> Course | None:
        """Choose whose task a worker does: of a slide that it has open, or of the one that was begun first."""
        ready = [course for course in self._courses.values() if course.waiting[kind]]
        return next((course for course in ready if course.id in seen), ready[0] if ready else None)

    def _send(self, course: Course, task: Task, address: str) -> None:
        worker = self.crew.find(address)
        assert worker is not None, address
        worker.take(task.kind, course.id)
        function, arguments = course.call(task)
        number = next(self._numbers)
        # A partial is opaque to Dask, which would otherwise look for futures in every argument.
        future = self.client.submit(
            partial(function, *arguments),
            key=tasks.new_key(task.stage),
            workers=[address],
            pure=False,
            retries=0,
        )
        self._flights[number] = Flight(course, task, address), future
        future.add_done_callback(partial(self._land, number))

    # -- what came back ---------------------------------------------------------------------------------

    def _land(self, number: int, future: Future) -> None:
        """Fetch a result, in the thread of Dask's callbacks: the loop waits for no worker."""
        try:
            result: object = future.result(timeout=_RESULT_S)
        except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001 - judged in the loop
            of_the_task = future.status == "error" and not isinstance(error, KilledWorker)
            result = error if of_the_task else Lost()
        self._landed.put((number, result))

    def _take_landed(self) -> None:
        """Wait a moment for results, then take in all that are there."""
        try:
            landed = [self._landed.get(timeout=_LOOK_S if len(self.crew) else _HURRY_S)]
            while not self._landed.empty():
                landed.append(self._landed.get_nowait())
        except Empty:
            return
        for number, result in landed:
            if number in self._flights:
                self._take(number, result)

    def _take(self, number: int, result: object) -> None:
        flight, _ = self._flights[number]
        if isinstance(result, Lost):
            self.recruiter.check_scheduler()
            self._lose(flight.address)
            return
        del self._flights[number]
        worker = self.crew.find(flight.address)
        if worker is not None:
            worker.end(flight.task.kind)
        course = flight.course
        if course.id not in self._courses:  # it failed while this was on its way
            return
        try:
            if isinstance(result, BaseException):
                raise result
            course.take(flight.task, result)
        except WsisegError as error:
            self._fail(course, error)
        except Exception as error:  # noqa: BLE001 - one slide's bug must not cost the others
            self._fail(course, _bug(error))
        if course.finished:
            self._end(course)
            self.watcher.ended(self.book.complete(course.id, round(course.seconds, 3)))

    def _end(self, course: Course) -> None:
        del self._courses[course.id]
        course.close()
        self._suspects = deque(pair for pair in self._suspects if pair[0] is not course)

    def _fail(self, course: Course, error: WsisegError) -> None:
        """End a slide that cannot go on; what concerns all slides ends the cohort."""
        if error.code == "E-NOSPACE":
            raise error
        if isinstance(error, SlideError):
            record_failure(course.folder, error)
        self._end(course)
        self.watcher.ended(self.book.failed(course.id, error, round(course.seconds, 3)))


def _poison(task: Task) -> SlideError:
    return SlideError(
        "E-POISON",
        f"the process that worked on it ended {TRIES} times",
        where=task.name,
        fix="it crashes a library, or needs more memory than a worker has",
    )


def _bug(error: Exception) -> InternalError:
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    where = f"{trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}" if trace else ""
    return InternalError(
        "E-BUG", f"{type(error).__name__}: {error}", where=where, fix="report it with `wsiseg doctor`"
    )
