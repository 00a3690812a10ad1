"""wsiseg, TIAToolbox and LazySlide on one slide with one network, in turns: seconds, memory, and what they find.

    python benchmarks/peers/compare.py SLIDE --model BUNDLE --tiatoolbox PYTHON --lazyslide PYTHON [--repeat 3]

PYTHON is the interpreter of an environment that holds the peer; `run_tiatoolbox.py` and `run_lazyslide.py` say
what else. A peer that is not named is left out. All start in a shell and end with nuclei on disk for QuPath. The
nuclei are compared with those of the whole image in one pass (`reference.py`), which is computed first. Prints one
JSON document and a table in Markdown; what is measured goes to stderr as it comes.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import statistics
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from accuracy import duplicates, read_nuclei, share_found
from processes import watch
from reference import whole_image_nuclei

from wsiseg.host import usable_cores
from wsiseg.models.bundle import load_bundle

if TYPE_CHECKING:
    import numpy.typing as npt

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parent.parent
KEPT_MEMORY = {
    "MALLOC_MMAP_THRESHOLD_": str(4 << 30),
    "MALLOC_TRIM_THRESHOLD_": str(16 << 30),
    "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1",
}
"""For the peers: else glibc gives large buffers back and pages them in again. wsiseg sees to it by itself."""


@dataclass(frozen=True, slots=True)
class Contestant:
    """A tool with its settings."""

    name: str
    command: tuple[str, ...]
    """Without the output folder."""
    nuclei: str
    """The file of nuclei in that folder."""
    environment: dict[str, str]


def contestants(args: argparse.Namespace) -> list[Contestant]:
    """List who runs; the first is what the others are compared with."""
    given = (str(args.slide), "--model", args.model)
    found = []
    for device in args.devices:
        command = (sys.executable, "-m", "wsiseg", "run", *given, "--device", device, "--reader", args.reader)
        found.append(Contestant(f"wsiseg, --device {device}", command, "nuclei.parquet", _path({})))
    for peer, python, script, no_overlap in (
        ("TIAToolbox", args.tiatoolbox, "run_tiatoolbox.py", ("--edge", "0")),
        ("LazySlide", args.lazyslide, "run_lazyslide.py", ("--overlap", "0")),
    ):
        if python:
            command = (python, str(HERE / script), *given)
            found += [
                Contestant(f"{peer}, {name}", (*command, *more), "nuclei.geojson", _path(KEPT_MEMORY))
                for name, more in (("overlap", ()), ("no overlap", no_overlap))
            ]
    return found


def _path(variables: dict[str, str]) -> dict[str, str]:
    return {
        **variables,
        "PYTHONPATH": os.pathsep.join(filter(None, (str(REPOSITORY), os.environ.get("PYTHONPATH")))),
    }


def turn(contestant: Contestant, out: Path) -> dict[str, float]:
    """Run one of them once."""
    shutil.rmtree(out, ignore_errors=True)
    watched = watch((*contestant.command, "--out", str(out)), contestant.environment)
    inner = out / "performance.json"
    if inner.is_file():
        start_up = watched.seconds - json.loads(inner.read_text())["seconds"]["total"]
    else:
        start_up = json.loads(watched.output.splitlines()[-1])["start_up_seconds"]
    return {"seconds": watched.seconds, "start_up_seconds": start_up, "peak_gb": watched.peak_bytes / 1e9}


def measure(everyone: list[Contestant], folder: Path, repeat: int) -> dict[str, dict[str, float]]:
    """Take turns, so that whatever disturbs the machine disturbs all of them; give medians."""
    rounds: list[dict[str, dict[str, float]]] = []
    for number in range(repeat):
        taken = {}
        for place, contestant in enumerate(everyone):
            taken[contestant.name] = turn(contestant, folder / str(place))
            print(number + 1, contestant.name, json.dumps(taken[contestant.name]), file=sys.stderr, flush=True)
        first = taken[everyone[0].name]["seconds"]
        for values in taken.values():
            values["times_the_first"] = values["seconds"] / first
        rounds.append(taken)
    return {
        contestant.name: {
            figure: statistics.median(taken[contestant.name][figure] for taken in rounds)
            for figure in rounds[0][contestant.name]
        }
        for contestant in everyone
    }


def judged(reference: npt.NDArray[Any], file: Path) -> dict[str, float]:
    """Compare the nuclei in a file with the whole image's."""
    nuclei = read_nuclei(file)
    return {
        "nuclei": len(nuclei),
        "found": round(share_found(reference, nuclei), 5),
        "duplicates": duplicates(nuclei),
    }


def tissue_mm2(run: Path, model: str) -> float:
    """Give the area of the tiles that a run of wsiseg took for tissue."""
    spec = load_bundle(model).spec
    tiles = json.loads((run / "summary.json").read_text())["tiles"]["tissue"]
    return float(tiles * (spec.tile_px * spec.mpp / 1000) ** 2)


def table(tools: dict[str, dict[str, float]], mm2: float) -> str:
    """Write the table of docs/performance.md."""
    heads = (
        "tool",
        "s",
        "of it start-up",
        "s per mm2",
        "times the first",
        "GB",
        "nuclei",
        "found",
        "duplicate pairs",
    )
    lines = [f"| {' | '.join(heads)} |", f"|{' --- |' * len(heads)}"]
    for name, values in tools.items():
        cells = (
            name,
            f"{values['seconds']:.1f}",
            f"{values['start_up_seconds']:.1f}",
            f"{values['seconds'] / mm2:.2f}",
            f"{values['times_the_first']:.2f}",
            f"{values['peak_gb']:.2f}",
            f"{values['nuclei']:,}",
            f"{values['found']:.2%}",
            f"{values['duplicates']:,}",
        )
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("slide", type=Path)
    parser.add_argument("--model", required=True, help="a bundle, by name or folder")
    parser.add_argument("--reader", default="openslide", help="of wsiseg")
    parser.add_argument("--devices", nargs="+", default=["auto", "openvino"], help="of wsiseg")
    parser.add_argument("--tiatoolbox", help="the Python of its environment")
    parser.add_argument("--lazyslide", help="the Python of its environment")
    parser.add_argument("--repeat", type=int, default=3)
    args = parser.parse_args()
    everyone = contestants(args)
    reference = whole_image_nuclei(args.slide, args.model)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        tools = measure(everyone, folder, args.repeat)
        for place, contestant in enumerate(everyone):
            tools[contestant.name] |= judged(reference, folder / str(place) / contestant.nuclei)
        mm2 = tissue_mm2(folder / "0", args.model)
    machine = {"processor": platform.processor() or platform.machine(), "cores": usable_cores()}
    result = {"machine": machine, "mm2_of_tissue": round(mm2, 2), "nuclei": len(reference), "tools": tools}
    print(json.dumps(result, indent=2), table(tools, mm2), sep="\n\n")


if __name__ == "__main__":
    main()
