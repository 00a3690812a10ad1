"""Group E: bundles from strangers. Each fault with its code and text, and no code of theirs is ever run."""

from __future__ import annotations

import ast
import json
import os
import pickle
import subprocess
import sys
import time
import zipfile
from importlib import import_module
from pathlib import Path

import pytest
from faults.fuzzing import Target, fuzz
from hypothesis import given, settings
from hypothesis import strategies as st
from test_models_bundle import GOOD

from wsiseg.errors import BundleError
from wsiseg.fsio import sha256_of
from wsiseg.models.bundle import DEFAULT_BUNDLE, ModelSpec, load_bundle
from wsiseg.models.weights import MAX_HEADER_BYTES, read_header

PACKAGE = Path(__file__).resolve().parent.parent / "wsiseg"


def spec_bytes(**changes):
    return json.dumps(GOOD | changes).encode()


def packed(header, body=b""):
    """A safetensors file from a header, a dict or the bytes themselves."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + body


def entry(begin=0, end=8, dtype="F32", shape=(2,)):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": [begin, end]}


def bundle_in(folder, weights=b"", **changes):
    """A bundle whose description names the weights that lie beside it."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "weights.safetensors").write_bytes(weights)
    sha256 = sha256_of(folder / "weights.safetensors")
    (folder / "model.json").write_bytes(spec_bytes(weights_sha256=sha256, **changes))
    return folder


# -- E2: weights.safetensors -------------------------------------------------------------------------------

GOOD_HEADER = {"__metadata__": {"format": "pt"}, "a": entry(), "b": entry(8, 12, "F16")}

BAD_HEADERS = {
    "empty": (b"", "the file ends within its header"),
    "seven bytes": (b"\0" * 7, "the file ends within its header"),
    "a header of 2^62 bytes": ((2**62).to_bytes(8, "little") + b"{}", "the file ends within its header"),
    "a header of 2^64 - 1 bytes": (b"\xff" * 8 + b"{}", "the file ends within its header"),
    "a header one byte too long": (b"\x03" + b"\0" * 7 + b"{}", "the file ends within its header"),
    "a header above the cap": (
        packed(b" " * (MAX_HEADER_BYTES + 1)), f"the header is larger than {MAX_HEADER_BYTES} bytes",
    ),
    "no JSON": (packed(b"\x80\x04."), "'utf-8' codec can't decode byte 0x80 in position 0: invalid start byte"),
    "no object": (packed([]), "not a JSON object"),
    "UTF-16": (packed('{"a":0}'.encode("utf-16")),
               "'utf-8' codec can't decode byte 0xff in position 0: invalid start byte"),
    "one name twice": (packed(b'{"a":{},"a":{}}'), "a key stands twice: a"),
    "one key of a tensor twice": (
        packed(b'{"a":{"dtype":"F32","dtype":"F16","shape":[],"data_offsets":[0,4]}}', b"0000"),
        "a key stands twice: dtype",
    ),
    "half a character": (packed(b'{"\\ud800":{}}'),
                         "'utf-8' codec can't encode character '\\ud800' in position 2: surrogates not allowed"),
    "nested": (packed(b'{"a":' + b"[" * 40 + b"]" * 40 + b"}"), "lists and objects are nested more than 32 deep"),
    "remarks that are no texts": (packed({"__metadata__": {"a": 1}}), "__metadata__ is not texts by name"),
    "remarks that are a list": (packed({"__metadata__": []}), "__metadata__ is not texts by name"),
    "an entry of nothing": (packed({"a": {}}), "the entry of a is not dtype, shape and data_offsets"),
    "an entry of a number": (packed({"a": 3}), "the entry of a is not dtype, shape and data_offsets"),
    "a key too many": (packed({"a": entry() | {"code": "x"}}, b"0" * 8),
                       "the entry of a is not dtype, shape and data_offsets"),
    "an unknown type": (packed({"a": entry(dtype="PICKLE")}, b"0" * 8), "the tensor a has the type PICKLE"),
    "a type that is a list": (packed({"a": entry(dtype=["F32"])}, b"0" * 8), "the tensor a has the type ['F32']"),
    "whole numbers": (packed({"a": entry(dtype="I64")}, b"0" * 8), "the tensor a has the type I64"),
    "double precision": (packed({"a": entry(dtype="F64", shape=(1,))}, b"0" * 8), "the tensor a has the type F64"),
    "a negative side": (packed({"a": entry(shape=(-2,))}, b"0" * 8), "the tensor a has no shape"),
    "a fraction of a side": (packed({"a": entry(shape=(2.0,))}, b"0" * 8), "the tensor a has no shape"),
    "a side that is true": (packed({"a": entry(shape=(True, 2))}, b"0" * 8), "the tensor a has no shape"),
    "nine axes": (packed({"a": entry(shape=(1,) * 8 + (2,))}, b"0" * 8), "the tensor a has no shape"),
    "a shape that is a text": (packed({"a": entry() | {"shape": "22"}}, b"0" * 8), "the tensor a has no shape"),
    "a shape that overflows 64 bits": (packed({"a": entry(shape=(2**62, 2**62))}, b"0" * 8),
                                       "the tensor a has not the size of its shape"),
    "a side beyond 64 bits": (packed({"a": entry(shape=(2**64,))}, b"0" * 8),
                              "18446744073709551616 has more than 64 bits"),
    "a size that is not its shape's": (packed({"a": entry(0, 12)}, b"0" * 12),
                                       "the tensor a has not the size of its shape"),
    "a place of one": (packed({"a": entry() | {"data_offsets": [0]}}, b"0" * 8), "the tensor a has no place"),
    "a negative place": (packed({"a": entry(-8, 0)}, b"0" * 8), "the tensor a has no place"),
    "an end before its beginning": (packed({"a": entry(8, 0)}, b"0" * 8),
                                    "the tensor a has not the size of its shape"),
    "two tensors on one place": (packed({"a": entry(), "b": entry()}, b"0" * 8), "the tensor b overlaps another"),
    "half an overlap": (packed({"a": entry(), "b": entry(4, 12)}, b"0" * 12), "the tensor b overlaps another"),
    "a gap": (packed({"a": entry(), "b": entry(12, 20)}, b"0" * 20), "the tensor b lies behind a gap"),
    "a gap at the beginning": (packed({"a": entry(4, 12)}, b"0" * 12), "the tensor a lies behind a gap"),
    "cut off": (packed({"a": entry()}, b"0" * 7), "the tensors have 8 bytes and the file has 7"),
    "a zip behind the end": (packed({"a": entry()}, b"0" * 8 + b"PK\3\4"),
                             "the tensors have 8 bytes and the file has 12"),
    "a tensor beyond the file": (packed({"a": entry(0, 2**40, shape=(2**38,))}, b"0" * 8),
                                 f"the tensors have {2**40} bytes and the file has 8"),
    "a name of a megabyte": (packed({"a" * 10**6: 0}),
                             f"the entry of {'a' * 77}... is not dtype, shape and data_offsets"),
}  # fmt: skip


def test_a_good_header_is_read():
    found = read_header(packed(GOOD_HEADER, b"0" * 12))
    assert {name: (one.dtype, one.shape) for name, one in found.items()} == {
        "a": ("F32", (2,)),
        "b": ("F16", (2,)),
    }


@pytest.mark.parametrize("fault", BAD_HEADERS)
def test_a_bad_header_is_refused_with_its_reason(fault):
    data, text = BAD_HEADERS[fault]
    with pytest.raises(ValueError) as refused:  # noqa: PT011 - the text is compared
        read_header(data)
    assert str(refused.value) == text


def test_many_equal_names_are_refused_in_no_time():
    """Naming the key that stands twice took the square of their number once."""
    names = b",".join(b'"%d":0' % number for number in range(100_000))
    started = time.process_time()
    with pytest.raises(ValueError, match="a key stands twice: 99999"):
        read_header(packed(b'{"99999":0,' + names + b"}"))
    assert time.process_time() - started < 10


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**65), 2**65) | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=12,
)
ENTRIES = st.fixed_dictionaries(
    {
        "dtype": st.sampled_from(["F32", "F16", "I8"]) | JSON,
        "shape": st.lists(st.integers(-1, 4), max_size=3) | JSON,
        "data_offsets": st.lists(st.integers(-1, 40), min_size=2, max_size=2) | JSON,
    }
)


@settings(max_examples=150, deadline=None)
@given(header=st.dictionaries(st.text(max_size=4), ENTRIES | JSON, max_size=3) | JSON, body=st.binary(max_size=48))
def test_whatever_our_check_accepts_the_library_accepts_too(header, body):
    """And the other way round nothing else than a refusal by ValueError comes of any header."""
    from safetensors import deserialize

    data = packed(json.dumps(header).encode(), body)
    try:
        found = read_header(data)
    except (ValueError, RecursionError):
        return
    assert {name: list(one.shape) for name, one in found.items()} == {
        name: tensor["shape"] for name, tensor in deserialize(data)
    }


# -- E3: model.json ----------------------------------------------------------------------------------------

BAD_SPECS = {
    "a module for an architecture": (spec_bytes(architecture="os.system"), 'architecture cannot be "os.system"'),
    "a class for a head": (spec_bytes(head="os:system"), 'head cannot be "os:system"'),
    "a path for an encoder": (spec_bytes(encoder="../evil"), 'encoder cannot be "../evil"'),
    "a million channels": (
        spec_bytes(decoder_channels=[10**6] * 5),
        "decoder_channels cannot be [1000000, 1000000, 1000000, 1000000, 1000000]",
    ),
    "a million stages": (
        spec_bytes(decoder_channels=[8] * 10**5), "decoder_channels cannot be " + ("[" + "8, " * 30)[:77] + "...",
    ),
    "tiles of a gigapixel": (spec_bytes(tile_px=32768), "tile_px cannot be 32768"),
    "a halo without end": (spec_bytes(halo_px=2**20), "halo_px cannot be 1048576"),
    "a negative pixel size": (spec_bytes(mpp=-0.25), "mpp cannot be -0.25"),
    "a pixel size of 10^400": (spec_bytes().replace(b'"mpp": 0.5', b'"mpp": 1' + b"0" * 400),
                               "1" + "0" * 76 + "... has more than 64 bits"),
    "5,000 digits": (spec_bytes().replace(b'"mpp": 0.5', b'"mpp": ' + b"9" * 5000),
                     "Exceeds the limit (4300 digits) for integer string conversion: value has 5000 digits; "
                     "use sys.set_int_max_str_digits() to increase the limit"),
    "NaN deep inside": (spec_bytes(metrics={"a": [{"b": float("nan")}]}), "NaN is not a number"),
    "infinity deep inside": (spec_bytes().replace(b'"metrics": {}', b'"metrics": {"a": [-1e999]}'),
                             "-1e999 is not finite"),
    "a key twice deep inside": (spec_bytes().replace(b'"metrics": {}', b'"metrics": {"a": {"b": 1, "b": 2}}'),
                                "a key stands twice: b"),
    "lists in lists": (spec_bytes(training={"a": json.loads("[" * 100 + "]" * 100)}),
                       "lists and objects are nested more than 32 deep"),
    "half a character": (
        spec_bytes(training={"a": "\ud800"}),
        "'utf-8' codec can't encode character '\\ud800' in position {at}: surrogates not allowed",
    ),
    "a key of a megabyte": (spec_bytes(**{"k" * 10**6: 1}), "unknown key " + "k" * 77 + "..."),
    "a licence that moves the cursor": (spec_bytes(licence="MIT\x1b[2J"), 'licence cannot be "MIT\\u001b[2J"'),
    "a class read from right to left": (
        spec_bytes(classes=[{"value": 1, "name": "a\u202eb", "color": [0, 0, 0]}]),
        'classes cannot be [{"value": 1, "name": "a\\u202eb", "color": [0, 0, 0]}]',
    ),
    "YAML that makes an object": (b"!!python/object/apply:os.system ['true']",
                                  "Expecting value: line 1 column 1 (char 0)"),
    "a pickle": (pickle.dumps({"name": "a"}, 0), "Expecting value: line 1 column 1 (char 0)"),
    "a gigabyte of blanks": (b" " * (1 << 20) + spec_bytes(), "model.json is larger than 1048576 bytes"),
}  # fmt: skip


@pytest.mark.parametrize("fault", BAD_SPECS)
def test_a_bad_description_is_refused_with_its_reason(fault, tmp_path):
    data, text = BAD_SPECS[fault]
    with pytest.raises(BundleError) as refused:
        ModelSpec.from_json(data, where="model.json")
    assert refused.value.code == "E-BUNDLE-SPEC"
    assert refused.value.exit_status == 4
    expected = text.replace("{at}", refused.value.what.partition("position ")[2].partition(":")[0])
    assert refused.value.what == expected
    assert len(str(refused.value)) < 300


def test_the_largest_encoders_are_on_no_list():
    from wsiseg.models.encoders import encoder_names
    from wsiseg.models.network import build_network

    spec = ModelSpec.from_json(spec_bytes(encoder="resnext101_32x48d"))
    with pytest.raises(BundleError, match=r"E-BUNDLE-SPEC.*no such encoder; resnext101_32x48d"):
        build_network(spec)
    assert "resnext101_32x16d" in encoder_names()


def test_a_description_and_its_largest_decoder_stay_below_the_cap():
    import torch

    from wsiseg.models.network import build_network

    spec = ModelSpec.from_json(spec_bytes(encoder="resnext101_32x16d", decoder_channels=[1024] * 5))
    with torch.device("meta"):
        count = sum(parameter.numel() for parameter in build_network(spec).parameters())
    assert 2e8 < count < 4e8


# -- E4, E5: the folder ------------------------------------------------------------------------------------


def linked_out(name):
    def make(folder):
        bundle_in(folder, b"weights")
        (folder / name).rename(folder.parent / "outside")
        (folder / name).symlink_to("../outside")

    return make


def weights_of(kind):
    def make(folder):
        bundle_in(folder, b"weights")
        path = folder / "weights.safetensors"
        path.unlink()
        if kind == "a folder":
            path.mkdir()
        elif kind == "a pipe":
            os.mkfifo(path)
        elif kind == "a device":
            path.symlink_to("/dev/zero")
        elif kind == "10 GB":
            with open(path, "wb") as file:
                file.truncate(10 << 30)
        elif kind == "a link to itself":
            path.symlink_to(path.name)
        elif kind == "other weights":
            path.write_bytes(b"Weights")

    return make


OUT = "the file is a link out of the bundle's folder"
BAD_FOLDERS = {
    "model.json is a link out": (linked_out("model.json"), "E-BUNDLE-SPEC", OUT),
    "the weights are a link out": (linked_out("weights.safetensors"), "E-BUNDLE-WEIGHTS", OUT),
    "the weights are absent": (weights_of("nothing"), "E-BUNDLE-WEIGHTS", "No such file or directory"),
    "the weights are a folder": (weights_of("a folder"), "E-BUNDLE-WEIGHTS", "Is a directory"),
    "the weights are a pipe": (weights_of("a pipe"), "E-BUNDLE-WEIGHTS", "it is not a regular file"),
    "the weights are a device": (weights_of("a device"), "E-BUNDLE-WEIGHTS", OUT),
    "the weights are a loop": (weights_of("a link to itself"), "E-BUNDLE-WEIGHTS",
                               "Too many levels of symbolic links"),
    "the weights have 10 GB": (weights_of("10 GB"), "E-BUNDLE-WEIGHTS",
                               "the file is larger than 1,090,519,040 bytes"),
    "the weights are others": (weights_of("other weights"), "E-BUNDLE-WEIGHTS",
                               "the weights are not those that model.json names"),
}  # fmt: skip


@pytest.mark.skipif(sys.platform == "win32", reason="links and pipes of POSIX")
@pytest.mark.parametrize("fault", BAD_FOLDERS)
def test_a_bad_folder_is_refused_with_its_reason(fault, tmp_path):
    make, code, text = BAD_FOLDERS[fault]
    make(tmp_path / "bundle")
    started = time.process_time()
    with pytest.raises(BundleError) as refused:
        load_bundle(tmp_path / "bundle").read_weights()
    assert (refused.value.code, refused.value.what) == (code, text)
    assert time.process_time() - started < 2


@pytest.mark.parametrize(
    "name",
    ["a" * 5000, "nul\0", "../bundle", "bundle/../..", "model.json", "\udcff", "~", "https://example.org/x"],
)
def test_a_name_is_no_way_out(name, tmp_path, monkeypatch):
    bundle_in(tmp_path / "elsewhere" / "bundle", b"weights")
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    with pytest.raises(BundleError, match="no bundle of that name") as refused:
        load_bundle(name)
    assert refused.value.code == "E-BUNDLE-MISSING"
    str(refused.value).encode()


def test_a_linked_folder_and_links_inside_it_are_a_bundle(tmp_path):
    folder = bundle_in(tmp_path / "real", b"weights")
    (folder / "weights.safetensors").rename(folder / "v2.safetensors")
    (folder / "weights.safetensors").symlink_to("v2.safetensors")
    (tmp_path / "link").symlink_to(folder)
    assert load_bundle(tmp_path / "link").read_weights() == b"weights"


def test_what_was_checked_is_what_is_used(tmp_path, monkeypatch):
    """Whoever swaps a file after it was read comes too late: each file is read once."""
    from wsiseg.models import bundle as module

    folder = bundle_in(tmp_path / "bundle", b"weights")
    real = module.read_bounded

    def read_then_swap(path, limit):
        data = real(path, limit)
        path.write_bytes(b"swapped")
        return data

    monkeypatch.setattr(module, "read_bounded", read_then_swap)
    original = (folder / "model.json").read_bytes()
    bundle = load_bundle(folder)
    assert bundle.read_weights() == b"weights"
    assert bundle.spec == ModelSpec.from_json(original)
    assert (folder / "model.json").read_bytes() == b"swapped"


# -- Fuzzing: a short tier of `make faults` -------------------------------------------------------------------


@pytest.mark.parametrize("name", ["fuzz_bundle", "fuzz_ledger", "fuzz_tiff"])
def test_parsers_survive_mutated_files(name):
    module = import_module(f"faults.{name}")
    row = fuzz(module.TARGET, runs=300, seed=1)
    assert row.notes == []
    assert (row.injected, row.survived) == (300, 300)


def test_the_fuzzer_finds_what_a_parser_does_not_expect():
    target = Target("weak", "", "", lambda: [b'{"a": 1}'], lambda data: json.loads(data.decode("latin-1")))
    row = fuzz(target, runs=200)
    assert 0 < row.survived < row.injected
    assert "JSONDecodeError" in row.notes[0]
    assert fuzz(target, runs=200).notes[0].endswith(row.notes[0][-40:])


# -- E7: the card ------------------------------------------------------------------------------------------


def card(folder, *options):
    code = (
        "import sys; from wsiseg.cli import _status;"
        "status = _status(['models', *sys.argv[1:]]);"
        "assert not {'torch', 'safetensors', 'smp'} & set(sys.modules); sys.exit(status)"
    )
    command = [sys.executable, "-c", code, str(folder), *options]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)


def test_a_card_is_shown_without_torch_and_moves_no_cursor(tmp_path):
    folder = bundle_in(tmp_path / "bundle", b"weights")
    (folder / "README.md").write_text("# A model\n\x1b]0;owned\x07\x1b[2J\u202e\rred\n", "utf-8")
    found = card(folder)
    assert found.returncode == 0, found.stderr
    assert found.stdout.splitlines() == ["# A model", r"\x1b]0;owned\x07\x1b[2J\u202e", "red"]
    assert json.loads(card(folder, "--json").stdout)["name"] == "tiny"


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (None, "No such file or directory"),
        (b"\xff", "the model card is not UTF-8"),
        (b" " * ((1 << 20) + 1), "the file is larger than 1,048,576 bytes"),
    ],
)
def test_a_card_that_cannot_be_shown_is_refused(data, what, tmp_path):
    folder = bundle_in(tmp_path / "bundle", b"weights")
    if data is not None:
        (folder / "README.md").write_bytes(data)
    with pytest.raises(BundleError) as refused:
        load_bundle(folder).read_card()
    assert refused.value.what == what


# -- E1: pickle in disguise --------------------------------------------------------------------------------


class Canary:
    """Touches a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.system, (f"touch '{self.path}'",)


def payloads(canary: Path, folder: Path) -> dict[str, bytes]:
    """Ways in which a pickle has been brought into a model file."""
    import numpy as np

    found = {f"pickle {protocol}": pickle.dumps(Canary(canary), protocol) for protocol in range(6)}
    archive = folder / "archive.zip"
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("archive/data.pkl", found["pickle 2"])
        file.writestr("archive/version", "3")
    found["torch.save"] = archive.read_bytes()
    found["polyglot"] = packed({"a": entry()}, b"0" * 8) + found["torch.save"]
    found["pickle in the remarks"] = packed(
        {"__metadata__": {"pickle": found["pickle 0"].decode("latin-1")}, "a": entry()}, b"0" * 8
    )
    np.save(folder / "objects.npy", np.array([Canary(canary)], object), allow_pickle=True)
    found["npy of objects"] = (folder / "objects.npy").read_bytes()
    found["YAML"] = f"!!python/object/apply:os.system [\"touch '{canary}'\"]".encode()
    return found


AUDITED = """
import sys, json
from pathlib import Path
from wsiseg.cli import _status
from wsiseg.errors import WsisegError
from wsiseg.models.bundle import load_bundle
from wsiseg.models.network import load_network
from wsiseg.tissue import load_roi, load_tissue
from wsiseg.train.config import TrainConfig
from wsiseg.train.checkpoint import load_checkpoint

NEVER = {"pickle.find_class", "os.system", "os.exec", "os.fork", "os.posix_spawn", "subprocess.Popen",
         "socket.connect", "socket.getaddrinfo"}
IMPORTS = {"marshal.load", "marshal.loads", "exec", "compile", "ctypes.dlopen"}  # what an import does too
seen = []

def refused(work):
    try:
        work()
    except WsisegError as error:
        return f"{type(error).__name__} {error.code}"
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return "accepted"

def attempt(folder):
    yield "weights", lambda: load_network(load_bundle(folder / "weights"))
    yield "model.json", lambda: load_bundle(folder / "model")
    yield "README.md", lambda: load_bundle(folder / "card").read_card()
    yield "TOML", lambda: TrainConfig.from_toml(folder / "payload.toml")
    yield "ROI", lambda: load_roi(folder / "payload.geojson", None)
    yield "mask", lambda: load_tissue(folder / "payload.png", None)
    yield "checkpoint", lambda: load_checkpoint(folder / "payload.pt")

def outcomes(folder):
    return {name: refused(work) for name, work in attempt(folder)}

load_network(load_bundle("nuclei-025"))
watched = set(NEVER)
sys.addaudithook(lambda event, arguments: seen.append(f"{event} {arguments!r:.200}") if event in watched else None)
for _ in range(2):  # what is imported on first use is imported in the first round
    found = {folder: outcomes(Path(folder)) for folder in sys.argv[1:]}
    watched |= IMPORTS
print(json.dumps({"outcomes": found, "seen": seen}))
"""


def test_no_pickle_in_any_disguise_is_run(tmp_path):
    canary = tmp_path / "canary"
    folders = []
    for name, data in payloads(canary, tmp_path).items():
        folder = tmp_path / name
        bundle_in(folder / "weights", data)
        bundle_in(folder / "model", b"")
        (folder / "model" / "model.json").write_bytes(data)
        (bundle_in(folder / "card", b"") / "README.md").write_bytes(data)
        for ending in ("toml", "geojson", "png", "pt"):
            (folder / f"payload.{ending}").write_bytes(data)
        folders.append(str(folder))
    found = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", AUDITED, *folders],
        capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip
    assert found.returncode == 0, found.stderr
    report = json.loads(found.stdout)
    assert report["seen"] == []
    assert not canary.exists()
    for name, outcomes in report["outcomes"].items():
        shown = outcomes.pop("README.md")  # text or refused; printing text runs nothing
        assert shown in ("accepted", "BundleError E-BUNDLE-SPEC"), name
        assert outcomes == {
            "weights": "BundleError E-BUNDLE-WEIGHTS",
            "model.json": "BundleError E-BUNDLE-SPEC",
            "TOML": "SettingsError E-CONFIG",
            "ROI": "SettingsError E-ROI",
            "mask": "SettingsError E-TISSUE",
            "checkpoint": "OutputError E-OUT-FOREIGN",
        }, name


def test_the_canaries_sing(tmp_path):
    """The control: whoever unpickles them does run them."""
    canary = tmp_path / "canary"
    pickle.loads(payloads(canary, tmp_path)["pickle 2"])
    assert canary.exists()


# -- E1: the source ----------------------------------------------------------------------------------------

MODULES = {"pickle", "cPickle", "_pickle", "dill", "cloudpickle", "joblib", "marshal", "shelve", "yaml", "runpy"}
CALLS = {
    "eval", "exec", "compile", "__import__", "torch.load", "torch.jit.load", "torch.hub.load", "os.system",
    "os.popen", "np.loads", "pd.read_pickle",
}  # fmt: skip
KEYWORDS = {"allow_pickle", "shell", "weights_only"}


def unsafe(source: str) -> list[str]:
    """What a source text uses of all that can turn data into code."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names if alias.name.partition(".")[0] in MODULES]
        elif isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] in MODULES:
            found.append(str(node.module))
        elif isinstance(node, ast.Call):
            name = ast.unparse(node.func)
            found += [name] if name in CALLS or "torch.hub" in name else []
            found += [
                keyword.arg
                for keyword in node.keywords
                if keyword.arg in KEYWORDS and ast.unparse(keyword.value) != "False"
            ]
    return found


@pytest.mark.parametrize(
    "source",
    [
        "import pickle", "from pickle import loads", "import yaml", "import joblib", "import cloudpickle as c",
        "torch.load(path)", "torch.load(path, weights_only=True)", "torch.jit.load(path)", "torch.hub.load(a)",
        "torch.hub.load_state_dict_from_url(url)", "eval(text)", "exec(code)", "np.load(p, allow_pickle=True)",
        "subprocess.run(text, shell=True)", "os.system(text)", "__import__(name)", "yaml.load(text)\nimport yaml",
    ],
)  # fmt: skip
def test_the_lint_sees_what_it_should(source):
    assert unsafe(source)


def test_no_module_can_turn_data_into_code():
    found = {path.name: unsafe(path.read_text("utf-8")) for path in PACKAGE.rglob("*.py")}
    assert {name: uses for name, uses in found.items() if uses} == {}
    assert len(found) > 100


def test_the_default_bundle_passes_every_check():
    bundle = load_bundle(DEFAULT_BUNDLE)
    assert len(read_header(bundle.read_weights())) > 100
    assert bundle.read_card().startswith("#")
