"""Cohorts on workers of this machine: how they scale, what Dask costs, what a long queue and dying workers do.

    python benchmarks/cohort.py scaling SLIDE...            # one worker on one core, two on two: seconds, ratio
    python benchmarks/cohort.py share SLIDE                 # one worker against `wsiseg run`, without a network
    python benchmarks/cohort.py queue SLIDE --count 1000    # copies of a small slide: memory of the driver
    python benchmarks/cohort.py kills SLIDE... --kills 20   # workers die at random, then the driver: same bytes?

`scaling` pins all processes of a cohort to as many cores as it has workers, so that one worker does not decode on
a second core. The driver is also the scheduler, so its memory is both's.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

from wsiseg.cli.cohort_display import watching
from wsiseg.cohort.listing import read_listing
from wsiseg.cohort.pipeline import TORCH, Workplace, run_cohort
from wsiseg.run import RunSettings, run_slide
from wsiseg.run.folder import DELIVERABLES

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np

    from wsiseg.predict import Predictor

sys.path.insert(0, str(Path(__file__).parent))
COLOURS = "cohort:colours"
LOG = "WSISEG_BENCHMARK_LOG"
"""Environment variable: a file to which every window adds a line, for `kills`."""


def colours(_bundle: object, _settings: object, _threads: object) -> Predictor:
    """Make the network that costs nothing, on a worker."""
    from engine import Colours

    class Counting(Colours):
        """Writes down what it sees, if asked."""

        def predict(self, windows: np.ndarray) -> np.ndarray:
            if LOG in os.environ:
                with open(os.environ[LOG], "a") as log:
                    log.writelines(f"{hash(window.tobytes())}\n" for window in windows)
            return super().predict(windows)

    return Counting()


def run_here(slides: Sequence[Path], out: Path, workers: int, make: str, **settings: Any) -> float:  # noqa: ANN401 - a setting's value
    """Run a cohort; give its seconds, start and end of the workers included."""
    started = time.perf_counter()
    shared = RunSettings(slide=Path(), device="cpu", **settings)
    with watching() as watcher:
        rows = run_cohort(
            read_listing([str(s) for s in slides]), shared, out, Workplace("local", workers, make), watcher
        )
    assert {row.state for row in rows} == {"complete"}, rows
    return time.perf_counter() - started


def pinned(slides: Sequence[Path], workers: int, make: str, mpp: float | None) -> float:
    """Run a cohort in a process of its own on as many cores as workers."""
    cores = sorted(os.sched_getaffinity(0))[:workers]
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, __file__, "one", *map(str, slides), "--out", folder, "--workers", str(workers)]
        command += ["--make", make] + (["--mpp", str(mpp)] if mpp else [])
        done = subprocess.run(
            command, preexec_fn=lambda: os.sched_setaffinity(0, cores), stdout=subprocess.PIPE, check=True
        )
    return float(done.stdout)


def scaling(args: argparse.Namespace) -> dict[str, Any]:
    """One worker against two."""
    result: dict[str, Any] = {"slides": [slide.name for slide in args.slides]}
    for workers in (1, 2):
        result[f"seconds_{workers}"] = round(pinned(args.slides, workers, TORCH, args.mpp), 2)
    result["ratio"] = round(result["seconds_1"] / result["seconds_2"], 3)
    return result


def share(args: argparse.Namespace) -> dict[str, Any]:
    """What the same slide costs through workers and without them, with a network that costs nothing."""
    slide, result = args.slides[0], {}
    settings = {"tissue": "none", "mpp": args.mpp}
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        run = run_slide(
            RunSettings(slide=slide, device="cpu", **settings),
            Path(folder) / "run",
            make_predictor=lambda *_: colours(*_, None),
        )
        result["run_seconds"] = round(time.perf_counter() - started, 2)
        result["cohort_seconds"] = round(run_here([slide], Path(folder) / "cohort", 1, COLOURS, **settings), 2)
        made = next(path.parent for path in (Path(folder) / "cohort").glob("*/COMPLETE.json"))
        inside = json.loads((made / "performance.json").read_text())["seconds"]["total"]
        result["of_it_from_plan_to_complete"] = inside
        result["share"] = round(inside / run.performance["seconds"]["total"] - 1, 3)
        result["same_bytes"] = digests(Path(folder) / "run") == digests(made)
    return result


def queue(args: argparse.Namespace) -> dict[str, Any]:
    """Memory of the driver while many slides wait."""
    with tempfile.TemporaryDirectory() as folder:
        slides = Path(folder) / "slides"
        slides.mkdir()
        for number in range(args.count):  # bytes behind the last directory: another slide with the same pixels
            copy = Path(shutil.copy(args.slides[0], slides / f"{number:06d}{args.slides[0].suffix}"))
            with copy.open("ab") as file:
                file.write(b"%08d" % number)
        command = [sys.executable, __file__, "one", str(slides), "--out", f"{folder}/out", "--workers", "2"]
        command += ["--make", COLOURS] + (["--mpp", str(args.mpp)] if args.mpp else [])
        driver = psutil.Popen(command, stdout=subprocess.PIPE)
        memory = []
        while driver.poll() is None:
            memory.append(round(driver.memory_info().rss / 1e6))
            time.sleep(5)
        seconds = float(driver.communicate()[0])
    quarter = max(len(memory) // 4, 1)
    return {
        "slides": args.count,
        "slides_per_second": round(args.count / seconds, 2),
        "driver_mb_by_quarter": [max(memory[i : i + quarter]) for i in range(0, len(memory), quarter)][:4],
    }


def kills(args: argparse.Namespace) -> dict[str, Any]:
    """Kill workers at random moments, then the driver; compare with `wsiseg run`."""
    moments = random.Random(args.seed)
    with tempfile.TemporaryDirectory() as folder:
        out, log = Path(folder) / "out", Path(folder) / "log"
        for slide in args.slides:
            settings = RunSettings(slide=slide, device="cpu", mpp=args.mpp)
            run_slide(settings, Path(folder) / slide.name, make_predictor=lambda *_: colours(*_, None))
        command = [sys.executable, __file__, "one", *map(str, args.slides), "--out", str(out), "--workers", "2"]
        command += ["--make", COLOURS] + (["--mpp", str(args.mpp)] if args.mpp else [])
        environment = {**os.environ, LOG: str(log), "PYTHONHASHSEED": "1"}
        driver = psutil.Popen(command, stdout=subprocess.DEVNULL, env=environment)
        done = 0
        while done < args.kills and driver.poll() is None:
            time.sleep(moments.uniform(0.5, 4))
            workers = [one for one in driver.children(recursive=True) if "spawn_main" in " ".join(one.cmdline())]
            if workers:
                moments.choice(workers).kill()
                done += 1
        driver.send_signal(signal.SIGKILL)
        driver.wait()
        subprocess.run(command, stdout=subprocess.DEVNULL, env=environment, check=True)
        same = [
            digests(Path(folder) / slide.name) == digests(next(out.glob(f"{slide.stem}-*")))
            for slide in args.slides
        ]
        seen = Counter(log.read_text().split())
    return {"kills": done, "same_bytes": same, "windows": len(seen), "seen_again": seen.total() - len(seen)}


def digests(run: Path) -> dict[str, str]:
    """The sha256 of every deliverable."""
    content = json.loads((run / "COMPLETE.json").read_text())
    facts = {fact["name"]: fact["sha256"] for fact in content["deliverables"]}
    assert {name.split("/")[0] for name in facts} <= set(DELIVERABLES)
    return facts


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["scaling", "share", "queue", "kills", "one"])
    parser.add_argument("slides", type=Path, nargs="+")
    parser.add_argument("--mpp", type=float)
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--make", default=TORCH)
    args = parser.parse_args()
    if args.what == "one":
        print(run_here(args.slides, args.out, args.workers, args.make, mpp=args.mpp))
        return
    measures = {"scaling": scaling, "share": share, "queue": queue, "kills": kills}
    print(json.dumps(measures[args.what](args), indent=2))


if __name__ == "__main__":
    main()
