"""`wsiseg prepare nucls`: what it prints, where, and with which exit status."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from nucls_fields import name_of, write_field, write_set

from wsiseg.cli import _status


@pytest.fixture
def source(tmp_path):
    write_set(tmp_path / "nucls")
    return tmp_path / "nucls"


def test_it_shows_counts_what_was_left_out_and_what_comes_next(source, tmp_path, capsys):
    broken = name_of("A009")
    write_field(source, broken)
    (source / "rgb" / f"{broken}.png").write_bytes(b"garbage")
    assert _status(["prepare", "nucls", str(source), str(tmp_path / "out")]) == 0
    printed = capsys.readouterr()
    lines = printed.out.splitlines()
    assert lines[0] == "strict: 6 fields of 3 patients, 24 nuclei: 12 outlines (50%), 12 boxes (50%)"
    assert "lymphocyte        0    6    6" in lines
    assert f"left out: rgb/{broken}.png: not a PNG image" in lines
    assert lines[-1] == f"{tmp_path / 'out'}: index.csv, nuclei.csv, summary.md, summary.png"
    assert f"next: wsiseg evaluate --data {tmp_path / 'out'} --split test" in printed.err


def test_a_second_time_it_says_that_it_replaced(source, tmp_path, capsys):
    for _ in range(2):
        assert _status(["prepare", "nucls", str(source), str(tmp_path / "out"), "--mode", "thesis"]) == 0
    printed = capsys.readouterr().out.splitlines()
    assert printed[-1].endswith("(replaced)")
    assert any("takes code 0, outside the field, for nucleus" in line for line in printed)
    assert any("patients are in two splits" in line for line in printed)


def test_json_is_the_summary(source, tmp_path, capsys):
    assert _status(["prepare", "nucls", str(source), str(tmp_path / "out"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == json.loads((tmp_path / "out" / "summary.json").read_text())


def test_the_grouping_of_classes_can_be_chosen(source, tmp_path, capsys):
    command = ["prepare", "nucls", str(source), str(tmp_path / "out"), "--classes", "main"]
    assert _status([*command, "--mode", "thesis"]) == 2
    assert "error[E-USAGE]: --mode thesis does not tell classes apart" in capsys.readouterr().err
    assert _status([*command, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["grouping"] == "main"


def test_many_files_left_out_are_counted(source, tmp_path, capsys):
    for number in range(25):
        (source / "rgb" / f"{name_of('A009', number)}.png").write_bytes(b"")
    assert _status(["prepare", "nucls", str(source), str(tmp_path / "out")]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert sum(line.startswith("left out: rgb/") for line in lines) == 20
    assert "left out: 5 more files, see summary.md" in lines


def test_refusals_are_one_line_and_their_status(source, tmp_path, capsys):
    assert _status(["prepare", "nucls", str(tmp_path), str(tmp_path / "out")]) == 2
    assert "error[E-DATA]: no folder 'rgb' there" in capsys.readouterr().err
    assert _status(["prepare", "nucls", str(source), str(source.parent)]) == 5
    assert "error[E-OUT-FOREIGN]" in capsys.readouterr().err
    assert _status(["prepare"]) == 2
    assert "Missing command" in capsys.readouterr().err


def test_help_loads_neither_numpy_nor_matplotlib():
    code = (
        "import sys; from wsiseg.cli import _status; _status(['prepare', 'nucls', '--help']);"
        "print([name for name in ('torch', 'matplotlib', 'numpy', 'cv2') if name in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip().endswith("[]")
