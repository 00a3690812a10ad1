"""Cohorts: how they scale, what Dask costs, what dying workers cost, what a scheduler and a driver carry.

    python benchmarks/cohort.py scaling SLIDE            # one worker on one core, two on two: seconds, same bytes
    python benchmarks/cohort.py share SLIDE              # one worker against `wsiseg run`; the network is free
    python benchmarks/cohort.py kills SLIDE              # workers die at random, then the driver: what is lost
    python benchmarks/cohort.py queue SLIDE              # 1000 tiny slides: memory of driver and scheduler
    python benchmarks/cohort.py simulate                 # 64 pretended workers on the real scheduler: rates, costs
    python benchmarks/cohort.py disk FOLDER              # what a file system commits a second

SLIDE is any slide; mosaics of it are made, in a temporary folder. Each prints one JSON document.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import zlib
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

from wsiseg import fsio
from wsiseg.cohort.listing import read_listing
from wsiseg.cohort.pipeline import OWN_NETWORK, Workplace, run_cohort
from wsiseg.cohort.progress import Unwatched
from wsiseg.run import RunSettings, run_slide

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy as np

    from wsiseg.predict import Predictor

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))
COLOURS = "cohort:colours"
LOG, SLOW = "WSISEG_BENCHMARK_LOG", "WSISEG_BENCHMARK_SLOW_S"
"""Environment variables of `kills`: a file to which every window adds a line, and pretended seconds a window."""


def colours(_bundle: object, _settings: object, _threads: object = None) -> Predictor:
    """Make the network that costs nothing, on a worker."""
    from engine import Colours

    class Counting(Colours):
        """Writes down who saw what, if asked."""

        def predict(self, windows: np.ndarray) -> np.ndarray:
            time.sleep(float(os.environ.get(SLOW, 0)) * len(windows))
            maps = super().predict(windows)
            if LOG in os.environ:
                with open(os.environ[LOG], "a") as log:
                    log.writelines(f"{os.getpid()} {zlib.crc32(window.tobytes())}\n" for window in windows)
            return maps

    return Counting()


def digests(run: Path) -> dict[str, str]:
    """Give the sha256 of every deliverable of a complete run."""
    content = json.loads((run / "COMPLETE.json").read_text())
    return {fact["name"]: fact["sha256"] for fact in content["deliverables"]}


def of_cohort(out: Path) -> dict[str, dict[str, str]]:
    """Give the digests of each slide of a cohort, by the slide's file name."""
    runs = [file.parent for file in out.glob("*/COMPLETE.json")]
    return {json.loads((run / "run.json").read_text())["slide"]["name"]: digests(run) for run in runs}


# -- one execution in a process of its own ----------------------------------------------------------------------


def command_of(what: str, slides: Sequence[Path], out: Path, make: str, *more: str) -> list[str]:
    """Give the command that runs `one` below in a process of its own."""
    return [sys.executable, __file__, what, *map(str, slides), "--out", str(out), "--make", make, *more]


def one(args: argparse.Namespace) -> None:
    """Run a cohort (`one-cohort`), or its first slide without workers (`one-run`)."""
    shared = RunSettings(slide=args.paths[0], device="cpu", tissue="none", model=args.model)
    if args.what == "one-run":
        make = colours if args.make == COLOURS else None
        run_slide(shared, args.out, make_predictor=make)
        return
    listing = read_listing([str(path) for path in args.paths])
    local = args.scheduler == "local"
    workplace = Workplace(args.scheduler, args.workers if local else None, args.make)
    rows = run_cohort(listing, shared, args.out, workplace, Unwatched())
    assert {row.state for row in rows} == {"complete"}, [row for row in rows if row.state != "complete"][:3]


def seconds_of(command: Sequence[str], cores: int) -> float:
    """Give the seconds that a command takes on as many cores, its start included."""
    chosen = sorted(os.sched_getaffinity(0))[:cores]
    assert len(chosen) == cores, "this machine has fewer cores"
    started = time.perf_counter()
    subprocess.run(command, preexec_fn=lambda: os.sched_setaffinity(0, chosen), check=True)
    return time.perf_counter() - started


# -- what is measured -------------------------------------------------------------------------------------------


def scaling(args: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """One worker on one core against two on two: four mosaics, then one alone; the bundle's own network."""
    from cohort_slides import write_mosaic

    slides = [write_mosaic(args.paths[0], folder / f"m{i}.svs", args.side, i) for i in range(4)]
    alone = write_mosaic(args.paths[0], folder / "alone.svs", 2 * args.side, 9)
    result: dict[str, Any] = {"side_px": args.side}
    for name, chosen in (("four", slides), ("alone", [alone])):
        outs = [folder / f"{name}{workers}" for workers in (1, 2)]
        for workers, out in enumerate(outs, 1):
            command = command_of("one-cohort", chosen, out, OWN_NETWORK, "--workers", str(workers))
            result[f"{name}_seconds_{workers}"] = round(seconds_of(command, workers), 1)
        result[f"{name}_ratio"] = round(result[f"{name}_seconds_1"] / result[f"{name}_seconds_2"], 3)
        seconds_of(command_of("one-run", chosen, folder / f"{name}run", OWN_NETWORK), 1)
        expected = digests(folder / f"{name}run")
        found = [of_cohort(out) for out in outs]
        result[f"{name}_same_bytes"] = found[0] == found[1] and found[0][chosen[0].name] == expected
    return result


def share(args: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """What the same slide costs through a worker and without one, in turn on the same cores."""
    from cohort_slides import write_mosaic

    slide = write_mosaic(args.paths[0], folder / "mosaic.svs", args.side)
    cores = len(os.sched_getaffinity(0))
    whole: dict[str, list[float]] = {"one-run": [], "one-cohort": []}
    inside: dict[str, list[float]] = {"one-run": [], "one-cohort": []}
    for turn in range(args.repeat):
        for what in whole:
            out = folder / f"{what}{turn}"
            command = command_of(what, [slide], out, COLOURS, "--workers", "1")
            whole[what].append(seconds_of(command, cores))
            run = out if what == "one-run" else next(out.glob("*/COMPLETE.json")).parent
            inside[what].append(json.loads((run / "performance.json").read_text())["seconds"]["total"])
    medians = {
        name: [statistics.median(seconds[what]) for what in whole]
        for name, seconds in (("whole_process", whole), ("from_plan_to_complete", inside))
    }
    same = digests(folder / "one-run0") == next(iter(of_cohort(folder / "one-cohort0").values()))
    return {
        "side_px": args.side,
        "cores": cores,
        "same_bytes": same,
        **{f"{name}_seconds": [round(value, 2) for value in pair] for name, pair in medians.items()},
        **{f"{name}_share": round(pair[1] / pair[0] - 1, 3) for name, pair in medians.items()},
    }


def kills(args: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Kill workers at random moments, then the driver; compare with `wsiseg run`, count what was seen twice."""
    from cohort_slides import write_mosaic, write_small_bundle

    moments, log, out = random.Random(args.seed), folder / "log", folder / "out"
    sides = [args.side * (4 + i) // 4 for i in range(6)]
    slides = [write_mosaic(args.paths[0], folder / f"m{i}.svs", side, i) for i, side in enumerate(sides)]
    model = ["--model", str(write_small_bundle(folder / "bundle"))]
    for slide in slides:
        subprocess.run(command_of("one-run", [slide], folder / slide.stem, COLOURS, *model), check=True)
    command = command_of("one-cohort", slides, out, COLOURS, *model, "--workers", "2")
    environment = {**os.environ, LOG: str(log), SLOW: "0.05"}
    driver = psutil.Popen(command, env=environment, stderr=subprocess.DEVNULL)
    done, next_at = 0, 1
    while done < args.kills and driver.poll() is None:
        time.sleep(0.02)
        workers = workers_of(driver)
        if workers and seen(log) >= next_at:
            moments.choice(workers).kill()
            done, next_at = done + 1, seen(log) + moments.randint(4, 24)
    ended_early = driver.poll() is not None
    if not ended_early:
        driver.send_signal(signal.SIGKILL)
        driver.wait()
    subprocess.run(command, env=environment, check=True)
    by_window = Counter(line.split()[1] for line in log.read_text().splitlines())
    return {
        "worker_kills": done,
        "driver_killed": not ended_early,
        "same_bytes": of_cohort(out) == {slide.name: digests(folder / slide.stem) for slide in slides},
        "windows": len(by_window),
        "windows_of_a_block": 16,
        "seen_again": by_window.total() - len(by_window),
        "most_seen_again_by_one_kill": max(lost_windows(log).values(), default=0),
    }


def workers_of(driver: psutil.Process) -> list[psutil.Process]:
    """Give the worker processes that a driver has started and that live."""
    with suppress(psutil.Error):
        return [one for one in driver.children() if "spawn_main" in " ".join(one.cmdline())]
    return []


def seen(log: Path) -> int:
    """Give how many windows were seen so far."""
    return log.read_bytes().count(b"\n") if log.is_file() else 0


def lost_windows(log: Path) -> Counter[str]:
    """Give for each process how many windows it saw in vain: another one saw them later."""
    last: dict[str, str] = {}
    lost: Counter[str] = Counter()
    for line in log.read_text().splitlines():
        process, window = line.split()
        if window in last:
            lost[last[window]] += 1
        last[window] = process
    return lost


def queue(args: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Memory of the driver and of the scheduler while many real, tiny slides wait for two workers."""
    from cohort_load import own_scheduler
    from cohort_slides import write_copies, write_mosaic, write_small_bundle

    slides = write_copies(write_mosaic(args.paths[0], folder / "m.svs", 512), folder / "slides", args.count)
    worker = ["-m", "distributed.cli.dask_worker", "--no-dashboard", "--nthreads", "3", "--memory-limit", "0"]
    worker += ["--resources", "device=1 cpu=1 threads=1"]
    out = folder / "out"
    with own_scheduler(folder, [worker] * 2) as (address, scheduler):
        model = str(write_small_bundle(folder / "bundle"))
        command = command_of("one-cohort", [slides], out, COLOURS, "--scheduler", address, "--model", model)
        driver, started, curve = psutil.Popen(command), time.perf_counter(), []
        while driver.poll() is None:
            memory = [round(one.memory_info().rss / 1e6, 1) for one in (driver, scheduler)]
            complete = len(list(out.glob("*/COMPLETE.json")))
            curve.append([round(time.perf_counter() - started), complete, *memory])
            time.sleep(max(curve[-1][0] / 20, 1))
        assert driver.returncode == 0
    return {
        "slides": args.count,
        "slides_per_second": round(args.count / curve[-1][0], 2),
        "seconds, complete, driver_mb, scheduler_mb": curve,
    }


def simulate(args: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """What the scheduler and the driver carry; see `cohort_load`."""
    from cohort_load import simulate

    return simulate(folder, args.workers, args.count, args.blocks, args.seconds)


def disk(args: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """What a file system commits a second, in one thread: a ledger's lines, whole files."""
    place = Path(tempfile.mkdtemp(dir=args.paths[0]))

    def rate(act: Callable[[int], object]) -> float:
        started, count = time.perf_counter(), 0
        while time.perf_counter() - started < args.seconds * 10:
            act(count)
            count += 1
        return round(count / (time.perf_counter() - started), 1)

    data = random.Random(0).randbytes(32 << 20)
    try:
        return {
            "ledger_lines_per_second": rate(lambda _: fsio.append_line(place / "ledger", b"x" * 120)),
            "small_files_per_second": rate(lambda i: fsio.write_atomic(place / f"{i}", b"x" * 1000)),
            "maps_of_32_mb_per_second": rate(lambda i: fsio.write_atomic(place / f"m{i % 4}", data)),
        }
    finally:
        shutil.rmtree(place)


MEASURES: dict[str, Callable[[argparse.Namespace, Path], dict[str, Any]]] = {
    function.__name__: function for function in (scaling, share, kills, queue, simulate, disk)
}


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=[*MEASURES, "one-cohort", "one-run"])
    parser.add_argument("paths", type=Path, nargs="*")
    parser.add_argument("--side", type=int, default=4096, help="of mosaics, px")
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--count", type=int, default=1000, help="slides in a queue")
    parser.add_argument("--blocks", type=int, default=8, help="of a pretended slide")
    parser.add_argument("--seconds", type=float, default=0.2, help="of a pretended device a block")
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=64, help="pretended ones")
    parser.add_argument("--out", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--make", default=OWN_NETWORK, help=argparse.SUPPRESS)
    parser.add_argument("--model", default="nuclei-025", help=argparse.SUPPRESS)
    parser.add_argument("--scheduler", default="local", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.what not in MEASURES:
        one(args)
        return
    with tempfile.TemporaryDirectory() as folder:
        print(json.dumps(MEASURES[args.what](args, Path(folder)), indent=2))


if __name__ == "__main__":
    main()
