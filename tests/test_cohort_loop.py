"""The driver's loop without Dask: a thousand slides in a bounded window, one huge slide over all, deaths."""

from __future__ import annotations

import queue
import threading
from collections import Counter, deque
from itertools import count

import pytest
from distributed import KilledWorker

from wsiseg.cohort.book import Book
from wsiseg.cohort.course import Task
from wsiseg.cohort.crew import Kind
from wsiseg.cohort.driver import Driver
from wsiseg.cohort.progress import Unwatched
from wsiseg.cohort.tasks import Offer
from wsiseg.errors import ResourceError, SlideError
from wsiseg.run.folder import RunFolder
from wsiseg.tiling import Block

OFFER = Offer({}, "", device_slots=2, cpu_slots=1, numerics={}, batch=1)


class Slide:
    """A course of so many blocks that need the device, then a last task for the CPU."""

    def __init__(self, name, blocks, folder, fails=None):
        self.id, self.folder, self.fails = name, RunFolder(folder), fails
        self.waiting = {kind: deque() for kind in Kind}
        self.waiting[Kind.DEVICE] += [Task("infer", Block(0, column)) for column in range(blocks)]
        self.left, self.finished, self.closed, self.seconds = blocks, False, False, 1.0

    def call(self, task):
        return lambda: task, ()

    def take(self, task, result):
        assert result == task
        if self.fails:
            raise self.fails
        self.left -= task.stage == "infer"
        self.finished = task.stage == "tables"
        if not self.left and task.stage == "infer":
            self.waiting[Kind.CPU].append(Task("tables"))

    def close(self):
        self.closed = True
        for waiting in self.waiting.values():
            waiting.clear()


class Future:
    def __init__(self, result):
        self._result, self._callbacks = result, []

    @property
    def status(self):
        return "error" if isinstance(self._result, BaseException) else "finished"

    def result(self, timeout=None):
        if isinstance(self._result, BaseException):
            raise self._result
        return self._result

    def add_done_callback(self, callback):
        self.callback = callback

    def cancel(self):
        pass


class Cluster:
    """A client, a recruiter and workers in one: a thread ends what was submitted, in the order of submission.

    `deadly` tells of a task whether it kills its worker; a new worker comes for each that died. `in_order`: those
    that die had only reached the end of their lifetime.
    """

    def __init__(self, workers, deadly=lambda task: False, *, in_order=False, offer=OFFER):
        self.network, self.deadly, self.in_order, self.offer = offer, deadly, in_order, offer
        self.numbers = count(workers)
        self.workers = {f"w{number}" for number in range(workers)}
        self.busy, self.most, self.ran = Counter(), Counter(), Counter()
        self.lock, self.submitted = threading.Lock(), queue.Queue()
        threading.Thread(target=self.work, daemon=True).start()

    def submit(self, function, *, key, workers, pure, retries):
        task = function()
        with self.lock:
            self.busy[workers[0]] += 1
            self.most[workers[0]] = max(self.most[workers[0]], self.busy[workers[0]])
        future = Future(task)
        self.submitted.put((future, task, workers[0]))
        return future

    def work(self):
        while True:
            future, task, address = self.submitted.get()
            while not hasattr(future, "callback"):
                pass
            with self.lock:
                dead = address not in self.workers or self.deadly(task)
                if dead and address in self.workers:
                    self.workers.remove(address)
                    self.workers.add(f"w{next(self.numbers)}")
                self.busy[address] -= 1
                self.ran[address] += 1
            if dead:
                future._result = KilledWorker("task", None, 0)
            future.callback(future)

    def present(self):
        with self.lock:
            return set(self.workers)

    def newcomers(self, present):
        return [(address, self.offer) for address in present]

    def has_retired(self, address):
        return self.in_order

    def check_scheduler(self):
        pass


def lead(cluster, slides, tmp_path):
    """Run the loop over slides; give the most that were open at a time."""
    open_now, most = set(), 0

    def begin(name):
        nonlocal most
        open_now.add(name)
        most = max(most, sum(not slides[one].closed for one in open_now))
        return slides[name]

    Driver(cluster, cluster, Book(tmp_path / "cohort.jsonl"), Unwatched(), begin).run(slides)
    return most


def states(slides, tmp_path):
    book = Book(tmp_path / "cohort.jsonl")
    return Counter(book.outcome(name).state for name in slides)


def test_a_thousand_slides_pass_through_a_bounded_window(tmp_path, monkeypatch):
    monkeypatch.setattr("wsiseg.fsio.flush", lambda handle: None)
    cluster = Cluster(4)
    slides = {f"s{number}": Slide(f"s{number}", 1, tmp_path) for number in range(1000)}
    slots = 4 * 3
    assert lead(cluster, slides, tmp_path) <= 2 * slots
    assert states(slides, tmp_path) == {"complete": 1000}
    assert all(slide.closed for slide in slides.values())
    assert max(cluster.most.values()) <= 3, "no worker has more than it can do"
    assert min(cluster.ran.values()) > 100, "small slides fill all workers"


def test_one_huge_slide_spreads_over_all_workers(tmp_path):
    cluster = Cluster(8)
    slides = {"huge": Slide("huge", 200, tmp_path)}
    lead(cluster, slides, tmp_path)
    assert len(cluster.ran) == 8
    assert min(cluster.ran.values()) > 5


@pytest.mark.parametrize("workers", [1, 3])
def test_a_block_that_kills_is_found_and_its_neighbours_are_not_blamed(workers, tmp_path):
    poison = Task("infer", Block(0, 7))
    cluster = Cluster(workers, deadly=lambda task: task == poison)
    slides = {f"s{number}": Slide(f"s{number}", 3, tmp_path) for number in range(20)}
    slides["bad"] = Slide("bad", 9, tmp_path)
    lead(cluster, slides, tmp_path)
    assert states(slides, tmp_path) == {"complete": 20, "failed": 1}
    found = Book(tmp_path / "cohort.jsonl").outcome("bad")
    assert found.code == "E-POISON"
    assert "infer r000c007" in found.message


def test_a_task_at_which_workers_reach_the_end_of_their_lifetime_is_not_blamed(tmp_path):
    unlucky, deaths = Task("infer", Block(0, 1)), count()
    cluster = Cluster(2, deadly=lambda task: task == unlucky and next(deaths) < 5, in_order=True)
    slides = {"a": Slide("a", 3, tmp_path)}
    lead(cluster, slides, tmp_path)
    assert states(slides, tmp_path) == {"complete": 1}
    assert next(deaths) == 6


def test_an_error_of_dask_about_a_result_is_a_lost_worker_and_no_slide_is_blamed(tmp_path):
    class Unreachable(Cluster):
        left = 3

        def submit(self, function, **options):
            future = super().submit(function, **options)
            if self.left:
                self.left -= 1
                future.result = lambda timeout: (_ for _ in ()).throw(OSError("the worker does not answer"))
            return future

    slides = {"a": Slide("a", 3, tmp_path)}
    lead(Unreachable(2), slides, tmp_path)
    assert states(slides, tmp_path) == {"complete": 1}


def test_it_is_said_when_no_worker_has_a_device(tmp_path, monkeypatch):
    class Notes(Unwatched):
        def note(self, text):
            raise InterruptedError(text)

    cluster = Cluster(2, offer=Offer({}, "", device_slots=0, cpu_slots=1, numerics=None, batch=0))
    slide = Slide("a", 1, tmp_path)
    with pytest.raises(InterruptedError, match="device"):
        Driver(cluster, cluster, Book(tmp_path / "cohort.jsonl"), Notes(), lambda _: slide).run(["a"])


def test_workers_that_die_of_nothing_cost_no_slide(tmp_path):
    moments = count(1)
    cluster = Cluster(3, deadly=lambda task: next(moments) % 7 == 0)
    slides = {f"s{number}": Slide(f"s{number}", 5, tmp_path) for number in range(30)}
    lead(cluster, slides, tmp_path)
    assert states(slides, tmp_path) == {"complete": 30}


def test_what_concerns_one_slide_fails_it_alone_and_a_bug_too(tmp_path):
    slides = {name: Slide(name, 2, tmp_path) for name in ("good", "refused", "buggy")}
    slides["refused"].fails = SlideError("E-SLIDE-READ", "a tile is broken")
    slides["buggy"].fails = ZeroDivisionError("oh")
    lead(Cluster(2), slides, tmp_path)
    book = Book(tmp_path / "cohort.jsonl")
    assert [book.outcome(name).code for name in slides] == ["", "E-SLIDE-READ", "E-BUG"]


def test_a_full_disk_ends_the_cohort(tmp_path):
    slides = {f"s{number}": Slide(f"s{number}", 2, tmp_path) for number in range(5)}
    slides["s2"].fails = ResourceError("E-NOSPACE", "the disk is full")
    with pytest.raises(ResourceError):
        lead(Cluster(1), slides, tmp_path)
    assert states(slides, tmp_path)["failed"] == 0
    assert all(slide.closed for slide in list(slides.values())[:3])
