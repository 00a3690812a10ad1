"""Run `wsiseg cohort` on workers that dask-jobqueue submits to SLURM, each a job of its own.

``python jobqueue.py SLIDES... -o OUT [options of wsiseg cohort]``; needs ``pip install dask-jobqueue``. For PBS
or LSF take `PBSCluster` and the like: only the directives differ. Keep this running (in tmux, or in a small job)
until it ends; killed, it goes on when it is called again.
"""

from __future__ import annotations

import subprocess
import sys

from dask_jobqueue import SLURMCluster

WORKERS = 8
CORES = 8
"""Of each worker; half of them decode while the network runs."""


def worker_jobs(**scheduler: object) -> SLURMCluster:
    """Give a scheduler in this process, and how its workers are submitted; none is yet."""
    slots = max(CORES // 2, 1)
    return SLURMCluster(
        job_name="wsiseg-worker",
        processes=1,
        cores=2 + slots,  # threads of a worker: two blocks at the network and the decoding ones
        job_cpu=CORES,
        memory="16 GB",
        walltime="04:00:00",
        job_extra_directives=["--no-requeue"],  # add "--gpus=1" for a GPU a worker; ended jobs are replaced below
        worker_extra_args=[
            f"--resources 'device=1 cpu={slots} threads={CORES}'",
            # Workers leave before SLURM kills them, and not all at the same time.
            "--lifetime 225m --lifetime-stagger 10m",
        ],
        scheduler_options={"dashboard": False, "dashboard_address": "127.0.0.1:0", **scheduler},
    )


def main() -> int:
    """Give the exit status of `wsiseg cohort`."""
    with worker_jobs() as cluster:
        cluster.adapt(minimum=WORKERS, maximum=WORKERS)  # a job that ended is replaced
        return subprocess.call(["wsiseg", "cohort", *sys.argv[1:], "--scheduler", cluster.scheduler_address])


if __name__ == "__main__":
    sys.exit(main())
