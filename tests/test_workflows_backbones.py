"""The comparison of encoders: entrants differ in what is compared and in nothing else."""

from __future__ import annotations

import importlib.util
import json
import sys

import pytest
from conftest import ROOT


@pytest.fixture(scope="module")
def recipe():
    spec = importlib.util.spec_from_file_location("backbones", ROOT / "workflows" / "backbones" / "run.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules["backbones"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    yield module
    del sys.modules["backbones"]


def test_entrants_differ_in_encoder_resolution_and_seed_alone(recipe, tmp_path):
    common = recipe.Entrant("resnet34", 0.25, 0).config(tmp_path).as_dict()
    for encoder in recipe.STARTS:
        other = recipe.Entrant(encoder, 0.5, 2).config(tmp_path).as_dict()
        changed = {f"{part}.{key}" for part in ("model", "schedule", "augmentation")
                   for key in common[part] if common[part][key] != other[part][key]}  # fmt: skip
        assert {"model.mpp", "schedule.seed"} <= changed
        assert changed <= {"model.name", "model.encoder", "model.mean", "model.std", "model.mpp", "schedule.seed"}
        assert common["sources"] == other["sources"]


def test_an_encoder_without_a_file_starts_at_random(recipe, tmp_path):
    entrant = recipe.Entrant("resnet34", 0.25, 0)
    assert entrant.config(tmp_path).model.encoder_weights == ""
    path = tmp_path / recipe.STARTS["resnet34"]
    path.parent.mkdir()
    path.touch()
    assert entrant.config(tmp_path).model.encoder_weights == recipe.STARTS["resnet34"]


@pytest.mark.slow
def test_table_and_plot_of_real_trainings(recipe, tmp_path, monkeypatch):
    """Two tiny trainings of one encoder become one row with their mean and half their range."""
    import dataclasses

    from training_data import write_fields

    data = tmp_path / "data"
    for source in recipe.SOURCES:
        write_fields(data / source)
    original = recipe.Entrant.config

    def tiny(entrant, folder):
        config = original(entrant, folder)
        schedule = dataclasses.replace(config.schedule, steps_per_epoch=2, batch=2, crop_px=64)
        return dataclasses.replace(config, schedule=schedule)

    monkeypatch.setattr(recipe.Entrant, "config", tiny)
    monkeypatch.setattr(recipe, "RESOLUTIONS", (0.5,))
    command = ["run.py", str(data), str(tmp_path / "out"), "--seeds", "2", "--encoders", "mobilenet_v2"]
    monkeypatch.setattr(sys, "argv", command)
    recipe.main()
    dice = [
        json.loads(path.read_text())["tnbc"]["pooled"]["dice"] for path in (tmp_path / "out").glob("*/scores.json")
    ]
    row = (tmp_path / "out" / "table.md").read_text().splitlines()[2]
    assert [cell.strip() for cell in row.split("|")[1:6]] == [
        "0.5", "mobilenet_v2", "random", "2", f"{sum(dice) / 2:.3f} ± {abs(dice[0] - dice[1]) / 2:.3f}",
    ]  # fmt: skip
    assert (tmp_path / "out" / "speed.png").read_bytes().startswith(b"\x89PNG")
