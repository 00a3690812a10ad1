"""The pages of docs/: commands run or at least parse; the site builds without a warning and needs no network."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

import click
import pytest
import training_data
from conftest import ROOT
from synthetic import paint_tissue, scattered, write_slide

import wsiseg
from wsiseg.cli import COMMANDS, _status
from wsiseg.cohort.ids import automatic_id

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
TUTORIAL = ("first-slide", "install", "performance", "qupath", "napari", "training", "formats", "index", "README")
"""Pages whose commands run as they stand, in this order: later ones use what earlier ones made."""

NOT_RUN = {
    "sample": "fetches from the network; the home has a slide of that name",
    "view": "serves until it is stopped: test_view_server.py",
    "cohort": "starts workers, for half a minute of a processor: test_cohort_acceptance.py",
    "compare": "takes as long as all others together: test_cli_compare.py",
    "prepare": "takes NuCLS as published: test_cli_prepare.py",
}
"""Commands whose options are checked only, and why."""

PLACEHOLDERS = {"DIR": "slide-run", "FORMAT": "csv", "FILE": "nuclei.csv", "CONFIG.toml": "config.toml"}
"""What a page writes for a word that the reader fills in."""

OTHERS = {
    "python": "of a virtual environment, or a script whose file is looked for",
    ".": "activates an environment",
    "pip": "installs",
    "mamba": "installs",
    "git": "clones",
    "cd": "changes the folder",
    "make": "its target is looked for",
    "napari": "a program with windows",
    "torchrun": "test_train_distributed.py",
    "ssh": "needs another machine",
    "dask": "test_workflows_dask.py",
    "sbatch": "test_workflows_slurm.py",
    "workflows/slurm/submit.sh": "test_workflows_slurm.py",
    "kubectl": "test_workflows_dask.py",
    "snakemake": "test_workflows_snakemake.py",
    "nextflow": "test_workflows_nextflow.py",
    "docker": "test_workflows_containers.py",
    "apptainer": "test_workflows_containers.py",
}
"""Programs other than wsiseg that pages call, and why they are not run here or where they are."""


@dataclass(frozen=True)
class Shown:
    """A command as a page shows it."""

    page: str
    words: tuple[str, ...]

    def __str__(self):
        return f"{self.page}: {' '.join(self.words)}"


def shell_lines(page):
    """The lines of a page's blocks of shell code: those without a language, or with sh."""
    text = page.read_text(encoding="utf-8")
    for language, block in re.findall(r"^```(\w*)\n(.*?)^```$", text, flags=re.M | re.S):
        if language in ("", "sh"):
            yield from filter(None, block.splitlines())


def shown():
    """Every command in the blocks of all pages, without the settings of its environment."""
    for page in PAGES:
        for line in shell_lines(page):
            words = shlex.split(line, comments=True)
            while words and re.fullmatch("[A-Z_]+=.*", words[0]):
                words.pop(0)
            for word in [place for place, one in enumerate(words) if one == "&&"][::-1]:
                yield Shown(page.stem, tuple(words[word + 1 :]))
                del words[word:]
            if words:
                yield Shown(page.stem, tuple(words))


ALL = list(shown())
OURS = [one for one in ALL if one.words[0] == "wsiseg"]


def command_of(name):
    module, function = COMMANDS[name].split(":")
    return getattr(import_module(module), function)


def options_of(command, words=()):
    """The options of a command, or of the command below it that the words name."""
    if isinstance(command, click.Group):
        below = [command.commands[word] for word in words if word in command.commands] or command.commands.values()
        return set().union(*(options_of(one) for one in below))
    return {name for one in command.params for name in (*one.opts, *one.secondary_opts)} | {"--help", "-h"}


def test_pages_show_commands():
    assert len(OURS) > 30
    assert {one.page for one in OURS} >= set(TUTORIAL)


@pytest.mark.parametrize("one", dict.fromkeys(OURS), ids=str)
def test_a_command_is_one_that_wsiseg_takes(one):
    """Arguments are complete, options exist and have values of the right kind."""
    _, name, *words = (PLACEHOLDERS.get(word, word) for word in one.words)
    command = command_of(name)
    while isinstance(command, click.Group):
        command = command.commands[words.pop(0)]
    command.make_context(name, words).close()  # raises a UsageError


def test_options_in_running_text_exist():
    found = 0
    for page in PAGES:
        for text in re.findall(r"`wsiseg ([^`\n]+)`", page.read_text(encoding="utf-8")):
            name, *words = text.split()
            if name.startswith("-"):
                continue
            found += 1
            named = {word.split("=")[0] for word in words if word.startswith("-")}
            assert named <= options_of(command_of(name), words), f"{page.name}: wsiseg {text}"
    assert found > 30


def test_other_programs_are_known_and_what_they_run_exists():
    others = [one for one in ALL if one.words[0] != "wsiseg"]
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), flags=re.M)
    for one in others:
        assert one.words[0] in OTHERS, one
        for word in one.words:
            if re.match(r"(benchmarks|workflows)/", word):
                assert (ROOT / word).exists(), one
        if one.words[0] == "make":
            assert {word for word in one.words[1:] if "=" not in word} <= set(targets), one


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """What somebody has who reads the pages: slides, a region, labelled fields and a config."""
    folder = tmp_path_factory.mktemp("home")
    rgb = paint_tissue((300, 280), scattered((300, 280))).rgb
    for name in ("slide.svs", "demo/CMU-1-Small-Region.svs"):
        (folder / name).parent.mkdir(exist_ok=True)
        write_slide(folder / name, rgb)
    ring = [[10, 10], [200, 10], [200, 200], [10, 200], [10, 10]]
    region = {"type": "Feature", "geometry": {"type": "Polygon", "coordinates": [ring]}, "properties": {}}
    (folder / "regions.geojson").write_text(json.dumps({"type": "FeatureCollection", "features": [region]}))
    training_data.write_fields(folder / "data" / "mine")
    (folder / "config.toml").write_text(training_data.TOML.replace('"discs"', '"mine"'))
    return folder


@pytest.mark.slow
def test_the_commands_of_the_guides_run_one_after_the_other(home, monkeypatch, capsys):
    monkeypatch.chdir(home)
    done = set()
    for page in TUTORIAL:
        for one in OURS:
            if one.page == page and one.words[1] not in NOT_RUN and one.words not in done:
                done.add(one.words)
                words = [PLACEHOLDERS.get(word, word) for word in one.words[1:]]
                assert _status(words) == 0, f"{one}\n{capsys.readouterr()}"
    assert len(done) >= 18
    assert wsiseg.open("demo/CMU-1-run").summary["model"]["name"] == "nuclei-025"


STAND_INS = """
class GeneralTools { static getNameWithoutExtension(String name) { name.replaceFirst(/[.][^.]*$/, "") } }
class Entry { def getImageName() { "a b.svs" } }
def getProjectEntry() { new Entry() }
def clearDetections() { println "cleared" }
def importObjectsFromFile(String path) { println path }
"""
"""What QuPath has for scripts."""


def test_the_script_for_qupath_finds_the_run_of_a_slide(tmp_path):
    java = shutil.which("java")
    if shutil.which("groovy") is None or java is None:
        pytest.skip("not installed: groovy and a Java (Debian's groovy and default-jre-headless)")
    for name in ("a b", "a b c", "a"):
        run = tmp_path / automatic_id(name, "0123456789abcdef")
        run.mkdir()
        (run / "nuclei.geojson.gz").touch()
        (run / "nuclei.parquet").touch()
    page = (ROOT / "docs" / "qupath.md").read_text(encoding="utf-8")
    script = re.search(r"^```groovy\n(.*?)^```$", page, flags=re.M | re.S)[1]
    (tmp_path / "script.groovy").write_text(STAND_INS + script.replace("/path/to/cohort", str(tmp_path)))
    command, home = ["groovy", tmp_path / "script.groovy"], Path(java).resolve().parents[1]
    environment = {**os.environ, "JAVA_HOME": str(home)}
    ran = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.split() == ["cleared", f"{tmp_path}/a_b-01234567/nuclei.geojson.gz"]


def test_the_site_builds_without_a_warning_and_needs_no_network(tmp_path):
    pytest.importorskip("mkdocs", reason="pip install 'wsiseg[docs]', as `make docs` does")
    command = [sys.executable, "-m", "mkdocs", "build", "--quiet", "--strict", "--site-dir", str(tmp_path)]
    built = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr
    pages = {page.stem for page in tmp_path.glob("*.html")}
    assert pages >= {page.stem for page in (ROOT / "docs").glob("*.md")}
    for page in tmp_path.glob("*.html"):
        loaded = re.findall(r"<(?:script|img|link|iframe)[^>]+(?:src|href)=\"([^\"]+)", page.read_text("utf-8"))
        assert [one for one in loaded if one.startswith(("http", "//"))] == [], page.name
