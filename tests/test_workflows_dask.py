"""The recipes of workflows/dask: the Kubernetes file, whose commands run here, and the jobs of dask-jobqueue."""

from __future__ import annotations

import csv
import runpy
import signal
import socket
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml
from conftest import ROOT
from synthetic import paint_tissue, scattered, write_slide
from toy import write_bundle

RECIPE = ROOT / "workflows" / "dask"
SIZE = (500, 400)


@pytest.fixture(scope="module")
def resources():
    documents = yaml.safe_load_all((RECIPE / "kubernetes.yaml").read_text())
    return {(found["kind"], found["metadata"]["name"]): found for found in documents}


def containers(resources):
    """Each pod's one container, by name."""
    pods = [found["spec"]["template"]["spec"] for found in resources.values() if "template" in found["spec"]]
    return {pod["containers"][0]["name"]: (pod["containers"][0], pod) for pod in pods}


def test_kubernetes_file_fits_the_schemas(resources):
    validate = pytest.importorskip("kubernetes_validate", reason="kubernetes-validate has the schemas").validate
    for found in resources.values():
        assert validate(found, "1.31", strict=True)


def test_pods_fit_their_service_volumes_and_sizes(resources):
    service = resources["Service", "wsiseg-scheduler"]["spec"]
    scheduler = resources["Deployment", "wsiseg-scheduler"]["spec"]["template"]["metadata"]["labels"]
    assert service["selector"].items() <= scheduler.items()
    assert str(service["ports"][0]["port"]) in containers(resources)["scheduler"][0]["command"]
    for container, pod in containers(resources).values():
        mounted = {mount["name"] for mount in container.get("volumeMounts", [])}
        assert mounted == {volume["name"] for volume in pod.get("volumes", [])}
    worker = containers(resources)["worker"][0]
    cores = int(worker["resources"]["limits"]["cpu"])
    assert f"--resources=device=1 cpu={cores // 2} threads={cores}" in worker["command"]
    assert f"--nthreads={2 + cores // 2}" in worker["command"]


@contextmanager
def running(*command, **settings):
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL, **settings)
    try:
        yield
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@pytest.mark.slow
def test_commands_of_the_pods_make_a_cohort(resources, tmp_path):
    """The scheduler's, a worker's and the driver's command, with paths and name of this machine."""
    for name in ("slides", "results"):
        (tmp_path / name).mkdir()
    write_slide(tmp_path / "slides" / "one.svs", paint_tissue(SIZE, scattered(SIZE)).rgb)
    write_slide(tmp_path / "slides" / "no mpp.svs", paint_tissue(SIZE).rgb, mpp=None, power=None)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    here = {
        "wsiseg-scheduler": "127.0.0.1",
        "8786": port,
        "/slides": str(tmp_path / "slides"),
        "/results": str(tmp_path / "results"),
        "threads=8": "threads=1",
    }

    def command(name):
        words = [*containers(resources)[name][0]["command"]]
        for there, then in here.items():
            words = [word.replace(there, then) for word in words]
        program = Path(sys.executable).with_name(words[0])
        return [str(program), *words[1:]]

    options = ["--model", str(write_bundle(tmp_path / "toy")), "--device", "cpu"]
    scheduler = [*command("scheduler"), "--host", "127.0.0.1", "--dashboard-address", "127.0.0.1:0"]
    with (
        tempfile.TemporaryDirectory() as scratch,
        running(*scheduler),
        running(*command("worker"), "--host", "127.0.0.1", "--dashboard-address", "127.0.0.1:0", cwd=scratch),
    ):
        ended = subprocess.run([*command("driver"), *options], capture_output=True, text=True, check=False)
    assert ended.returncode == 7, ended.stderr
    lines = (tmp_path / "results" / "cohort" / "cohort.csv").read_text().splitlines()
    assert [(row["state"], row["code"]) for row in csv.DictReader(lines)] == [
        ("failed", "E-MPP-MISSING"),
        ("complete", ""),
    ]


def test_jobqueue_submits_workers_as_a_cohort_wants_them():
    pytest.importorskip("dask_jobqueue", reason="dask-jobqueue is not installed")
    recipe = runpy.run_path(str(RECIPE / "jobqueue.py"))
    with recipe["worker_jobs"](scheduler_options={"host": "127.0.0.1", "dashboard": False}) as cluster:
        script = cluster.job_script()
        address = cluster.scheduler_address
    for line in ("-J wsiseg-worker", "--cpus-per-task=8", "-t 04:00:00", "--no-requeue"):
        assert f"#SBATCH {line}\n" in script
    command = script.splitlines()[-1]
    assert command.startswith(f"{sys.executable} -m distributed.cli.dask_worker {address} ")
    for words in (
        "--nthreads 6",
        "--nanny",
        "--resources 'device=1 cpu=4 threads=8'",
        "--lifetime 3h45m --lifetime-stagger 10m",
    ):
        assert f" {words}" in command
