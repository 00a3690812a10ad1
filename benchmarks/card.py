"""Does a bundle reproduce the figures of its card? Scores it again on every set of the card that is at hand.

    python benchmarks/card.py DATA [BUNDLE]

DATA holds the data folders by the names that the card has. Prints a row for each set, with the largest difference
of any figure, intervals among them; ends with status 1 where one shows in the third decimal.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wsiseg.models.bundle import DEFAULT_BUNDLE, load_bundle
from wsiseg.train.evaluate import evaluate_bundle

if TYPE_CHECKING:
    from collections.abc import Iterator

ALLOWED = 5e-4


def numbers(part: object, place: str = "") -> Iterator[tuple[str, float]]:
    """Give every number of a summary with its place in it."""
    if isinstance(part, dict | list):
        for key, value in part.items() if isinstance(part, dict) else enumerate(part):
            yield from numbers(value, f"{place}/{key}")
    elif isinstance(part, int | float):
        yield place, part


def largest_difference(card: dict[str, Any], found: dict[str, Any]) -> float:
    """Compare all numbers of two summaries; infinite where one has numbers that the other lacks."""
    one, other = dict(numbers(card)), dict(numbers(found))
    return max(abs(one[place] - other[place]) for place in one) if one.keys() == other.keys() else float("inf")


def shown(summary: dict[str, Any]) -> str:
    """Give the pooled figures on one line."""
    return " ".join(f"{name} {value:.4f}" for name, value in summary["pooled"].items())


def main() -> None:
    """Score and compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("bundle", nargs="?", default=DEFAULT_BUNDLE)
    options = parser.parse_args()
    bundle = load_bundle(options.bundle)
    worst = 0.0
    print("| set | card | found | largest difference | CPU s |\n| --- | --- | --- | --- | --- |")
    for name, card in bundle.spec.metrics.items():
        folder = options.data / card["data"]
        if not (folder / "index.csv").is_file():
            print(f"| {name} | {shown(card)} | not at hand | | |")
            continue
        start = time.process_time()
        found = evaluate_bundle(bundle, folder, card["split"], count_boxes=card["boxes"] == "count").summary()
        seconds, difference = time.process_time() - start, largest_difference(card, found)
        print(f"| {name} | {shown(card)} | {shown(found)} | {difference:.4f} | {seconds:.0f} |", flush=True)
        worst = max(worst, difference)
    sys.exit(worst > ALLOWED)


if __name__ == "__main__":
    main()
