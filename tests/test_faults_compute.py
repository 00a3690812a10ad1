"""Group B: what a network and its device can do to a run, with code and text, and what comes after."""

from __future__ import annotations

import copy
import dataclasses
import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from synthetic import paint_tissue, scattered, write_slide
from test_run_exact import assert_same
from toy import ColourPredictor, run_toy, write_bundle

from wsiseg.errors import BundleError, InternalError, OutputError, ResourceError
from wsiseg.fsio import sha256_of
from wsiseg.models.bundle import load_bundle
from wsiseg.predict import Numerics, TorchPredictor, numerics
from wsiseg.run import RunSettings, State, inspect_run, run_slide
from wsiseg.run.folder import DELIVERABLES, check_same
from wsiseg.run.pipeline import library_versions

SIZE = (1090, 1090)
"""2 x 2 blocks of the toy bundle."""
ALL_CALLS = 16 + 2 + 2 + 1
"""Of the network: 16 windows of 4 x 4 tiles in the first block; the smaller ones of the others share batches."""
LAST_CALL = ALL_CALLS - 1


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return write_bundle(tmp_path_factory.mktemp("bundle") / "toy")


@pytest.fixture(scope="module")
def slide(tmp_path_factory):
    painting = paint_tissue(SIZE, scattered(SIZE, spacing=64))
    return write_slide(tmp_path_factory.mktemp("slide") / "slide.svs", painting.rgb)


@pytest.fixture(scope="module")
def reference(slide, bundle, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "reference"
    run_toy(slide, out, bundle, tissue="none")
    return out


class Failing(ColourPredictor):
    """A network that fails at one call, in some way."""

    def __init__(self, at: int, failure: BaseException, **others) -> None:
        super().__init__(**others)
        self.at, self.failure = at, failure

    def predict(self, windows):
        if self.calls == self.at:
            raise self.failure
        return super().predict(windows)


# -- B1, B2, B8: the device -------------------------------------------------------------------------------------

FAILURES = {
    "out of memory": ResourceError("E-MEMORY", "the network does not fit in memory", where="cuda:0"),
    "the device is lost": ResourceError(
        "E-DEVICE-FAILED", "CUDA error: unspecified launch failure", where="cuda:0"
    ),
    "not finite": InternalError("E-NONFINITE", "the network gave a value that is not finite"),
    "Ctrl-C": KeyboardInterrupt(),
}


@pytest.mark.parametrize("failure", FAILURES)
def test_a_failure_of_the_network_costs_no_finished_block(failure, slide, bundle, reference, tmp_path):
    out, failing = tmp_path / "out", Failing(LAST_CALL, FAILURES[failure])
    with pytest.raises(type(failing.failure)):
        run_toy(slide, out, bundle, predictor=failing, tissue="none")
    assert inspect_run(out).state is State.RESUMABLE
    assert not [name for name in DELIVERABLES if (out / name).exists()]
    again = ColourPredictor()
    run_toy(slide, out, bundle, predictor=again, tissue="none")
    assert_same(out, reference)
    assert again.calls < ALL_CALLS


def test_memory_that_python_lacks_is_told_too(slide, bundle, reference, tmp_path):
    with pytest.raises(ResourceError) as refused:
        run_toy(slide, tmp_path / "out", bundle, predictor=Failing(1, MemoryError()), tissue="none")
    assert (refused.value.code, refused.value.exit_status) == ("E-MEMORY", 6)
    run_toy(slide, tmp_path / "out", bundle, tissue="none")
    assert_same(tmp_path / "out", reference)


def test_values_that_are_not_finite_are_placed(slide, bundle, tmp_path):
    failure = InternalError("E-NONFINITE", "the network gave a value that is not finite")
    with pytest.raises(InternalError) as refused:
        run_toy(slide, tmp_path / "out", bundle, predictor=Failing(0, failure), tissue="none")
    assert str(refused.value) == (
        "error[E-NONFINITE]: the network gave a value that is not finite; tiles from row 0, column 0 on"
    )


def test_a_network_that_hangs_leaves_a_run_that_is_seen_and_can_be_ended(slide, bundle, reference, tmp_path):
    out, asked, go_on = tmp_path / "out", threading.Event(), threading.Event()

    class Hanging(ColourPredictor):
        def predict(self, windows):
            if self.calls == LAST_CALL:
                asked.set()
                go_on.wait(60)
                raise ResourceError("E-DEVICE-FAILED", "it was given up")
            return super().predict(windows)

    def work():
        with pytest.raises(ResourceError):
            run_toy(slide, out, bundle, predictor=Hanging(), tissue="none")

    worker = threading.Thread(target=work)
    worker.start()
    try:
        assert asked.wait(60)
        found = inspect_run(out)
        assert found.state is State.RUNNING
        assert found.blocks_mapped >= 1
    finally:
        go_on.set()
        worker.join()
    run_toy(slide, out, bundle, tissue="none")
    assert_same(out, reference)


# -- B1, B2: the predictor --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def loaded(bundle):
    return TorchPredictor(load_bundle(bundle), "cpu", threads=1)


@pytest.fixture
def predictor(loaded):
    """A copy whose attributes a test may replace."""
    return copy.copy(loaded)


@pytest.fixture
def windows():
    return np.random.default_rng(0).integers(0, 256, (4, 64, 96, 3), np.uint8)


def as_if_elsewhere(predictor, monkeypatch, fails):
    """Let the predictor believe that it is on another device, which may fail at a call of so many windows."""
    real, sizes = predictor._forward, []

    def forward(windows):
        sizes.append(len(windows))
        if (error := fails(len(sizes) - 1, len(windows))) is not None:
            raise error
        pretended, predictor._device = predictor._device, torch.device("cpu")
        try:
            return real(windows)
        finally:
            predictor._device = pretended

    monkeypatch.setattr(predictor, "_device", torch.device("meta"))
    monkeypatch.setattr(predictor, "_forward", forward)
    predictor.batch = 4
    return sizes


FULL = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")


@pytest.mark.parametrize(
    ("fails", "sizes", "batch"),
    [
        (lambda call, size: FULL if call == 0 else None, [4, 2, 2], 2),
        (lambda call, size: FULL if size > 1 else None, [4, 2, 1, 1, 2, 1, 1], 1),
        (lambda call, size: FULL if call in (0, 2) else None, [4, 2, 2, 1, 1], 1),
    ],
    ids=["at the first call", "whenever it is more than one", "at the first call and the last"],
)
def test_a_batch_that_does_not_fit_is_halved_and_no_bit_changes(
    fails, sizes, batch, predictor, windows, monkeypatch
):
    expected = predictor.predict(windows)
    tried = as_if_elsewhere(predictor, monkeypatch, fails)
    assert np.array_equal(predictor.predict(windows), expected)
    assert (tried, predictor.batch) == (sizes, batch)


@pytest.mark.parametrize(
    ("error", "code", "what"),
    [
        (FULL, "E-MEMORY", "the network does not fit in memory"),
        (
            RuntimeError("[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: not enough memory"),
            "E-MEMORY", "the network does not fit in memory",
        ),
        (
            torch.AcceleratorError("CUDA error: an illegal memory access was encountered\nCompile with ..."),
            "E-DEVICE-FAILED", "CUDA error: an illegal memory access was encountered",
        ),
        (
            RuntimeError("cuDNN error: CUDNN_STATUS_EXECUTION_FAILED"),
            "E-DEVICE-FAILED", "cuDNN error: CUDNN_STATUS_EXECUTION_FAILED",
        ),
        (
            RuntimeError("CUDA error: uncorrectable ECC error encountered"),
            "E-DEVICE-FAILED", "CUDA error: uncorrectable ECC error encountered",
        ),
        (
            RuntimeError("MPS backend out of order"),
            "E-DEVICE-FAILED", "MPS backend out of order",
        ),
    ],
)  # fmt: skip
def test_a_device_that_fails_is_told_in_one_line(error, code, what, predictor, windows, monkeypatch):
    as_if_elsewhere(predictor, monkeypatch, lambda call, size: error)
    with pytest.raises(ResourceError) as refused:
        predictor.predict(windows)
    assert (refused.value.code, refused.value.what, refused.value.exit_status) == (code, what, 6)
    assert "same command" in refused.value.fix
    assert "--device cpu" in refused.value.fix


def test_on_a_cpu_the_remedy_is_not_to_take_the_cpu(predictor, windows, monkeypatch):
    monkeypatch.setattr(predictor, "_forward", lambda windows: (_ for _ in ()).throw(FULL))
    with pytest.raises(ResourceError) as refused:
        predictor.predict(windows)
    assert "--device cpu" not in str(refused.value)


def test_a_network_that_does_not_fit_on_the_device_is_refused(bundle, monkeypatch):
    monkeypatch.setattr(torch.nn.Module, "to", lambda *_, **__: (_ for _ in ()).throw(FULL))
    with pytest.raises(ResourceError, match="E-MEMORY"):
        TorchPredictor(load_bundle(bundle), "cpu", threads=1)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_a_second_try_in_single_precision_leaves_the_network_as_it_was(value, dtype, bundle, windows, monkeypatch):
    """Once the network of a GPU stayed in single precision, and the next batch did not fit its type."""
    monkeypatch.setattr(numerics, "choose_dtype", lambda _: dtype)
    predictor = TorchPredictor(load_bundle(bundle), "cpu", threads=1)
    before = predictor.predict(windows[:1])
    real, tried = predictor._network.forward, []

    def once_not_finite(images):
        tried.append(images.dtype)
        return real(images) * (value if len(tried) == 1 else 1)

    predictor._network.forward = once_not_finite
    retried = predictor.predict(windows[:1])
    assert len(tried) == (2 if dtype is torch.float32 else 1)  # the other try is single precision's own network
    assert np.abs(retried.astype(int) - before).max() <= (0 if dtype is torch.float32 else 8)
    assert np.array_equal(predictor.predict(windows[:1]), before)


def test_what_stays_not_finite_is_refused_and_never_a_map(predictor, windows, monkeypatch):
    for network in ("_network", "_exact"):
        monkeypatch.setattr(predictor, network, Broken(getattr(predictor, network)))
    with pytest.raises(InternalError) as refused:
        predictor.predict(windows)
    assert refused.value.code == "E-NONFINITE"


class Broken(torch.nn.Module):
    """Gives NaN in one pixel."""

    def __init__(self, network):
        super().__init__()
        self.network = network

    def forward(self, images):
        logits = self.network(images)
        logits[..., 5, 7] = float("nan")
        return logits


# -- B2, B3: weights that do not fit ----------------------------------------------------------------------------


def changed_weights(bundle, folder, change):
    """A bundle whose description names changed weights."""
    from safetensors.torch import load_file, save_file

    folder.mkdir()
    tensors = load_file(bundle / "weights.safetensors")
    change(tensors)
    save_file(tensors, folder / "weights.safetensors")
    spec = json.loads((bundle / "model.json").read_text())
    spec["weights_sha256"] = sha256_of(folder / "weights.safetensors")
    (folder / "model.json").write_text(json.dumps(spec))
    return folder


HEAD = "segmentation_head.0.weight"
CHANGES = {
    "three classes for two": (
        lambda t: t.update({HEAD: torch.zeros(3, 8, 3, 3)}),
        f"the tensor {HEAD} has the shape (3, 8, 3, 3), not (2, 8, 3, 3)",
    ),
    "another type": (lambda t: t.update({HEAD: t[HEAD].double()}), f"the tensor {HEAD} has the type F64"),
    "NaN": (lambda t: t[HEAD].view(-1).__setitem__(3, float("nan")),
            f"the tensor {HEAD} holds values that are not finite"),
    "infinity": (lambda t: t[HEAD].view(-1).__setitem__(3, float("-inf")),
                 f"the tensor {HEAD} holds values that are not finite"),
    "none": (lambda t: t.pop(HEAD), f"the tensor {HEAD} is missing"),
    "one too many": (lambda t: t.update({"os.system": torch.zeros(1)}), "the tensor os.system is unknown"),
}  # fmt: skip


@pytest.mark.parametrize("change", CHANGES)
def test_weights_that_do_not_fit_are_refused_before_the_first_tile(change, slide, bundle, tmp_path):
    edit, text = CHANGES[change]
    folder = changed_weights(bundle, tmp_path / "bundle", edit)
    with pytest.raises(BundleError) as refused:
        run_slide(RunSettings(slide=slide, model=str(folder), device="cpu"), tmp_path / "out")
    assert (refused.value.code, refused.value.exit_status) == ("E-BUNDLE-WEIGHTS", 4)
    assert refused.value.what == f"not this bundle's weights: {text}"
    assert not (tmp_path / "out" / "run.json").exists()


# -- B4: numerics -----------------------------------------------------------------------------------------------

NUMERICS = {
    "torch_version": "2.14.1",
    "device": "cpu",
    "dtype": "float32",
    "threads": 2,
    "cpu_capability": "AVX512 BF16 AMX",
    "environment": "",
}
OTHERS = {
    "torch_version": "2.14.2",
    "device": "NVIDIA H200",
    "dtype": "bfloat16",
    "threads": 1,
    "cpu_capability": "AVX2",
    "environment": "ONEDNN_MAX_CPU_ISA=AVX2",
}


@pytest.fixture(scope="module")
def interrupted(slide, bundle, tmp_path_factory):
    """A run directory that a network of `NUMERICS` did not finish."""
    out = tmp_path_factory.mktemp("interrupted") / "out"
    failing = Failing(LAST_CALL, FAILURES["out of memory"], numerics=NUMERICS)
    with pytest.raises(ResourceError):
        run_toy(slide, out, bundle, predictor=failing, tissue="none")
    return out


@pytest.mark.parametrize("name", OTHERS)
def test_an_unfinished_run_is_not_continued_under_other_numerics(name, slide, bundle, interrupted):
    out = interrupted
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file() and path.name != "LOCK"}
    other = ColourPredictor(numerics=NUMERICS | {name: OTHERS[name]})
    with pytest.raises(OutputError) as refused:
        run_toy(slide, out, bundle, predictor=other, tissue="none")
    assert (refused.value.code, refused.value.exit_status) == ("E-NUMERICS", 5)
    assert refused.value.what == (
        "the run began under other conditions, which would mix results: "
        f"numerics.{name} was {NUMERICS[name]!r}, now {OTHERS[name]!r}"
    )
    assert other.calls == 0
    assert {path: path.read_bytes() for path in before} == before
    assert inspect_run(out).state is State.RESUMABLE


@pytest.mark.parametrize("name", ["reader", *library_versions()])
def test_no_library_may_change_within_a_run(name, reference):
    record = json.loads((reference / "run.json").read_text())
    assert record["versions"][name]
    other = copy.deepcopy(record)
    other["versions"][name] = "0.0.0"
    with pytest.raises(OutputError, match=rf"E-NUMERICS.*versions\.{name} was .*, now '0\.0\.0'"):
        check_same(record, other, reference, finished=False)
    check_same(record, other, reference, finished=True)


def test_wsiseg_itself_may_not_change_within_a_run(reference):
    record = json.loads((reference / "run.json").read_text())
    with pytest.raises(OutputError, match=r"E-NUMERICS.*wsiseg was '.*', now '9'"):
        check_same(record, record | {"wsiseg": "9"}, reference, finished=False)


def test_the_numerics_know_the_processor_and_what_was_asked_of_it(monkeypatch):
    here = dataclasses.asdict(Numerics.of(torch.device("cpu"), 1))
    assert set(here) == set(NUMERICS)
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX2")
    monkeypatch.setenv("ONEDNN_DEFAULT_FPMATH_MODE", "BF16")
    limited = Numerics.of(torch.device("cpu"), 1)
    assert limited.environment == "ONEDNN_MAX_CPU_ISA=AVX2 ONEDNN_DEFAULT_FPMATH_MODE=BF16"
    code = (
        "import torch, dataclasses, json; from wsiseg.predict import Numerics;"
        "print(json.dumps(dataclasses.asdict(Numerics.of(torch.device('cpu'), 1))))"
    )
    found = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=True, timeout=300,
        env={**os.environ, "ATEN_CPU_CAPABILITY": "default"},
    )  # fmt: skip
    there = json.loads(found.stdout)
    assert there["cpu_capability"].split()[0] in ("DEFAULT", "NO AVX")
    assert there["cpu_capability"] != here["cpu_capability"]


def test_two_threads_change_a_map_by_one_step_at_most(bundle, windows, monkeypatch):
    monkeypatch.setattr(numerics, "choose_dtype", lambda _: torch.float32)
    one, two = (TorchPredictor(load_bundle(bundle), "cpu", threads=n).predict(windows) for n in (1, 2))
    torch.set_num_threads(1)
    assert np.abs(one.astype(int) - two).max() <= 1


# -- B6, B10: memory and odd slides -----------------------------------------------------------------------------


@pytest.mark.skipif(sys.platform != "linux", reason="needs RLIMIT_AS")
def test_short_of_memory_a_run_ends_well_or_says_so(slide, bundle, reference, tmp_path):
    out, here = tmp_path / "out", Path(__file__).parent
    code = (
        "import resource, sys; sys.path.insert(0, sys.argv[1]); import wsiseg.run.finish, toy;"
        "used = int(open('/proc/self/statm').read().split()[0]) * resource.getpagesize();"
        "resource.setrlimit(resource.RLIMIT_AS, (used + int(sys.argv[2]) * 10**6,) * 2);"
        "from pathlib import Path;"
        "toy.run_toy(Path(sys.argv[3]), Path(sys.argv[4]), Path(sys.argv[5]), tissue='none', workers=2)"
    )
    command = [sys.executable, "-c", code, str(here), "400", str(slide), str(out), str(bundle)]
    found = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    if found.returncode:
        assert "error[E-MEMORY]" in found.stderr.splitlines()[-1]
        assert inspect_run(out).state in (State.RESUMABLE, State.ABSENT)
    run_toy(slide, out, bundle, tissue="none")
    assert_same(out, reference)


def test_one_object_as_large_as_the_slide_is_no_nucleus(bundle, tmp_path):
    class Everything(ColourPredictor):
        def predict(self, windows):
            return np.full((len(windows), 2, *windows.shape[1:3]), 255, np.uint8)

    slide = write_slide(tmp_path / "slide.svs", np.full((1090, 1090, 3), 235, np.uint8))
    outcome = run_toy(slide, tmp_path / "out", bundle, predictor=Everything(), tissue="none")
    assert outcome.summary["nuclei"] == 0


def test_a_run_asks_no_network(slide, bundle, tmp_path):
    code = (
        "import sys; from pathlib import Path; sys.path.insert(0, sys.argv[1]); import toy\n"
        "def refuse(event, arguments):\n"
        "    if event in ('socket.connect', 'socket.getaddrinfo', 'socket.gethostbyname', 'socket.bind'):\n"
        "        raise SystemExit(f'{event} {arguments}')\n"
        "sys.addaudithook(refuse)\n"
        "slide, out, bundle = map(Path, sys.argv[2:])\n"
        "toy.run_toy(slide, out, bundle, tissue='none')\n"
    )
    command = [
        sys.executable,
        "-c",
        code,
        str(Path(__file__).parent),
        str(slide),
        str(tmp_path / "out"),
        str(bundle),
    ]
    found = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert (found.returncode, found.stderr) == (0, "")
    assert inspect_run(tmp_path / "out").state is State.COMPLETE
