"""Compare encoders: the same U-Net, data and budget; every encoder at 0.25 and at 0.5 um/px.

    python run.py DATA OUT

DATA holds `tnbc/`, `nuinsseg/` and `weights/` (README.md). OUT gets a folder for each training, `table.md` and
`speed.png`. Kill it whenever you like: the same command goes on where it stopped.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from pathlib import Path
from statistics import mean
from typing import TYPE_CHECKING, Any

from wsiseg.cli.train import Report
from wsiseg.fsio import write_atomic
from wsiseg.models.bundle import load_bundle
from wsiseg.models.encoders import preprocessing
from wsiseg.models.facts import RANDOM, began_with
from wsiseg.models.network import count_parameters
from wsiseg.train.compare.speed import tiles_per_second
from wsiseg.train.config import TrainConfig
from wsiseg.train.evaluate import evaluate_bundle
from wsiseg.train.figures import COLOURS, as_png, new_figure
from wsiseg.train.loop import train
from wsiseg.train.tables import Table, markdown_table

if TYPE_CHECKING:
    from collections.abc import Sequence

HERE = Path(__file__).resolve().parent
STARTS = {
    "timm-tf_efficientnet_lite0": "weights/tf_efficientnet_lite0.timm.safetensors",
    "timm-tf_efficientnet_lite1": "weights/tf_efficientnet_lite1.timm.safetensors",
    "timm-tf_efficientnet_lite2": "weights/tf_efficientnet_lite2.timm.safetensors",
    "mobilenet_v2": "weights/mobilenet_v2.smp-encoder.safetensors",
    "resnet34": "weights/resnet34.safetensors",
    "efficientnet-b2": "weights/efficientnet-b2.safetensors",
    "inceptionv3": "weights/inceptionv3.safetensors",
}
"""ImageNet weights below DATA; an encoder whose file is not there starts from random weights."""
RESOLUTIONS = 0.25, 0.5
SOURCES = "tnbc", "nuinsseg"
SCORES = "scores.json"


@dataclasses.dataclass(frozen=True, slots=True)
class Entrant:
    """One training of the comparison."""

    encoder: str
    mpp: float
    seed: int

    @property
    def folder(self) -> str:
        """Where it lies below OUT."""
        return f"{self.encoder}-{self.mpp:g}-{self.seed}"

    def config(self, data: Path) -> TrainConfig:
        """Give the common config with this entrant's values."""
        common = TrainConfig.from_toml(HERE / "backbones.toml")
        start = STARTS[self.encoder] if (data / STARTS[self.encoder]).is_file() else ""
        pixels = dict(zip(("mean", "std"), preprocessing(self.encoder), strict=True))
        named: dict[str, Any] = {"name": self.folder, "encoder": self.encoder, "encoder_weights": start}
        model = dataclasses.replace(common.model, mpp=self.mpp, **named, **pixels)
        schedule = dataclasses.replace(common.schedule, seed=self.seed)
        return dataclasses.replace(common, model=model, schedule=schedule)


def main() -> None:
    """Run the comparison."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--seeds", type=int, default=3, help="trainings of each encoder and resolution")
    parser.add_argument("--encoders", nargs="+", choices=STARTS, default=list(STARTS), metavar="ENCODER")
    options = parser.parse_args()
    entrants = [
        Entrant(encoder, mpp, seed)
        for seed in range(options.seeds)
        for mpp in RESOLUTIONS
        for encoder in options.encoders
    ]
    for entrant in entrants:
        _run(entrant, options.data, options.out)
    summarise(options.out)


def _run(entrant: Entrant, data: Path, out: Path) -> None:
    """Train and score one network, unless that is done."""
    folder = out / entrant.folder
    if (folder / SCORES).exists():
        return
    print(entrant.folder, file=sys.stderr)
    bundle = train(entrant.config(data), folder, data, progress=Report()).bundle
    scores = {source: evaluate_bundle(bundle, data / source, "val").summary() for source in SOURCES}
    write_atomic(folder / SCORES, json.dumps(scores, indent=1).encode())


def summarise(out: Path) -> None:
    """Write the table and the plot of what is there."""
    groups: dict[tuple[float, str], list[Path]] = {}
    for path in sorted(out.glob(f"*/{SCORES}")):
        spec = load_bundle(str(path.parent / "bundle")).spec
        groups.setdefault((spec.mpp, spec.encoder), []).append(path.parent)
    found = [Found.of(folders) for _, folders in sorted(groups.items())]
    rows = tuple(one.row for one in sorted(found, key=lambda one: (one.mpp, -one.figures[0])))
    write_atomic(out / "table.md", markdown_table(Table(HEADER, rows)).encode())
    write_atomic(out / "speed.png", draw(found))


HEADER = (
    "um/px", "encoder", "start", "seeds", "TNBC Dice", "F1", "PQ", "NuInsSeg Dice", "F1", "PQ",
    "parameters", "tiles/s", "mm2/s",
)  # fmt: skip


@dataclasses.dataclass(frozen=True, slots=True)
class Found:
    """What the trainings of one encoder at one resolution came to."""

    encoder: str
    start: str
    mpp: float
    seeds: int
    figures: tuple[float, ...]
    """Means over seeds: Dice, F1 and PQ on TNBC, then on NuInsSeg."""
    spread: float
    """Half the range of the first of them over the seeds."""
    parameters: int
    tiles: float
    """256 px tiles a second, the network alone."""

    @classmethod
    def of(cls, folders: Sequence[Path]) -> Found:
        """Read the scores of some seeds, and measure the first one's network."""
        bundle = load_bundle(str(folders[0] / "bundle"))
        spec = bundle.spec
        each = [_figures(folder) for folder in folders]
        dice = [figures[0] for figures in each]
        return cls(
            spec.encoder,
            began_with(spec).split(".")[0],
            spec.mpp,
            len(folders),
            tuple(mean(column) for column in zip(*each, strict=True)),
            (max(dice) - min(dice)) / 2,
            count_parameters(spec),
            tiles_per_second(bundle),
        )

    @property
    def area(self) -> float:
        """Square millimetres a second."""
        return self.tiles * (256 * self.mpp / 1000) ** 2

    @property
    def row(self) -> tuple[str, ...]:
        """The table's row."""
        start = "random" if self.start == RANDOM else "ImageNet"
        first, *others = (f"{figure:.3f}" for figure in self.figures)
        if self.seeds > 1:
            first += f" ± {self.spread:.3f}"
        sizes = f"{self.parameters / 1e6:.1f} M", f"{self.tiles:.0f}", f"{self.area:.3f}"
        return (f"{self.mpp:g}", self.encoder, start, str(self.seeds), first, *others, *sizes)


def _figures(folder: Path) -> list[float]:
    scores = json.loads((folder / SCORES).read_text())
    return [scores[source]["pooled"][name] for source in SOURCES for name in ("dice", "f1", "pq")]


def draw(found: Sequence[Found]) -> bytes:
    """Draw Dice on TNBC against area a second: a colour for each encoder, a form for each resolution."""
    figure = new_figure(8.5, 4.8)
    axes = figure.subplots()
    encoders = list(dict.fromkeys(one.encoder for one in found))
    for one in found:
        colour = COLOURS[encoders.index(one.encoder) % len(COLOURS)]
        form = "o" if one.mpp == min(RESOLUTIONS) else "s"
        face = "none" if one.start == RANDOM else colour
        label = f"{one.encoder} at {one.mpp:g}" + (", random start" if one.start == RANDOM else "")
        axes.plot(one.area, one.figures[0], form, color=colour, markerfacecolor=face, markersize=9, label=label)
    axes.set_xscale("log")
    axes.set_xlabel("mm2 a second, the network alone")
    axes.set_ylabel("Dice, TNBC validation")
    axes.grid(alpha=0.3)
    figure.legend(loc="outside right upper", frameon=False, fontsize=8.5)
    return as_png(figure)


if __name__ == "__main__":
    main()
