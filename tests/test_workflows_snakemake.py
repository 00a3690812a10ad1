"""The recipe of workflows/snakemake: a cohort on this machine, and through its profile on a real SLURM."""

from __future__ import annotations

import csv
import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

import one_node_slurm
import pytest
import yaml
from conftest import ROOT
from synthetic import paint_tissue, scattered, write_slide
from toy import write_bundle

RECIPE = ROOT / "workflows" / "snakemake"
SIZE = (400, 300)


def needed(module):
    return pytest.mark.skipif(importlib.util.find_spec(module) is None, reason=f"{module} is not installed")


@pytest.fixture
def recipe(tmp_path):
    """A copy of the recipe whose list names a slide that can be run and one that states no pixel size."""
    folder = tmp_path / "recipe"
    shutil.copytree(RECIPE, folder)
    write_slide(folder / "a slide.svs", paint_tissue(SIZE, scattered(SIZE)).rgb)
    write_slide(folder / "no mpp.svs", paint_tissue(SIZE).rgb, mpp=None, power=None)
    (folder / "slides.csv").write_text("slide,id,mpp\na slide.svs,first,\nno mpp.svs,second,\n")
    bundle = write_bundle(tmp_path / "toy")
    said = yaml.safe_load((folder / "config.yaml").read_text())
    said["options"] = f"--model {bundle} --tissue none --device cpu"
    (folder / "config.yaml").write_text(yaml.safe_dump(said))
    return folder


def snakemake(folder, *arguments, **environment):
    env = {name: value for name, value in os.environ.items() if not name.startswith(("SLURM_", "SBATCH_"))}
    env |= {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "XDG_CACHE_HOME": str(folder / "cache")}
    command = [sys.executable, "-m", "snakemake", *arguments]
    return subprocess.run(
        command, cwd=folder, env={**env, **environment}, capture_output=True, text=True, check=False
    )


def states(folder):
    rows = csv.DictReader((folder / "cohort" / "cohort.csv").read_text().splitlines())
    return {row["id"]: (row["state"], row["code"]) for row in rows}


def test_profile_and_config_are_yaml():
    profile = yaml.safe_load((RECIPE / "profiles" / "slurm" / "config.yaml").read_text())
    assert profile["executor"] == "slurm"
    assert set(yaml.safe_load((RECIPE / "config.yaml").read_text())) == {"slides", "out", "options", "container"}


@pytest.mark.slow
@needed("snakemake")
def test_a_refused_slide_costs_no_other(recipe):
    first = snakemake(recipe, "--cores", "1")
    assert first.returncode == 1, first.stderr  # the table's job: slides failed
    assert states(recipe) == {"first": ("complete", ""), "second": ("failed", "E-MPP-MISSING")}
    (recipe / "slides.csv").write_text("slide,id,mpp\na slide.svs,first,\nno mpp.svs,second,0.25\n")
    planned = snakemake(recipe, "--cores", "1", "--dry-run").stdout
    assert "wildcards: id=second" in planned
    assert "wildcards: id=first" not in planned  # what is complete is not done again


@pytest.mark.slow
@needed("snakemake_executor_plugin_slurm")
def test_profile_runs_the_cohort_on_slurm(recipe):
    reason = one_node_slurm.why_not()
    if reason:
        pytest.skip(f"no SLURM can be started here; {reason}")
    here = ["--profile", "profiles/slurm", "--set-threads", "slide=1", "table=1", "--latency-wait", "5"]
    here += ["--slurm-status-command", "squeue", "--slurm-init-seconds-before-status-checks", "2"]
    with one_node_slurm.OneNodeSlurm() as cluster:
        conf = cluster.env["SLURM_CONF"]
        srun = recipe / "bin" / "srun"  # the plugin drops all variables of SLURM's; sites have theirs in /etc
        srun.parent.mkdir()
        srun.write_text(f'#!/bin/sh\nSLURM_CONF={conf} exec {shutil.which("srun")} "$@"\n')
        srun.chmod(0o755)
        path = f"{srun.parent}:{Path(sys.executable).parent}:{os.environ['PATH']}"
        ended = snakemake(recipe, *here, SLURM_CONF=conf, PATH=path)
    assert ended.returncode == 1, ended.stderr
    assert "submitted with SLURM jobid" in ended.stderr
    assert states(recipe) == {"first": ("complete", ""), "second": ("failed", "E-MPP-MISSING")}
