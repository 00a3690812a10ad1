"""What decides who does what: the crew, the share of a machine, and the one network of a worker process."""

from __future__ import annotations

import os
import threading

import numpy as np
import pytest
from toy import ColourPredictor

from wsiseg.cohort import cluster
from wsiseg.cohort.cluster import Share, local_shares
from wsiseg.cohort.crew import Crew, Kind
from wsiseg.cohort.network import NetworkThread
from wsiseg.cohort.station import packed, unpacked
from wsiseg.cohort.tasks import Offer
from wsiseg.errors import SettingsError


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


def test_the_oldest_task_has_the_network_first():
    gate, seen = threading.Event(), []

    class Slow(ColourPredictor):
        def predict(self, windows):
            gate.wait(5)
            seen.append(int(windows[0, 0, 0, 0]))
            return windows

    network = NetworkThread(Slow)
    older, younger = network.turn(), network.turn()
    windows = [np.full((1, 1, 1, 3), value, np.uint8) for value in range(4)]
    threads = []
    for turn, value in [(younger, 0), (younger, 1), (older, 2), (older, 3)]:
        threads.append(threading.Thread(target=turn.predict, args=(windows[value],)))
        threads[-1].start()
        while network._requests.qsize() < len(threads) - 1:  # the first is being answered
            pass
    gate.set()
    for thread in threads:
        thread.join()
    assert seen == [0, 2, 3, 1]
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
    with pytest.raises(SettingsError):
        network.turn().predict(np.zeros((1, 1, 1, 3), np.uint8))
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
