"""`workflows/thesis/run.py`: one command from NuCLS to the comparison, and again without doing anything twice."""

import dataclasses
import importlib.util
import json
from pathlib import Path

import pytest
from nucls_fields import write_set
from training_data import THESIS_TOML

from wsiseg.models.bundle import load_bundle
from wsiseg.train.config import TrainConfig

ROOT = Path(__file__).resolve().parent.parent
SCRIPT = ROOT / "workflows/thesis/run.py"


@pytest.fixture
def workflow():
    spec = importlib.util.spec_from_file_location("thesis_run", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def tiny_workflow(workflow, tmp_path, monkeypatch):
    """The workflow with two tiny networks that learn for two epochs of one step."""
    path = tmp_path / "tiny.toml"
    path.write_text(THESIS_TOML.replace('"discs"', '"nucls"'))
    config = TrainConfig.from_toml(path)
    schedule = dataclasses.replace(config.schedule, steps_per_epoch=1, epochs=2)

    def recipe(name, *_, **__):
        model = dataclasses.replace(config.model, name=name, mpp=0.2)
        return dataclasses.replace(config, model=model, schedule=schedule)

    monkeypatch.setattr(workflow, "NETWORKS", ("first", "second"))
    monkeypatch.setattr(workflow, "recipe", recipe)
    monkeypatch.setattr("wsiseg.train.compare.comparison.tiles_per_second", lambda *_: 7.5)
    return workflow


def test_a_folder_of_nucls_becomes_the_comparison(tiny_workflow, tmp_path, capsys):
    source, out = tmp_path / "published", tmp_path / "out"
    write_set(source, patients=("A001", "A002", "A003", "A004", "A005"))
    tiny_workflow.main([str(source), str(out), "--device", "cpu"])
    assert capsys.readouterr().out.strip() == str(out / "comparison/comparison.html")
    record = json.loads((out / "comparison/comparison.json").read_bytes())
    assert [model["name"] for model in record["models"]] == ["first", "second"]
    bundle = load_bundle(out / "second/bundle")
    assert bundle.spec.metrics["nucls val"] == record["models"][1]["evaluation"]
    assert record["models"][1]["bundle_sha256"] == bundle.sha256
    card = (bundle.folder / "README.md").read_text("utf-8")
    assert "| nucls | val |" in card
    assert "](failures.jpg)" in card
    assert (out / "comparison/panels.png").exists()


def test_again_it_does_nothing_twice_and_ends_alike(tiny_workflow, tmp_path, capsys, monkeypatch):
    source, out = tmp_path / "published", tmp_path / "out"
    write_set(source)
    arguments = [str(source), str(out), "--device", "cpu"]
    with monkeypatch.context() as broken:
        broken.setattr(tiny_workflow, "describe", _interrupt)
        with pytest.raises(KeyboardInterrupt):
            tiny_workflow.main(arguments)
    prepared, trained = out / "nucls/index.csv", out / "first/checkpoint.safetensors"
    before = prepared.stat().st_mtime_ns, trained.stat().st_mtime_ns
    assert not (out / "second").exists()
    tiny_workflow.main(arguments)
    told = capsys.readouterr().err
    assert (prepared.stat().st_mtime_ns, trained.stat().st_mtime_ns) == before
    assert told.count("preparing") == 1
    page = (out / "comparison/comparison.html").read_bytes()
    tiny_workflow.main(arguments)
    assert (out / "comparison/comparison.html").read_bytes() == page


def _interrupt(*_):
    raise KeyboardInterrupt


def test_a_refusal_is_one_line_with_its_status(workflow, tmp_path, capsys):
    with pytest.raises(SystemExit) as ending:
        workflow.main([str(tmp_path / "absent"), str(tmp_path / "out")])
    assert ending.value.code == 2
    assert capsys.readouterr().err.splitlines()[-1].startswith("error[E-DATA]")


def test_the_recipe_is_the_thesis_unless_asked_otherwise(workflow):
    config = workflow.recipe("resnet34", "imagenet", quick=False)
    assert config == TrainConfig.from_toml(SCRIPT.parent / "resnet34.toml")
    assert workflow.recipe("resnet34", "none", quick=False).model.encoder_weights == ""
    own = workflow.recipe("inceptionv3", "weights", quick=False).model.encoder_weights
    assert Path(own) == Path("weights").resolve() / "inceptionv3.safetensors"
    quick = workflow.recipe("resnet34", "imagenet", quick=True).schedule
    assert (quick.steps, quick.batch) == (4, 2)
    assert dataclasses.replace(quick, epochs=80, steps_per_epoch=196, batch=8) == config.schedule


def test_there_is_a_recipe_for_each_network(workflow):
    names = {path.stem for path in SCRIPT.parent.glob("*.toml")}
    assert set(workflow.NETWORKS) == names


@pytest.mark.slow
def test_the_21_real_fields_go_end_to_end(workflow, shared, tmp_path):
    source = shared / "data/nucls"
    if not source.is_dir():
        pytest.skip("NuCLS is not beside the repository")
    workflow.main([str(source), str(tmp_path), "--quick", "--encoder-weights", "none", "--device", "cpu"])
    text = (tmp_path / "comparison/comparison.md").read_text("utf-8")
    for row in ("inceptionv3", "efficientnet-b2", "resnet34"):
        assert f"| {row} | random weights | " in text
    for row in ("Inception-V3", "EfficientNet-B2", "ResNet-34"):
        assert f"| *{row} in the thesis* | *ImageNet weights* | " in text
