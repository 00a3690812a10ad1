"""The recipe of workflows/nextflow: parsed, its commands run as Nextflow runs them, and run where there is one."""

from __future__ import annotations

import csv
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from conftest import ROOT
from synthetic import paint_tissue, scattered, write_slide
from toy import write_bundle

RECIPE = ROOT / "workflows" / "nextflow"
MODULE = RECIPE / "modules" / "wsiseg" / "run"
RENDER = ROOT / "tests" / "nextflow_process.groovy"
SIZE = (400, 300)


@pytest.fixture(scope="module")
def environment():
    """This Python's programs first, and the Java that is there."""
    java = shutil.which("java")
    home = {"JAVA_HOME": str(Path(java).resolve().parents[1])} if java else {}
    return {**home, **os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}


# -- what is written there ----------------------------------------------------------------------------------


def test_meta_tells_what_the_module_takes_and_gives():
    text = (MODULE / "main.nf").read_text()
    meta = yaml.safe_load((MODULE / "meta.yml").read_text())
    taken = text[text.index("input:") : text.index("output:")]
    assert [next(iter(one)) for one in meta["input"][0]] == re.findall(r"(?:val|path)\((\w+)\)", taken)
    assert list(meta["output"]) == re.findall(r"emit: (\w+)", text)


def test_parsed_by_a_linter():
    module = pytest.importorskip("reftrace", reason="reftrace, which parses Nextflow, is not installed").Module
    workflow = module.from_file(str(RECIPE / "main.nf"))
    assert [(one.from_module, one.items[0].name) for one in workflow.includes] == [
        ("./modules/wsiseg/run/main", "WSISEG_RUN")
    ]
    (process,) = module.from_file(str(MODULE / "main.nf")).processes
    assert process.name == "WSISEG_RUN"
    assert process.first_container is not None
    assert not process.unknowns  # a directive that Nextflow does not have


# -- what its commands do -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def rendered(environment, tmp_path_factory):
    """What the module's two commands are for one slide, which files it promises, and what follows a failure."""
    if shutil.which("groovy") is None or shutil.which("java") is None:
        pytest.skip("not installed: groovy and a Java (Debian's groovy and default-jre-headless)")
    bundle = write_bundle(tmp_path_factory.mktemp("bundle") / "toy")
    given = {
        "task": {
            "cpus": 1,
            "process": "WSISEG_RUN",
            "ext": {"args": f"--model {bundle} --tissue none --device cpu"},
        },
        "meta": {"id": "first", "mpp": "0.25"},
        "slide": "a\\ slide.svs",  # Nextflow escapes what it puts into a command
        "beside": [],
        "roi": [],
    }
    command = ["groovy", str(RENDER), str(MODULE / "main.nf"), str(RECIPE / "nextflow.config"), json.dumps(given)]
    found = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stderr
    return json.loads(found.stdout) | {"bundle": bundle}


def test_only_what_can_end_better_is_tried_again(rendered):
    refused = {"2": "finish", "3": "ignore", "4": "finish", "5": "finish"}
    assert rendered["strategy"] == {"1": "retry", **refused, "6": "retry", "137": "retry", "143": "retry"}


@pytest.mark.slow
@pytest.mark.parametrize("section", ["stub", "script"])
def test_commands_make_what_the_module_promises(section, rendered, environment, tmp_path):
    write_slide(tmp_path / "a slide.svs", paint_tissue(SIZE, scattered(SIZE)).rgb, mpp=None, power=None)
    bash = ["bash", "-euo", "pipefail", "-c", rendered[section]["command"]]  # as Nextflow calls it
    found = subprocess.run(bash, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stderr
    for pattern in rendered[section]["promised"]:
        assert list(tmp_path.glob(pattern)), pattern
    versions = yaml.safe_load((tmp_path / "versions.yml").read_text())
    assert re.fullmatch(r"\d+\.\d+\.\d+", versions["WSISEG_RUN"]["wsiseg"])
    if section == "script":
        assert_table_takes(rendered["bundle"], environment, tmp_path)


def assert_table_takes(bundle, environment, folder):
    """What the tasks publish is complete for `wsiseg cohort` over the same list."""
    published = folder / "cohort" / "first"
    published.parent.mkdir()
    (folder / "first").rename(published)
    done = (published / "COMPLETE.json").stat().st_mtime_ns
    (folder / "slides.csv").write_text("id,slide,mpp\nfirst,a slide.svs,0.25\n")
    options = ["--model", str(bundle), "--tissue", "none", "--device", "cpu"]
    command = ["wsiseg", "cohort", "slides.csv", "--out", "cohort", *options]
    subprocess.run(command, cwd=folder, env=environment, capture_output=True, check=True)
    (row,) = csv.DictReader((folder / "cohort" / "cohort.csv").read_text().splitlines())
    assert (row["id"], row["state"]) == ("first", "complete")
    assert (published / "COMPLETE.json").stat().st_mtime_ns == done


@pytest.mark.slow
def test_stub_run(environment, tmp_path):
    if shutil.which("nextflow") is None:
        pytest.skip("nextflow is not on PATH; its PyPI package fetches the program itself from elsewhere")
    write_slide(tmp_path / "one.svs", paint_tissue(SIZE).rgb)
    (tmp_path / "slides.csv").write_text("id,slide,mpp,roi\nfirst,one.svs,,\nsecond,missing.svs,0.25,\n")
    command = ["nextflow", "run", str(RECIPE), "-stub", "--input", "slides.csv", "--outdir", "out"]
    subprocess.run(command, cwd=tmp_path, env=environment, check=True)
    assert (tmp_path / "out" / "first" / "COMPLETE.json").exists()
