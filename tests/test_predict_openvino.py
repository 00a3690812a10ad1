"""The network by OpenVINO: torch's maps but for rounding, its own numerics, and nothing told to its makers."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from synthetic import paint_tissue, scattered, write_slide
from test_faults_compute import changed_weights
from test_run_exact import assert_same
from test_train_evaluate import CENTRES, Darkness, Study
from toy import write_bundle

from wsiseg.cohort.cluster import local_shares
from wsiseg.errors import InternalError, OutputError, ResourceError, SettingsError
from wsiseg.models import devices
from wsiseg.models.bundle import DEFAULT_BUNDLE, load_bundle
from wsiseg.predict import TorchPredictor, numerics, predictor_on
from wsiseg.run import RunSettings, run_slide

needs_openvino = pytest.mark.skipif(not devices.has_openvino(), reason="OpenVINO is not installed")
SHAPES = [(64, 96), (160, 64), (32, 224), (64, 96)]
CLOSE = "close other programs; the same command goes on"
MOST_FLIPPED = 0.002
"""Share of the tissue's pixels that a faster way may decide otherwise than float32 does."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_bundle(tmp_path_factory.mktemp("bundle") / "toy")


@pytest.fixture(scope="module")
def predictor(folder):
    return predictor_on(load_bundle(folder), "openvino", threads=2)


def in_a_process(code, bundle, home=None):
    """What Python code prints, given a bundle's folder, without what tells OpenVINO that it is in a test."""
    environment = {name: value for name, value in os.environ.items() if name not in ("CI", "TF_BUILD")}
    command = [sys.executable, "-W", "ignore", "-c", code, str(bundle)]
    environment |= {"HOME": str(home)} if home else {}
    found = subprocess.run(command, capture_output=True, text=True, check=True, timeout=300, env=environment)
    return found.stdout.strip()


@pytest.fixture(scope="module")
def tissue():
    size = (480, 416)
    return paint_tissue(size, scattered(size, spacing=32)).rgb


@needs_openvino
@pytest.mark.parametrize(("dtype", "most", "mean"), [(torch.float32, 1, 0.01), (torch.bfloat16, 20, 1.0)])
def test_maps_of_any_shape_are_those_of_torch_in_fp32(dtype, most, mean, folder, monkeypatch):
    random = np.random.default_rng(0)
    monkeypatch.setattr(numerics, "choose_dtype", lambda _device: dtype)
    found = predictor_on(load_bundle(folder), "openvino")
    monkeypatch.setattr(numerics, "choose_dtype", lambda _device: torch.float32)
    expected = TorchPredictor(load_bundle(folder), "cpu")
    assert found.numerics["dtype"] == str(dtype).removeprefix("torch.")
    for shape in SHAPES:
        windows = random.integers(0, 256, (2, *shape, 3), np.uint8)
        maps, truth = found.predict(windows), expected.predict(windows)
        assert (maps.shape, maps.dtype) == ((2, 2, *shape), np.uint8)
        assert np.ptp(truth.astype(int)) > 20  # there is something to compare
        apart = np.abs(maps.astype(int) - truth)
        assert apart.max() <= most  # the weights are random, and so is the worst of their pixels
        assert apart.mean() <= mean


@needs_openvino
def test_the_mask_of_the_shipped_model_is_that_of_fp32(tissue, monkeypatch):
    bundle = load_bundle(DEFAULT_BUNDLE)
    maps = predictor_on(bundle, "openvino").predict(tissue[None])[0]
    monkeypatch.setattr(numerics, "choose_dtype", lambda _device: torch.float32)
    truth = TorchPredictor(bundle, "cpu").predict(tissue[None])[0]
    mask, expected = (bundle.head().decode(each).image() > 0 for each in (maps, truth))
    assert expected.mean() > 0.1
    assert (mask != expected).mean() <= MOST_FLIPPED


@needs_openvino
def test_the_bits_of_a_window_depend_on_no_other(predictor):
    windows = np.random.default_rng(1).integers(0, 256, (3, 64, 96, 3), np.uint8)
    together = predictor.predict(windows)
    for number in (2, 0, 1):
        predictor.predict(np.zeros((1, 32 * (number + 1), 64, 3), np.uint8))
        assert np.array_equal(predictor.predict(windows[number : number + 1])[0], together[number])


@needs_openvino
def test_numerics_name_what_computes(predictor, folder):
    found = predictor.numerics
    by_torch = TorchPredictor(load_bundle(folder), "cpu", threads=2).numerics
    different = {name for name in {**found, **by_torch} if found.get(name) != by_torch.get(name)}
    assert different == {"device", "openvino_version", "threads"}  # torch's are those of one window
    assert (found["device"], found["threads"]) == ("openvino", 2)


@needs_openvino
def test_a_run_ends_under_the_numerics_that_it_began_with(folder, tmp_path, monkeypatch):
    size = (1090, 600)
    slide = write_slide(tmp_path / "slide.svs", paint_tissue(size, scattered(size, spacing=64)).rgb)
    settings = RunSettings(slide=slide, model=str(folder), tissue="none", device="openvino")
    run_slide(settings, tmp_path / "reference")

    def failing(bundle, chosen):
        real = predictor_on(bundle, chosen.device)
        monkeypatch.setattr(real, "predict", lambda windows: (_ for _ in ()).throw(MemoryError()))
        return real

    with pytest.raises(ResourceError):
        run_slide(settings, tmp_path / "out", make_predictor=failing)
    with pytest.raises(OutputError, match=r"E-NUMERICS.*numerics\.device was 'openvino', now 'cpu'"):
        run_slide(RunSettings(slide=slide, model=str(folder), tissue="none", device="cpu"), tmp_path / "out")
    run_slide(settings, tmp_path / "out")
    assert_same(tmp_path / "out", tmp_path / "reference")


@needs_openvino
def test_values_that_are_not_finite_are_refused(folder, tmp_path):
    large = changed_weights(folder, tmp_path / "large", lambda t: t["segmentation_head.0.weight"].fill_(3e38))
    with pytest.raises(InternalError) as refused:
        predictor_on(load_bundle(large), "openvino").predict(np.full((1, 64, 64, 3), 200, np.uint8))
    assert refused.value.code == "E-NONFINITE"


@needs_openvino
@pytest.mark.skipif(sys.platform != "linux", reason="Linux bounds a process' addresses")
def test_a_window_that_does_not_fit_in_memory_is_refused(folder):
    code = """if True:
        import resource, sys, numpy as np
        from wsiseg.models.bundle import load_bundle
        from wsiseg.predict import predictor_on

        predictor = predictor_on(load_bundle(sys.argv[1]), "openvino", threads=1)
        predictor.predict(np.zeros((1, 64, 64, 3), np.uint8))
        used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + (200 << 20),) * 2)
        try:
            predictor.predict(np.zeros((1, 4096, 4096, 3), np.uint8))
        except Exception as error:
            print(error)
    """
    found = in_a_process(code, folder)
    assert found == "error[E-MEMORY]: the network does not fit in memory; openvino; " + CLOSE


@needs_openvino
def test_nothing_is_reported_to_anybody(folder, tmp_path):
    code = """if True:
        import sys, numpy as np
        from wsiseg.models.bundle import load_bundle
        from wsiseg.predict import predictor_on

        predictor_on(load_bundle(sys.argv[1]), "openvino").predict(np.zeros((1, 64, 64, 3), np.uint8))
        print("openvino" in sys.modules, "openvino_telemetry" in sys.modules)
    """
    assert in_a_process(code, folder, home=tmp_path) == "True False"
    assert list(tmp_path.iterdir()) == []


@needs_openvino
def test_fields_are_scored_by_it_too(tmp_path, monkeypatch):
    monkeypatch.setattr("wsiseg.predict.with_openvino.load_network", lambda _bundle: Darkness())
    (tmp_path / "study").mkdir()
    study = Study(tmp_path / "study", write_bundle(tmp_path / "toy"))
    found = study.add().add(CENTRES[:4]).scored(device="openvino").as_dict()
    assert set(found["pooled"].values()) == {1}


@needs_openvino
def test_workers_of_a_cohort_share_the_cores(monkeypatch):
    monkeypatch.setattr("wsiseg.cohort.cluster.usable_cores", lambda: 8)
    assert [share.threads for share in local_shares("openvino", 2)] == [4, 4]
    assert {share.device for share in local_shares("openvino", 2)} == {""}


@pytest.mark.parametrize(
    "ask", [devices.list_devices, lambda name: predictor_on(load_bundle(DEFAULT_BUNDLE), name)]
)
def test_without_the_package_one_line_says_how_to_get_it(ask, monkeypatch):
    monkeypatch.setattr(devices, "find_spec", lambda _name: None)
    with pytest.raises(SettingsError) as refused:
        ask("openvino")
    assert str(refused.value) == (
        "error[E-DEVICE]: OpenVINO is not installed; --device openvino; pip install 'wsiseg[openvino]'"
    )
