"""The network on its device: bytes in, bytes out, and what happens when memory or numbers run out."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from toy import write_bundle

from wsiseg.errors import InternalError, ResourceError, SettingsError
from wsiseg.models.bundle import load_bundle
from wsiseg.models.devices import choose_device
from wsiseg.predict import TorchPredictor, choose_dtype, numerics


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return load_bundle(str(write_bundle(tmp_path_factory.mktemp("bundle") / "toy")))


@pytest.fixture(scope="module")
def loaded(bundle):
    return TorchPredictor(bundle, "cpu", batch=4)


@pytest.fixture
def predictor(loaded):
    return copy.copy(loaded)


@pytest.fixture
def windows():
    return np.random.default_rng(0).integers(0, 256, (3, 64, 96, 3), np.uint8)


@pytest.mark.parametrize(("dtype", "bound"), [(torch.float32, 1), (torch.bfloat16, 6)])
def test_maps_are_what_the_network_says(dtype, bound, bundle, windows, monkeypatch):
    """Against the same steps written out in fp32: normalise, forward, activate, round."""
    from wsiseg.models.network import load_network

    monkeypatch.setattr(numerics, "choose_dtype", lambda _device: dtype)
    network = load_network(bundle)
    images = (torch.from_numpy(windows).permute(0, 3, 1, 2) / 255 - 0.5) / 0.5
    with torch.inference_mode():
        expected = bundle.head().activate(network(images)).mul(255).round().to(torch.uint8).numpy()
    found = TorchPredictor(bundle, "cpu").predict(windows)
    assert found.shape == (3, 2, 64, 96)
    assert found.dtype == np.uint8
    assert np.abs(found.astype(int) - expected).max() <= bound


def test_batch_does_not_change_a_bit(predictor, windows):
    whole = predictor.predict(windows)
    single = np.concatenate([predictor.predict(windows[i : i + 1]) for i in range(3)])
    assert np.array_equal(whole, single)


@pytest.mark.parametrize(("threads", "a_window"), [(1, 1), (2, 1), (4, 1), (8, 2)])
def test_up_to_four_cores_give_the_same_bits(threads, a_window, bundle, windows):
    """Each core has a window of its own, so that nobody waits for another one's part of a layer."""
    alone, found = (TorchPredictor(bundle, "cpu", threads=count) for count in (1, threads))
    assert found.numerics["threads"] == a_window
    assert found.batch == 16 * min(threads, 4)
    if a_window == 1:
        assert found.numerics == alone.numerics
        assert np.array_equal(found.predict(windows), alone.predict(windows))


def failing_forward(predictor, monkeypatch, largest, error):
    real = predictor._forward

    def forward(windows):
        if len(windows) > largest:
            raise error
        pretended, predictor._device = predictor._device, torch.device("cpu")
        try:
            return real(windows)
        finally:
            predictor._device = pretended

    monkeypatch.setattr(predictor, "_forward", forward)


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory"),
        RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: not enough memory: you tried"),
    ],
)
def test_batch_is_halved_when_memory_runs_out(error, predictor, windows, monkeypatch):
    expected = predictor.predict(windows)
    monkeypatch.setattr(
        predictor, "_device", torch.device("meta")
    )  # anything but a CPU, which takes single windows
    predictor.batch = 4
    failing_forward(predictor, monkeypatch, 1, error)
    assert np.array_equal(predictor.predict(windows), expected)
    assert predictor.batch == 1


def test_one_window_that_does_not_fit_is_refused(predictor, windows, monkeypatch):
    failing_forward(predictor, monkeypatch, 0, torch.OutOfMemoryError("CUDA out of memory"))
    with pytest.raises(ResourceError) as refused:
        predictor.predict(windows)
    assert refused.value.code == "E-MEMORY"


def test_other_failures_of_torch_are_not_taken_for_memory(predictor, windows, monkeypatch):
    failing_forward(predictor, monkeypatch, 0, RuntimeError("the shapes do not fit"))
    with pytest.raises(RuntimeError, match="shapes"):
        predictor.predict(windows)


def test_numbers_that_are_not_finite_are_tried_again_and_then_refused(predictor, windows, monkeypatch):
    real = predictor._logits
    tried = []

    def logits(images, dtype):
        tried.append(dtype)
        found = real(images, torch.float32)
        return found if len(tried) == last_good else found * float("nan")

    monkeypatch.setattr(predictor, "_logits", logits)
    last_good = 2
    assert predictor.predict(windows[:1]).shape == (1, 2, 64, 96)
    assert tried[1] is torch.float32
    last_good = 0
    with pytest.raises(InternalError) as refused:
        predictor.predict(windows[:1])
    assert refused.value.code == "E-NONFINITE"


def test_numerics_name_what_decides_the_bits(predictor):
    numerics = predictor.numerics
    assert numerics["device"] == "cpu"
    assert numerics["dtype"] in ("float32", "bfloat16")
    assert numerics["threads"] >= 1
    assert numerics["torch_version"] == torch.__version__


@pytest.mark.parametrize(
    ("amx", "avx512_bf16", "vendor", "expected"),
    [
        (True, True, "GenuineIntel", torch.bfloat16),
        (False, True, "AuthenticAMD", torch.bfloat16),
        (False, True, "GenuineIntel", torch.float32),
        (False, False, "AuthenticAMD", torch.float32),
    ],
)
def test_half_precision_where_it_is_faster(amx, avx512_bf16, vendor, expected, monkeypatch):
    monkeypatch.setattr(numerics, "_has_amx", lambda: amx)
    monkeypatch.setattr(numerics, "_has_avx512_bf16", lambda: avx512_bf16)
    monkeypatch.setattr(numerics, "_cpu_vendor", lambda: vendor)
    assert choose_dtype(torch.device("cpu")) is expected
    assert choose_dtype(torch.device("cuda")) is torch.float16
    assert choose_dtype(torch.device("mps")) is torch.float32


def test_auto_takes_the_best_device(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert choose_device("auto").type == "cuda"
    assert choose_device("cuda:1").index == 1
    with pytest.raises(SettingsError) as refused:
        choose_device("cuda:2")
    assert refused.value.code == "E-DEVICE"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert choose_device("auto").type == "mps"
