"""The recipes of workflows/slurm: their scripts with SLURM's commands played, and all of it on a real SLURM."""

from __future__ import annotations

import csv
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import one_node_slurm
import pytest
from conftest import ROOT
from synthetic import paint_tissue, scattered, truncate, write_slide
from toy import write_bundle

from wsiseg.cohort.listing import read_listing

RECIPE = ROOT / "workflows" / "slurm"
SCRIPTS = sorted(path for path in RECIPE.iterdir() if path.suffix in (".sh", ".sbatch"))
SIZE = (600, 3200)
"""Four blocks of the toy bundle, one above the other."""
PATIENCE_S = 900


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return write_bundle(tmp_path_factory.mktemp("bundle") / "toy")


@pytest.fixture(scope="module")
def slide(tmp_path_factory):
    painting = paint_tissue(SIZE, scattered(SIZE))
    return write_slide(tmp_path_factory.mktemp("slides") / "a slide.svs", painting.rgb)


@pytest.fixture(scope="module")
def environment():
    """This Python's programs first, and nothing of a SLURM that the tests may run under."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("SLURM_", "SBATCH_"))}
    return {**kept, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}


@pytest.fixture(scope="module")
def reference(slide, bundle, environment, tmp_path_factory):
    """What `wsiseg run` makes of the slide on one core."""
    out = tmp_path_factory.mktemp("reference") / "run"
    command = ["wsiseg", "run", str(slide), "-o", str(out), *options(bundle)]
    subprocess.run(command, env={**environment, "SLURM_CPUS_PER_TASK": "1"}, check=True, capture_output=True)
    return out


def options(bundle):
    return ["--model", str(bundle), "--tissue", "none", "--device", "cpu"]


def results(folder):
    """The bytes of each deliverable; what tells of time and process is not one."""
    timed = ("LOCK", "performance.json", "COMPLETE.json")
    files = [path for path in folder.rglob("*") if path.is_file() and path.name not in timed]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def rows(out):
    lines = (out / "cohort.csv").read_text().splitlines()
    return {Path(row["slide"]).name: row for row in csv.DictReader(lines)}


# -- the scripts themselves ---------------------------------------------------------------------------------


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_scripts_are_sound(script):
    subprocess.run(["bash", "-n", str(script)], check=True)
    if shutil.which("shellcheck"):
        subprocess.run(["shellcheck", str(script)], check=True)


def test_tasks_are_the_runs_of_the_cohort(slide, tmp_path):
    write_slide(tmp_path / "it's.svs", paint_tissue((300, 300)).rgb, mpp=None)
    (tmp_path / "list.csv").write_text(f"slide;id;mpp;tissue\n{slide};;;\nit's.svs;two;0,5;none\n")
    command = [sys.executable, str(RECIPE / "tasks.py"), "list.csv", "out", "--tissue", "auto"]
    printed = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True).stdout
    first, second = map(shlex.split, printed.splitlines())
    ids = [found.id for found in read_listing([str(tmp_path / "list.csv")]).slides]
    assert first == [str(slide), "--out", f"out/{ids[0]}", "--tissue", "auto"]
    assert second == ["it's.svs", "--out", "out/two", "--tissue", "auto", "--mpp", "0.5", "--tissue", "none"]


def play(folder, name, script):
    """Put a program of SLURM or wsiseg's name into a folder, which tells what it was called with."""
    path = folder / name
    path.write_text(f'#!/bin/bash\necho "{name} $*" >>{folder}/calls\n{script}\n')
    path.chmod(0o755)


@pytest.fixture
def task(tmp_path, environment):
    """Begin the second task of an array whose `wsiseg` is the script given."""
    play(tmp_path, "scontrol", "")
    (tmp_path / "tasks").write_text("one --out 1\n'a slide' --out 2\n")
    env = {**environment, "PATH": f"{tmp_path}:{environment['PATH']}"}
    env |= {"SLURM_JOB_ID": "77", "SLURM_ARRAY_TASK_ID": "2", "SLURM_CPUS_PER_TASK": "1"}

    def begin(wsiseg, **more):
        play(tmp_path, "wsiseg", wsiseg)
        command = ["bash", str(RECIPE / "array.sbatch"), str(tmp_path / "tasks")]
        return subprocess.Popen(command, env={**env, **more}, stderr=subprocess.DEVNULL)

    return begin


@pytest.mark.parametrize(
    ("ending", "status", "again"),
    [
        ("exit 0", 0, False),
        ("exit 3", 3, False),
        ("exit 5", 5, False),
        ("exit 6", 6, True),
        ("kill -KILL $$", 137, True),
    ],
)
def test_only_what_can_end_better_is_queued_again(ending, status, again, task, tmp_path):
    assert task(ending).wait(PATIENCE_S) == status
    calls = (tmp_path / "calls").read_text().splitlines()
    assert calls == ["wsiseg run a slide --out 2", "scontrol requeue 77"][: 1 + again]


def test_a_task_is_not_queued_for_ever(task, tmp_path):
    assert task("exit 6", SLURM_RESTART_COUNT="10").wait(PATIENCE_S) == 6
    assert "requeue" not in (tmp_path / "calls").read_text()


@pytest.mark.parametrize(("number", "again"), [(signal.SIGUSR1, True), (signal.SIGTERM, False)])
def test_a_task_that_is_told_to_stop_stops_first(number, again, task, tmp_path):
    """USR1 is the walltime; after TERM it is SLURM that knows whether there is another time."""
    process = task(
        "trap 'sleep 0.3; echo stopped >>$0.log; exit 143' TERM; touch $0.on; while :; do sleep 0.05; done"
    )
    await_true(lambda: (tmp_path / "wsiseg.on").exists() and catches(process.pid, number))
    process.send_signal(number)
    assert process.wait(PATIENCE_S) == 143
    assert (tmp_path / "wsiseg.log").read_text() == "stopped\n"
    assert ("scontrol requeue 77" in (tmp_path / "calls").read_text()) == again


def catches(process, number):
    """Tell whether a process has a handler for a signal."""
    status = Path(f"/proc/{process}/status").read_text()
    mask = int(status.split("SigCgt:")[1].split()[0], 16)
    return bool(mask >> (number - 1) & 1)


def await_true(true):
    deadline = time.monotonic() + PATIENCE_S
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.slow
@pytest.mark.skipif(not one_node_slurm.why_not(), reason="the tests below run it on a real SLURM")
def test_dask_recipe_with_slurm_played(slide, bundle, environment, reference, tmp_path):
    play(tmp_path, "squeue", "date -d '+1 hour' +%FT%T")
    play(tmp_path, "srun", 'while [[ $1 == --* ]]; do shift; done; exec "$@"')
    env = {**environment, "PATH": f"{tmp_path}:{environment['PATH']}", "SLURM_SUBMIT_DIR": str(tmp_path)}
    env |= {"SLURM_JOB_ID": "77", "SLURM_CPUS_PER_TASK": "1"}
    command = ["bash", str(RECIPE / "dask.sbatch"), str(slide), "--out", str(tmp_path / "out"), *options(bundle)]
    found = subprocess.run(command, env=env, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    assert found.returncode == 0, found.stderr
    row = rows(tmp_path / "out")[slide.name]
    assert row["state"] == "complete"
    assert results(tmp_path / "out" / row["folder"]) == results(reference)
    assert not (tmp_path / "dask-77").exists()


# -- on a real SLURM ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def slurm(environment):
    reason = one_node_slurm.why_not()
    if reason:
        pytest.skip(f"no SLURM can be started here; {reason}")
    with one_node_slurm.OneNodeSlurm() as cluster:
        cluster.env["PATH"] = environment["PATH"]
        yield cluster


@pytest.fixture
def recipe(tmp_path):
    """A copy of the recipe for tasks of one processor, as people adapt it."""
    copy = tmp_path / "recipe"
    shutil.copytree(RECIPE, copy)
    for script in copy.glob("*.sbatch"):
        text = (
            script.read_text()
            .replace("--cpus-per-task=8", "--cpus-per-task=1")
            .replace("--ntasks=4", "--ntasks=2")
        )
        script.write_text(text)
    return copy


@pytest.fixture
def hold(slurm, tmp_path, monkeypatch):
    """Let a `wsiseg` of certain arguments stand still in its first tries, from a block's commit until told to end.

    So it is interrupted half-way however fast the machine is; the file held-N says that try N stands still.
    """

    def put(arguments, ledger, tries):
        play(
            tmp_path,
            "wsiseg",
            f"""
            blocks() {{ cat {ledger} 2>/dev/null | wc -l; }}
            try=${{SLURM_RESTART_COUNT:-0}} before=$(blocks)
            {shutil.which("wsiseg", path=slurm.env["PATH"])} "$@" & run=$!
            trap 'kill -TERM $run; kill -CONT $run' TERM
            if [[ $* == *"{arguments}"* ]] && ((try < {tries})); then
                until (($(blocks) > before)); do sleep 0.02; done
                kill -STOP $run && touch {tmp_path}/held-$try
            fi
            while wait $run; status=$?; kill -0 $run 2>/dev/null; do :; done
            exit $status""",
        )
        monkeypatch.setitem(slurm.env, "PATH", f"{tmp_path}:{slurm.env['PATH']}")

    return put


@pytest.mark.slow
def test_array_goes_on_after_walltime_and_preemption(slurm, recipe, hold, slide, bundle, reference, tmp_path):
    truncated = shutil.copy(slide, tmp_path / "truncated.svs")
    truncate(truncated, 0.5)
    listed = [("slide", "id"), (slide, "first"), (truncated, "second")]
    (tmp_path / "list.csv").write_text("".join(f"{path},{name}\n" for path, name in listed))
    out = tmp_path / "out"
    hold(f"--out {out}/first", out / "first" / "work" / "ledger.jsonl", tries=2)
    command = ["bash", str(recipe / "submit.sh"), str(tmp_path / "list.csv"), str(out), *options(bundle)]
    array, table = slurm.call(*command).split(";")[0].replace(",", "").split()[1::2]

    await_true((tmp_path / "held-0").exists)
    slurm.call("scancel", "--batch", "--signal=USR1", f"{array}_1")  # as five minutes before the walltime
    await_true((tmp_path / "held-1").exists)
    slurm.call("sbatch", "--partition=high", "--exclusive", "--output=/dev/null", "--wrap=true")

    assert slurm.ended(table, PATIENCE_S)["ExitCode"] == "7:0"
    first, second = slurm.job(f"{array}_1"), slurm.job(f"{array}_2")
    assert (first["JobState"], first["Restarts"]) == ("COMPLETED", "2")
    assert (second["JobState"], second["ExitCode"], second["Restarts"]) == ("FAILED", "3:0", "0")
    assert {name: (row["state"], row["code"]) for name, row in rows(out).items()} == {
        slide.name: ("complete", ""),
        "truncated.svs": ("failed", "E-SLIDE-TRUNCATED"),
    }
    assert results(out / "first") == results(reference)
    inferred = json.loads((out / "first" / "performance.json").read_text())["tiles_inferred"]
    everything = json.loads((reference / "performance.json").read_text())["tiles_inferred"]
    assert inferred < everything


@pytest.mark.slow
def test_dask_in_an_allocation_goes_on_after_its_walltime(slurm, recipe, hold, slide, bundle, reference, tmp_path):
    arguments = [str(slide), "--out", str(tmp_path / "out"), *options(bundle)]
    log = f"--output={tmp_path}/log"
    folder = read_listing([str(slide)]).slides[0].id
    hold(f"--out {tmp_path}/out", tmp_path / "out" / folder / "work" / "ledger.jsonl", tries=1)
    job = slurm.call("sbatch", "--parsable", log, str(recipe / "dask.sbatch"), *arguments, cwd=tmp_path)
    await_true((tmp_path / "held-0").exists)
    slurm.call("scancel", "--batch", "--signal=USR1", job)
    ended = slurm.ended(job, PATIENCE_S)
    assert (ended["JobState"], ended["Restarts"]) == ("COMPLETED", "1"), (tmp_path / "log").read_text()
    assert results(tmp_path / "out" / folder) == results(reference)
    assert not list(tmp_path.glob("dask-*"))


@pytest.mark.slow
def test_one_processor_of_a_cgroup_is_one_thread_of_the_network(slurm, slide, bundle, tmp_path):
    """Measured over a whole run: which threads used the processor that the job was given, and for how long."""
    run = shlex.join(["wsiseg", "run", str(slide), "--out", str(tmp_path / "run"), *options(bundle)])
    (tmp_path / "job").write_text(f"""#!/bin/bash
        unset ${{!SLURM_*}} # only the cgroup tells how many processors there are
        {run} & run=$!
        while kill -0 $run; do cat /proc/$run/task/*/stat >>{tmp_path}/stat; sleep 0.2; done 2>/dev/null
        wait $run""")
    log = f"--output={tmp_path}/log"
    job = slurm.call("sbatch", "--parsable", "--cpus-per-task=1", log, str(tmp_path / "job"))
    assert slurm.ended(job, PATIENCE_S)["JobState"] == "COMPLETED", (tmp_path / "log").read_text()
    assert json.loads((tmp_path / "run" / "performance.json").read_text())["device"]["threads"] == 1
    ticks = {}
    for line in (tmp_path / "stat").read_text().splitlines():
        name, facts = line.split(" ", 1)[0], line.rsplit(")", 1)[1].split()
        ticks[name] = int(facts[11]) + int(facts[12])  # in user and system mode, up to then
    at_work = [one for one in ticks.values() if one > 0.05 * sum(ticks.values())]
    assert len(at_work) <= 3  # the network, the one that decodes beside it, and the one that loads and writes
