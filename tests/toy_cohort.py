"""Networks for the workers of a cohort, which import them by name, and a whole cohort that a test can kill."""

from __future__ import annotations

import json
import os
import sys
import time
import zlib
from pathlib import Path

import numpy as np
from toy import ColourPredictor

from wsiseg.cohort.listing import read_listing
from wsiseg.cohort.pipeline import Workplace, run_cohort
from wsiseg.cohort.progress import Unwatched
from wsiseg.run import RunSettings

LOG = "WSISEG_TEST_LOG"
"""Environment variable: a file to which every window that a network sees adds a line."""
SLOW = "WSISEG_TEST_SLOW_S"
"""Environment variable: pretended seconds a window."""
POISON = (255, 0, 0)
"""A pixel that ends the process."""


class Logging(ColourPredictor):
    """The colour network; writes down what it sees and dies of red."""

    def predict(self, windows):
        found = []
        for window in windows:
            if (window[::16, ::16] == POISON).all(axis=2).any():
                os._exit(1)
            if LOG in os.environ:
                with open(os.environ[LOG], "a") as log:
                    log.write(f"{zlib.crc32(window.tobytes())}\n")
            time.sleep(float(os.environ.get(SLOW, 0)))
            found.append(super().predict(window[None])[0])
        return np.stack(found)


def colours(_bundle, _settings, _threads):
    return Logging()


def own_numerics(_bundle, _settings, _threads):
    """A network whose bits depend on its process."""
    network = Logging()
    network.numerics = {"device": str(os.getpid())}
    return network


def witness(bundle, settings, threads):
    """The bundle's own network; writes down what it and all around it in the process may use."""
    import cv2
    import psutil
    import zarr

    from wsiseg.run.pipeline import own_predictor

    network = own_predictor(bundle, settings, threads)
    process = psutil.Process()
    sockets = [one for which in (process, process.parent()) for one in which.net_connections("inet")]
    facts = {
        "torch": network.batch // 16 * network.numerics["threads"],  # windows at a time, threads each
        "opencv": cv2.getNumThreads(),
        "blas": int(os.environ["OPENBLAS_NUM_THREADS"]),
        "openmp": int(os.environ["OMP_NUM_THREADS"]),
        "zarr": zarr.config.get("threading.max_workers"),
        "listens": sorted({one.laddr.ip for one in sockets if one.status == psutil.CONN_LISTEN}),
    }
    with open(os.environ[LOG], "a") as log:
        log.write(json.dumps(facts) + "\n")
    return network


def run_toys(
    sources, out, bundle, *, workers=1, scheduler="local", make="toy_cohort:colours", watcher=None, **settings
):
    """Run slides with the toy bundle on workers of this machine; give the rows."""
    shared = RunSettings(slide=Path(), model=str(bundle), device="cpu", **settings)
    listing = read_listing([str(source) for source in sources])
    workplace = Workplace(scheduler, workers if scheduler == "local" else None, make)
    return run_cohort(listing, shared, Path(out), workplace, watcher or Unwatched())


if __name__ == "__main__":
    slides, out, bundle, workers = sys.argv[1:]
    run_toys([slides], out, bundle, workers=int(workers), tissue="none")
