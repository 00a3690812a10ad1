"""`wsiseg compare` from the command line."""

from tiny_models import describe_model, training_of, write_model

from wsiseg.cli import _status


def test_compare_prints_its_page(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("wsiseg.train.compare.comparison.tiles_per_second", lambda *_: 7.5)
    write_model(tmp_path / "out/bundle", name="trained", training=training_of([0.6]))
    out = tmp_path / "cmp"
    assert _status(["compare", str(tmp_path / "out"), "-o", str(out), "--device", "cpu"]) == 0
    printed = capsys.readouterr()
    assert printed.out.strip() == str(out / "comparison.html")
    assert "measuring trained" in printed.err
    assert "trained" in (out / "comparison.md").read_text("utf-8")


def test_an_unfinished_training_is_one_line_and_status_4(tmp_path, capsys):
    assert _status(["compare", str(tmp_path), "-o", str(tmp_path / "cmp")]) == 4
    assert capsys.readouterr().err.startswith("wsiseg: error[E-BUNDLE-MISSING]")


def test_an_unknown_device_and_no_runs_are_status_2(tmp_path, capsys):
    folder = describe_model(tmp_path / "model")
    assert _status(["compare", str(folder), "-o", str(tmp_path / "cmp"), "--device", "abacus"]) == 2
    assert _status(["compare", "-o", str(tmp_path / "cmp")]) == 2
    assert "error[E-USAGE]" in capsys.readouterr().err
