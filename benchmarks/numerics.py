"""How far do results differ between instruction sets, threads and number types? The bound that the docs publish.

    python benchmarks/numerics.py SLIDE [--roi REGION.geojson]

Runs the slide once for each row of `CONDITIONS`, each in a process of its own, because instruction sets are chosen
when a library is loaded, and compares maps, masks and tables. Prints one Markdown table.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import orjson
import pyarrow.parquet as pq
import zarr

from wsiseg.run.ledger import MAPS, Ledger
from wsiseg.run.tilefile import TileReader

if TYPE_CHECKING:
    from collections.abc import Iterator

TILE_PX, MAP_COUNT = 256, 2
"""Of the default model."""

AVX512 = {"ATEN_CPU_CAPABILITY": "avx512", "ONEDNN_MAX_CPU_ISA": "AVX512_CORE_VNNI"}
AVX2 = {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2"}
SSE = {"ATEN_CPU_CAPABILITY": "default", "ONEDNN_MAX_CPU_ISA": "SSE41"}
AVX512_BF16 = {"ATEN_CPU_CAPABILITY": "avx512", "ONEDNN_MAX_CPU_ISA": "AVX512_CORE_BF16"}


@dataclass(frozen=True)
class Condition:
    """One way to compute."""

    name: str
    isa: dict[str, str]
    """Environment that limits the instruction sets; empty for all that the processor has."""
    threads: int = 1
    dtype: str = "float32"
    device: str = "cpu"


REFERENCE = Condition("fp32, AVX-512, 1 thread", AVX512)
CONDITIONS = (
    REFERENCE,
    Condition("the same again", AVX512),
    Condition("fp32, AVX-512, 2 threads", AVX512, threads=2),
    Condition("fp32, AVX2, 1 thread", AVX2),
    Condition("fp32, no AVX, 1 thread", SSE),
    Condition("bf16, AVX-512, 1 thread", AVX512_BF16, dtype="bfloat16"),
    Condition("bf16, AMX, 1 thread", {}, dtype="bfloat16"),
    Condition("bf16, AMX, 2 threads", {}, threads=2, dtype="bfloat16"),
    Condition("OpenVINO, fp32, 2 threads", {}, threads=2, device="openvino"),
    Condition("OpenVINO, bf16, 2 threads", {}, threads=2, dtype="bfloat16", device="openvino"),
)


def compute(slide: Path, roi: Path | None, out: Path, condition: Condition) -> None:
    """Run the slide in this process."""
    import torch

    from wsiseg.predict import numerics, predictor_on
    from wsiseg.run import RunSettings, run_slide

    numerics.choose_dtype = lambda _device: getattr(torch, condition.dtype)
    settings = RunSettings(slide=slide, device=condition.device, tissue="none", roi=roi, workers=1, keep_work=True)
    run_slide(
        settings,
        out,
        make_predictor=lambda bundle, _: predictor_on(bundle, condition.device, None, condition.threads),
    )


def compare(reference: Path, other: Path) -> dict[str, str]:
    """Say how a run differs from the reference."""
    pairs = zip(maps_of(reference), maps_of(other), strict=True)
    steps = np.concatenate([np.abs(one.astype(int) - another).ravel() for one, another in pairs])
    labels, others = (np.asarray(zarr.open(run / "masks.ome.zarr/labels/nuclei/0")) for run in (reference, other))
    counts = [pq.read_metadata(run / "nuclei.parquet").num_rows for run in (reference, other)]
    different = differing_pixels(labels, others)
    return {
        "map values that differ": _share(steps > 0, steps.size),
        "largest step of 255": f"{steps.max()}",
        "foreground pixels that differ": _share((labels > 0) != (others > 0), steps.size // 2),
        "label pixels that differ": _share(different, steps.size // 2),
        "nuclei": f"{counts[1]:,}",
    }


def maps_of(run: Path) -> Iterator[np.ndarray]:
    """Give the maps of each tile that a run has kept, in the order of blocks."""
    entries = [entry for entry in Ledger.peek(run / "work" / "ledger.jsonl") if entry.stage == MAPS]
    for entry in sorted(entries, key=lambda entry: entry.block):
        with open(run / "work" / "maps" / f"{entry.block}.tiles", "rb") as file:
            reader = TileReader(file, entry.facts["tiles"])
            yield from (reader.tile(number)[: MAP_COUNT * TILE_PX**2] for number in range(entry.facts["tiles"]))


def _share(different: np.ndarray, total: int) -> str:
    return f"{different.sum() / total:.1e} ({different.sum():,} of {total:,})"


def differing_pixels(labels: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Mark pixels that are nucleus in one image only, or of another nucleus than their nucleus' most pixels."""
    both = (labels > 0) & (others > 0)
    pairs, counts = np.unique(np.stack([labels[both], others[both]]), axis=1, return_counts=True)
    partner = np.zeros(int(labels.max()) + 1, others.dtype)
    order = np.argsort(counts, kind="stable")  # the largest overlap is written last, and stays
    partner[pairs[0, order]] = pairs[1, order]
    return ((labels > 0) != (others > 0)) | (both & (partner[labels] != others))


def main() -> None:
    """Run all conditions and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("slide", type=Path)
    parser.add_argument("--roi", type=Path, help="a GeoJSON; only its tiles are computed")
    parser.add_argument("--compute", nargs=2, metavar=("NUMBER", "OUT"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.compute:
        compute(args.slide, args.roi, Path(args.compute[1]), CONDITIONS[int(args.compute[0])])
        return
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for number, condition in enumerate(CONDITIONS):
            out = Path(folder) / str(number)
            command = [sys.executable, __file__, str(args.slide), "--compute", str(number), str(out)]
            command += ["--roi", str(args.roi)] if args.roi else []
            subprocess.run(command, check=True, env={**os.environ, **condition.isa})
            rows.append({"condition": condition.name, **compare(Path(folder) / "0", out)})
            print(orjson.dumps(rows[-1]).decode(), file=sys.stderr, flush=True)
    print(f"| {' | '.join(rows[0])} |\n|{' --- |' * len(rows[0])}")
    for row in rows:
        print(f"| {' | '.join(row.values())} |")


if __name__ == "__main__":
    main()
