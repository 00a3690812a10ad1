"""Print the arguments of `wsiseg run` for each slide of a cohort, one line a slide, quoted for the shell.

``python tasks.py SLIDES|LIST.csv OUT [options of wsiseg run]``. Each run directory is the one that `wsiseg cohort`
gives the slide, so that a cohort over the same slides finds what the tasks have done.
"""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

from wsiseg.cohort.listing import read_listing
from wsiseg.errors import WsisegError


def main(slides: str, out: str, *options: str) -> None:
    """Print the lines; what the list says of a slide comes last and counts."""
    for slide in read_listing([slides]).slides:
        own = {"--mpp": slide.mpp, "--roi": slide.roi, "--tissue": slide.tissue}
        chosen = [str(word) for pair in own.items() if pair[1] is not None for word in pair]
        print(shlex.join([str(slide.path), "--out", str(Path(out) / slide.id), *options, *chosen]))


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except WsisegError as error:
        sys.exit(str(error))
