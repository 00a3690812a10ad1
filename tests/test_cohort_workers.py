"""What decides who does what: the crew, the share of a machine, and the one network of a worker process."""

from __future__ import annotations

import os
import signal
import threading
import time
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace

import dask
import numpy as np
import pytest
from distributed import Client, KilledWorker, LocalCluster
from toy import ColourPredictor

from wsiseg.cohort import cluster
from wsiseg.cohort.cluster import Share, local_shares
from wsiseg.cohort.crew import Crew, Kind
from wsiseg.cohort.network import NetworkThread
from wsiseg.cohort.progress import Unwatched
from wsiseg.cohort.recruit import Recruiter
from wsiseg.cohort.station import packed, unpacked
from wsiseg.cohort.tasks import Offer
from wsiseg.errors import ResourceError, SettingsError
from wsiseg.run import RunSettings


def crew_of(*slots):
    """Workers w0, w1, ... with so many (device, cpu) slots."""
    crew = Crew()
    for number, (device, cpu) in enumerate(slots):
        crew.join(f"w{number}", Offer({}, "", device, cpu, None, 0))
    return crew


def fill(crew, kind):
    """Give every free slot a task; the addresses in order."""
    order = []
    for worker in crew.free(kind):
        worker.take(kind, "slide")
        order.append(worker.address)
    return order


def test_tasks_spread_and_no_worker_gets_more_than_it_can_do():
    crew = crew_of((2, 1), (2, 1), (0, 4))
    assert fill(crew, Kind.DEVICE) == ["w0", "w1", "w0", "w1"]
    assert sorted(fill(crew, Kind.CPU)) == ["w0", "w1", "w2", "w2", "w2", "w2"]
    assert crew.slots(Kind.DEVICE) == 4
    crew.find("w1").end(Kind.DEVICE)
    assert fill(crew, Kind.DEVICE) == ["w1"]


def test_a_suspect_gets_an_idle_worker_for_itself():
    crew = crew_of((2, 1), (2, 1))
    crew.find("w0").take(Kind.CPU, "other")
    alone = crew.alone(Kind.DEVICE)
    assert alone.address == "w1"
    alone.take(Kind.DEVICE, "suspect")
    assert fill(crew, Kind.DEVICE) == ["w0", "w0"], "the other worker goes on"


def test_where_all_are_busy_one_worker_is_drained_for_the_suspect():
    crew = crew_of((2, 1), (2, 1))
    fill(crew, Kind.DEVICE)
    crew.find("w1").end(Kind.DEVICE)
    assert crew.alone(Kind.DEVICE) is None
    assert fill(crew, Kind.DEVICE) == [], "w1 is kept free"
    crew.find("w1").end(Kind.DEVICE)
    alone = crew.alone(Kind.DEVICE)
    assert alone.address == "w1"
    alone.take(Kind.DEVICE, "suspect")
    alone.end(Kind.DEVICE)
    crew.release()
    assert fill(crew, Kind.DEVICE) == ["w1", "w1"]


def test_a_worker_without_a_device_gets_no_suspect_of_the_device():
    crew = crew_of((0, 4))
    assert crew.alone(Kind.DEVICE) is None
    assert fill(crew, Kind.CPU) == ["w0"] * 4


@pytest.mark.parametrize(
    ("cores", "workers", "expected"),
    [(2, None, [Share(2)]), (2, 2, [Share(1)] * 2), (8, 3, [Share(2)] * 3), (1, 4, [Share(1)] * 4)],
)
def test_workers_share_the_cores_that_are_granted(cores, workers, expected, monkeypatch):
    monkeypatch.setattr(cluster, "usable_cores", lambda: cores)
    assert local_shares("cpu", workers) == expected


def test_each_gpu_has_a_worker_that_sees_it_alone(monkeypatch):
    monkeypatch.setattr(cluster, "usable_cores", lambda: 16)
    monkeypatch.setattr(cluster, "_devices", lambda _name: ["cuda:0", "cuda:1"])
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert local_shares("auto", None) == [Share(8, "0"), Share(8, "1")]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-aa,GPU-bb")
    assert local_shares("cuda", None) == [Share(8, "GPU-aa"), Share(8, "GPU-bb")]
    assert local_shares("cuda", 1) == [Share(16, "GPU-aa")]
    with pytest.raises(SettingsError):
        local_shares("cuda", 3)


def test_the_network_belongs_to_the_oldest_task_until_that_has_had_all_its_windows():
    seen = []

    class Noting(ColourPredictor):
        def predict(self, windows):
            seen.append(int(windows[0, 0, 0, 0]))
            return windows

    network = NetworkThread(Noting)
    window = np.zeros((1, 1, 1, 3), np.uint8)
    with network.turn(2) as older, network.turn(1) as younger:
        thread = threading.Thread(target=younger.predict, args=(window,))
        thread.start()
        for value in (1, 2):
            time.sleep(0.05)  # the younger waits while the older cuts and reads
            assert seen == list(range(1, value))
            older.predict(window + np.uint8(value))
        thread.join(5)
        assert seen == [1, 2, 0], "the younger goes on before the older has written"
    network.close()


def test_a_task_that_fails_leaves_the_network_to_the_next():
    network = NetworkThread(ColourPredictor)
    window = np.full((1, 256, 256, 3), 200, np.uint8)
    with suppress(OSError), network.turn(5):
        raise OSError("no window could be read")
    with network.turn(1) as turn:
        assert turn.predict(window).shape[2:] == (256, 256)
    network.close()


def test_errors_of_the_network_are_raised_where_it_is_asked_for():
    def broken():
        raise SettingsError("E-DEVICE", "there is none")

    with pytest.raises(SettingsError):
        NetworkThread(broken).predictor()

    class Refusing(ColourPredictor):
        def predict(self, windows):
            raise SettingsError("E-DEVICE", "it left")

    network = NetworkThread(Refusing)
    with pytest.raises(SettingsError), network.turn(1) as turn:
        turn.predict(np.zeros((1, 1, 1, 3), np.uint8))
    network.close()


def test_wanted_tiles_travel_whole():
    wanted = np.random.default_rng(0).random((37, 53)) < 0.3
    assert (unpacked(packed(wanted), wanted.shape) == wanted).all()


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="Linux alone has affinities")
def test_the_processors_that_were_granted_count():
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    try:
        assert local_shares("cpu", None) == [Share(1)]
    finally:
        os.sched_setaffinity(0, before)


class Answer:
    """What a worker that is asked for itself leaves behind: a future that ends with an error, or never."""

    def __init__(self, error, status):
        self.error, self.status, self.cancelled = error, status, False

    def done(self):
        return self.status != "pending"

    def result(self, timeout=None):
        assert timeout, "a worker that is gone is not waited for without end"
        raise self.error

    def cancel(self):
        self.cancelled = True


def recruiter_of(monkeypatch, error, status):
    """A recruiter whose workers answer so."""
    client = SimpleNamespace(submit=lambda *_, **__: Answer(error, status), status="running")
    monkeypatch.setattr("wsiseg.cohort.recruit.load_bundle", lambda _model: SimpleNamespace(sha256=""))
    return Recruiter(client, RunSettings(Path()), "module:name", Unwatched())


@pytest.mark.parametrize(
    ("error", "status"), [(TimeoutError(), "finished"), (KilledWorker("muster", None, 0), "error")]
)
def test_workers_that_end_while_they_load_the_network_are_not_asked_for_ever(error, status, monkeypatch):
    recruiter = recruiter_of(monkeypatch, error, status)
    for number in range(3):
        assert recruiter.newcomers({f"w{number}"}) == []
    with pytest.raises(ResourceError, match="4 workers ended"):
        recruiter.newcomers({"w3"})


def test_workers_that_vanish_while_they_load_the_network_are_not_asked_for_ever(monkeypatch):
    """On a scheduler that is not ours, Dask tries again elsewhere instead of reporting a death."""
    recruiter = recruiter_of(monkeypatch, None, "pending")
    for number in range(4):
        assert recruiter.newcomers({f"w{number}"}) == []
    with pytest.raises(ResourceError, match="4 workers ended"):
        recruiter.newcomers({"w4"})


def test_a_worker_that_leaves_in_order_is_told_from_one_that_dies(monkeypatch):
    monkeypatch.setattr("wsiseg.cohort.recruit.load_bundle", lambda _model: SimpleNamespace(sha256=""))
    with (
        LocalCluster(n_workers=2, threads_per_worker=1, processes=False, dashboard_address=None) as workers,
        Client(workers, set_as_default=False) as client,
    ):
        recruiter = Recruiter(client, RunSettings(Path()), "module:name", Unwatched())
        leaver, victim = sorted(recruiter.present())
        client.retire_workers([leaver])
        client.run_on_scheduler(remove, victim)
        assert recruiter.has_retired(leaver)
        assert not recruiter.has_retired(victim)


@pytest.mark.skipif(os.name == "nt", reason="Windows knows no SIGKILL")
def test_a_killed_worker_comes_back_however_long_it_takes():
    """Dask gives up a worker of its own that is away for a while, and starts no other."""
    with (
        dask.config.set({"distributed.deploy.lost-worker-timeout": "10ms"}),
        cluster.connected("local", "cpu", 1) as client,
    ):
        (worker,) = client.run(os.getpid).values()
        os.kill(worker, signal.SIGKILL)
        wait_until(lambda: not client.nthreads(), 60)
        wait_until(client.nthreads, 60)
        time.sleep(2)
        assert client.submit(os.getpid).result(timeout=30) != worker


async def remove(address, dask_scheduler):
    """Treat a worker as dead."""
    await dask_scheduler.remove_worker(address, stimulus_id="test")


def test_a_worker_that_dies_as_it_starts_is_told_in_one_line(monkeypatch):
    options = cluster._options
    dies = {"preload": "import os; os._exit(1)"}
    monkeypatch.setattr(cluster, "_options", lambda share: {**options(share), **dies})
    with pytest.raises(ResourceError, match=r"E-SCHEDULER.*does not start"), cluster.connected("local", "cpu", 1):
        pass


def wait_until(condition, seconds=10):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)
