"""Bundles: what is read is what was written, and whatever is odd is refused by name."""

import dataclasses
import hashlib
import json
import subprocess
import sys

import pytest

from wsiseg.errors import BundleError
from wsiseg.models.bundle import (
    BUNDLES,
    DEFAULT_BUNDLE,
    ModelSpec,
    bundle_names,
    list_bundles,
    load_bundle,
)

GOOD = {
    "spec_version": 1,
    "name": "tiny",
    "version": "0.1.0",
    "architecture": "unet",
    "encoder": "mobilenet_v2",
    "decoder_channels": [16, 16, 8, 8, 8],
    "head": "nuclei",
    "head_settings": {"probability": 0.4},
    "classes": [{"value": 1, "name": "nucleus", "color": [0, 200, 80]}],
    "mpp": 0.5,
    "tile_px": 256,
    "halo_px": 32,
    "mean": [0.5, 0.5, 0.5],
    "std": [0.5, 0.5, 0.5],
    "licence": "Apache-2.0",
    "weights_sha256": "0" * 64,
    "training": {"data": ["a"]},
    "metrics": {},
}


def refused(data, match):
    with pytest.raises(BundleError, match=match) as caught:
        ModelSpec.from_json(data)
    assert caught.value.code == "E-BUNDLE-SPEC"
    assert caught.value.exit_status == 4


def test_a_spec_survives_the_round_trip():
    spec = ModelSpec.from_json(json.dumps(GOOD).encode())
    assert ModelSpec.from_json(spec.to_json()) == spec
    assert spec.classes[0].color == (0, 200, 80)
    assert spec.decoder_channels == (16, 16, 8, 8, 8)


@pytest.mark.parametrize("name", sorted(GOOD))
def test_each_missing_key_is_named(name):
    refused(json.dumps({k: v for k, v in GOOD.items() if k != name}).encode(), f"{name} is missing")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("spec_version", 2),
        ("spec_version", True),
        ("spec_version", "1"),
        ("name", ""),
        ("name", "../evil"),
        ("name", "a" * 65),
        ("name", "line\nbreak"),
        ("version", "1 0"),
        ("architecture", "os.system"),
        ("architecture", ["unet"]),
        ("encoder", "tu/../x"),
        ("encoder", 3),
        ("decoder_channels", [16, 16, 8, 8]),
        ("decoder_channels", [16, 16, 8, 8, 0]),
        ("decoder_channels", [16, 16, 8, 8, 1e9]),
        ("decoder_channels", {"0": 16}),
        ("head", "nothing"),
        ("head_settings", {"probability": "0.4"}),
        ("head_settings", [0.4]),
        ("classes", []),
        ("classes", [{"value": 0, "name": "background", "color": [0, 0, 0]}]),
        ("classes", [{"value": 1, "name": "a", "color": [0, 0, 256]}]),
        ("classes", [{"value": 1, "name": "a", "color": [0, 0, 0], "more": 1}]),
        ("classes", [{"value": 1, "name": n, "color": [0, 0, 0]} for n in "ab"]),
        ("mpp", 0),
        ("mpp", -0.5),
        ("mpp", 250),
        ("mpp", True),
        ("tile_px", 250),
        ("tile_px", 1 << 20),
        ("halo_px", -32),
        ("halo_px", 5),
        ("mean", [0.5, 0.5]),
        ("mean", [127, 127, 127]),
        ("std", [0, 0.5, 0.5]),
        ("licence", ""),
        ("weights_sha256", "0" * 63),
        ("weights_sha256", "G" * 64),
        ("training", []),
        ("metrics", "good"),
    ],
)
def test_values_that_cannot_be_are_refused(name, value):
    refused(json.dumps(GOOD | {name: value}).encode(), name)


@pytest.mark.parametrize(
    ("data", "match"),
    [
        (b"", "Expecting value"),
        (b"[]", "not a JSON object"),
        (b"\xff\xfe\x00", "decode"),
        (b'{"name": "a", "name": "b"}', "twice: name"),
        (json.dumps(GOOD | {"surprise": 1}).encode(), "unknown key surprise"),
        (json.dumps(GOOD | {"mpp": float("nan")}).encode(), "NaN is not a number"),
        (json.dumps(GOOD | {"mpp": float("inf")}).encode(), "Infinity is not a number"),
        (json.dumps(GOOD).replace('"mpp": 0.5', '"mpp": 1e999').encode(), "1e999 is not finite"),
        (json.dumps(GOOD | {"head_settings": {"unknown": 1}}).encode(), "unknown head setting: unknown"),
        (json.dumps(GOOD | {"head_settings": {"probability": 7}}).encode(), "probability is 7"),
        (b"[" * 100_000, "recursion"),
        (b" " * (1 << 20) + b"{}", "larger than"),
    ],
)
def test_what_is_not_a_spec_is_refused(data, match):
    refused(data, match)


def test_a_bundle_is_opened_by_its_folder_and_known_by_its_hash(tmp_path):
    folder = tmp_path / "ein Bündel"
    folder.mkdir()
    (folder / "model.json").write_text(json.dumps(GOOD), "utf-8")
    bundle = load_bundle(folder)
    assert bundle.sha256 == hashlib.sha256((folder / "model.json").read_bytes()).hexdigest()
    assert bundle.head().name == "nuclei"


@pytest.mark.parametrize("name", ["no-such-bundle", "", "../nuclei-025", "/nowhere"])
def test_no_bundle_there(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(BundleError, match="bundles here") as caught:
        load_bundle(name)
    assert caught.value.code == "E-BUNDLE-MISSING"


def test_weights_must_be_those_that_the_spec_names(tmp_path):
    spec = ModelSpec.from_json(json.dumps(GOOD).encode())
    good = dataclasses.replace(spec, weights_sha256=hashlib.sha256(b"weights").hexdigest())
    (tmp_path / "model.json").write_bytes(good.to_json())
    bundle = load_bundle(tmp_path)
    with pytest.raises(BundleError, match=r"E-BUNDLE-WEIGHTS.*No such file"):
        bundle.read_weights()
    (tmp_path / "weights.safetensors").write_bytes(b"weightz")
    with pytest.raises(BundleError, match=r"E-BUNDLE-WEIGHTS.*not those that model\.json names"):
        bundle.read_weights()
    (tmp_path / "weights.safetensors").write_bytes(b"weights")
    assert bundle.read_weights() == b"weights"


def test_the_default_bundle_ships_with_the_package():
    assert DEFAULT_BUNDLE in bundle_names()
    for bundle in list_bundles():
        assert bundle.folder == BUNDLES / bundle.spec.name
        assert bundle.read_weights()
        assert (bundle.folder / "README.md").is_file()
        assert sum(file.stat().st_size for file in bundle.folder.iterdir()) < 25e6


def test_bundles_and_decoding_load_no_torch():
    code = (
        "import sys, numpy as np; from wsiseg.models.bundle import load_bundle, DEFAULT_BUNDLE;"
        "head = load_bundle(DEFAULT_BUNDLE).head(); head.decode(np.zeros((len(head.maps), 9, 9), np.uint8));"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
