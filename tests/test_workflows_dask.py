"""The recipes of workflows/dask: the Kubernetes file, whose commands run here, and the jobs of dask-jobqueue."""

from __future__ import annotations

import csv
import runpy
import signal
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path

import one_node_slurm
import pytest
import yaml
from conftest import ROOT
from synthetic import paint_tissue, scattered, write_slide
from toy import write_bundle

RECIPE = ROOT / "workflows" / "dask"
SIZE = (500, 400)
PATIENCE_S = 300


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


def await_port(port):
    """Wait until somebody listens there: a driver gives a scheduler that is not there only half a minute."""
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", int(port))) == 0:
                return
        time.sleep(0.1)
    raise AssertionError(f"nobody listens on {port}")


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
    worker = [*command("worker"), "--host", "127.0.0.1", "--dashboard-address", "127.0.0.1:0"]
    with tempfile.TemporaryDirectory() as scratch, running(*scheduler):
        await_port(port)
        with running(*worker, cwd=scratch):
            driver = [*command("driver"), *options]
            ended = subprocess.run(driver, capture_output=True, text=True, check=False)
    assert ended.returncode == 7, ended.stderr
    lines = (tmp_path / "results" / "cohort" / "cohort.csv").read_text().splitlines()
    assert [(row["state"], row["code"]) for row in csv.DictReader(lines)] == [
        ("failed", "E-MPP-MISSING"),
        ("complete", ""),
    ]


def test_jobqueue_submits_workers_as_a_cohort_wants_them():
    pytest.importorskip("dask_jobqueue", reason="dask-jobqueue is not installed")
    recipe = runpy.run_path(str(RECIPE / "jobqueue.py"))
    with recipe["worker_jobs"](host="127.0.0.1") as cluster:
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
        "--lifetime 225m --lifetime-stagger 10m",
    ):
        assert f" {words}" in command


@pytest.mark.slow
def test_jobqueue_runs_a_cohort_on_slurm(tmp_path):
    pytest.importorskip("dask_jobqueue", reason="dask-jobqueue is not installed")
    reason = one_node_slurm.why_not()
    if reason:
        pytest.skip(f"no SLURM can be started here; {reason}")
    smaller = {"WORKERS = 8": "WORKERS = 1", "CORES = 8": "CORES = 1", "16 GB": "2 GB"}
    text = (RECIPE / "jobqueue.py").read_text()
    for there, here in smaller.items():
        assert there in text
        text = text.replace(there, here)
    (tmp_path / "recipe.py").write_text(text)
    slide = write_slide(tmp_path / "one.svs", paint_tissue(SIZE, scattered(SIZE)).rgb)
    options = ["--model", str(write_bundle(tmp_path / "toy")), "--tissue", "none", "--device", "cpu"]
    with one_node_slurm.OneNodeSlurm() as cluster:
        path = f"{Path(sys.executable).parent}:{cluster.env['PATH']}"
        command = [sys.executable, "recipe.py", str(slide), "--out", "out", *options]
        ended = subprocess.run(
            command, cwd=tmp_path, env={**cluster.env, "PATH": path}, capture_output=True, text=True, check=False
        )
    assert ended.returncode == 0, ended.stderr
    (row,) = csv.DictReader((tmp_path / "out" / "cohort.csv").read_text().splitlines())
    assert row["state"] == "complete"
