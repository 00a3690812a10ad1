"""Fuzzing of a parser: seeded mutations of good files, or atheris, which looks for paths not yet taken.

::

    cd tests
    python -m faults.fuzz_bundle --runs 20000
    python -m faults.fuzz_bundle --atheris 60

A run survives if the parser takes the bytes or refuses them in its own words, within `LIMIT_S` of CPU time.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
import traceback
from dataclasses import dataclass
from typing import TYPE_CHECKING

from faults.table import Row

if TYPE_CHECKING:
    from collections.abc import Callable

LIMIT_S = 5.0
NUMBERS = (
    0,
    1,
    2,
    127,
    128,
    255,
    256,
    2**15,
    2**16 - 1,
    2**24,
    2**31 - 1,
    2**31,
    2**32 - 1,
    2**62,
    2**63,
    2**64 - 1,
)


@dataclass(frozen=True)
class Target:
    """One parser."""

    name: str
    group: str
    """Row of the catalogue."""
    fault: str
    seeds: Callable[[], list[bytes]]
    judge: Callable[[bytes], None]
    """Parses; lets through whatever is not a refusal that callers expect."""


def mutated(data: bytes, chance: random.Random) -> bytes:
    """Change a file in one to four places."""
    found = bytearray(data)
    for _ in range(chance.randint(1, 4)):
        place = chance.randrange(len(found) + 1)
        length = min(int(chance.expovariate(1 / 8)) + 1, len(found))
        match chance.randrange(7):
            case 0 if place < len(found):
                found[place] ^= 1 << chance.randrange(8)
            case 1:
                del found[place : place + length]
            case 2:
                found[place:place] = found[place : place + length]
            case 3:
                width = chance.choice((2, 4, 8))
                number = chance.choice(NUMBERS) % 2 ** (8 * width)
                found[place : place + width] = number.to_bytes(width, chance.choice(("little", "big")))
            case 4:
                found[place : place + length] = chance.randbytes(length)
            case 5:
                found[place:place] = chance.choice(
                    (b"{", b"[", b'"', b"-", b"9" * 30, b"\\ud800", b"NaN", b"1e999")
                )
            case 6:
                other = chance.randrange(len(found) + 1)
                found[place : place + length] = found[other : other + length]
    return bytes(found)


def fuzz(target: Target, runs: int, seed: int = 0) -> Row:
    """Give the parser mutated files, the same for the same seed."""
    chance, seeds = random.Random(seed), target.seeds()
    row = Row(target.group, target.fault)
    for number in range(runs):
        data = mutated(chance.choice(seeds), chance)
        row.count(f"run {number} of seed {seed}", problems_of(target, data))
    return row


def problems_of(target: Target, data: bytes) -> list[str]:
    """Say what is wrong with how a parser took its input."""
    started = time.process_time()
    try:
        target.judge(data)
    except Exception:  # noqa: BLE001 - whatever the judge lets through is a finding
        return [traceback.format_exc().strip()[-500:]]
    seconds = time.process_time() - started
    return [f"{seconds:.1f} s for {len(data)} bytes"] if seconds > LIMIT_S else []


def main(target: Target) -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--atheris", type=int, metavar="SECONDS", help="let atheris look for so long")
    args = parser.parse_args()
    if args.atheris:
        hunt(target, args.atheris)
    row = fuzz(target, args.runs, args.seed)
    print("\n".join(row.notes[:5]), file=sys.stderr)
    print(f"{target.name}: injected {row.injected}, survived {row.survived}")
    sys.exit(row.survived != row.injected)


def hunt(target: Target, seconds: int) -> None:
    """Let atheris look for inputs that the parser does not survive; ends the process."""
    import tempfile
    from pathlib import Path

    import atheris

    atheris.instrument_all()
    corpus = Path(tempfile.mkdtemp())
    for number, seed in enumerate(target.seeds()):
        (corpus / str(number)).write_bytes(seed)
    options = [f"-max_total_time={seconds}", f"-timeout={int(LIMIT_S)}", "-print_final_stats=1", "-max_len=65536"]
    atheris.Setup([sys.argv[0], *options, str(corpus)], target.judge)
    atheris.Fuzz()
