"""A bundle's network on a CPU by OpenVINO, an optional package: the weights are torch's, the sums are not."""

from __future__ import annotations

import sys
import warnings
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from wsiseg.errors import InternalError, ResourceError
from wsiseg.models.devices import OPENVINO, require_openvino
from wsiseg.models.network import load_network
from wsiseg.predict.numerics import Numerics

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy.typing as npt

    from wsiseg.models.bundle import ModelBundle
    from wsiseg.models.heads import Head

    Pixels = npt.NDArray[np.uint8]

_EXAMPLE_PX = 64
"""Side of the image that the network is traced with; the traced one takes any."""

_KEPT_SHAPES = 16
"""Windows of up to 4 x 4 tiles have as many; each takes 20 to 30 MB."""

_PRECISIONS = {"bfloat16": "bf16", "float32": "f32"}


class OpenvinoPredictor:
    """The network of a bundle on a CPU, compiled by OpenVINO.

    Parameters
    ----------
    bundle
        Where weights, normalisation and head come from.
    threads
        Of a forward pass; the usable cores if None.

    Raises
    ------
    BundleError
        The weights are refused.
    SettingsError
        E-DEVICE: OpenVINO is not installed.
    """

    batch = 1

    def __init__(self, bundle: ModelBundle, threads: int | None = None) -> None:
        require_openvino()
        with _without_telemetry():
            import openvino
        self._library = openvino
        self._numerics = Numerics.of(torch.device("cpu"), threads)
        # By one thread of torch's: several that share a layer's weights mostly wait for each other.
        with _explained(), ThreadPoolExecutor(1, "convert", torch.set_num_threads, (1,)) as alone:
            self._model = alone.submit(lambda: _converted(_BytesToBytes(bundle))).result()
        self._network_for = lru_cache(_KEPT_SHAPES)(self._compiled)
        self._last: Any = None

    @property
    def numerics(self) -> dict[str, Any]:
        """What decides the bits of the result besides the bundle."""
        return asdict(self._numerics) | {"device": OPENVINO, "openvino_version": self._library.get_version()}

    def predict(self, windows: Pixels) -> Pixels:
        """Turn windows of tiles into maps, one window at a time; as `Predictor.predict`."""
        return np.concatenate([self._forward(window[None]) for window in windows])

    def _forward(self, window: Pixels) -> Pixels:
        with _explained():
            network = self._network_for(window.shape)
            if self._last is not None and network is not self._last:
                self._last.release_memory()  # of activations, which each shape would keep: 1 GB for 16
            self._last = network
            maps, total = network(window).values()
        if not np.isfinite(total):
            raise InternalError("E-NONFINITE", "the network gave a value that is not finite")
        found: Pixels = maps
        return found

    def _compiled(self, shape: tuple[int, ...]) -> Any:  # noqa: ANN401 - OpenVINO has no types
        """Compile the network for windows of one shape: a fifth less time than for any, and the same bits."""
        model = self._model.clone()
        model.reshape(shape)
        settings = {
            "INFERENCE_PRECISION_HINT": _PRECISIONS[self._numerics.dtype],
            "INFERENCE_NUM_THREADS": self._numerics.threads,
            "NUM_STREAMS": 1,  # a second one on two cores was 4 % faster, for twice the memory
            "ENABLE_CPU_PINNING": False,  # or all workers of a cohort would share the same cores
        }
        return self._library.compile_model(model, "CPU", settings)


class _BytesToBytes(nn.Module):
    """A bundle's network with all that is done before and after it."""

    def __init__(self, bundle: ModelBundle) -> None:
        super().__init__()
        self._network = load_network(bundle)
        self._head: Head = bundle.head()
        self._mean = torch.tensor(bundle.spec.mean).view(1, 3, 1, 1) * 255
        self._std = torch.tensor(bundle.spec.std).view(1, 3, 1, 1) * 255

    def forward(self, windows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Turn (n, h, w, 3) bytes into (n, channels, h, w) bytes, and a sum that is finite if all logits are."""
        images = (windows.permute(0, 3, 1, 2).float() - self._mean) / self._std
        logits = self._network(images)
        maps = self._head.activate(logits).mul(255).round()
        return maps.to(torch.uint8), logits.sum()


def _converted(network: nn.Module) -> Any:  # noqa: ANN401 - OpenVINO has no types
    """Turn a torch network into OpenVINO's, for one image of any size at a time."""
    import openvino
    from openvino.frontend.pytorch.ts_decoder import TorchScriptPythonDecoder

    example = torch.zeros((1, _EXAMPLE_PX, _EXAMPLE_PX, 3), dtype=torch.uint8)
    with warnings.catch_warnings():
        # OpenVINO traces by torch.jit, whose end is announced; torch.export takes six times as long.
        warnings.simplefilter("ignore")
        # Without torch's check, which traces and runs the network twice more: five sixths of the time.
        traced = TorchScriptPythonDecoder(network, example_input=example, trace_kwargs={"check_trace": False})
        return openvino.convert_model(traced, input=[1, -1, -1, 3])


@contextmanager
def _without_telemetry() -> Iterator[None]:
    """Let OpenVINO not find the package by which, on being imported, it reports to its makers.

    It works without it. The report would go out of a clinic's network, and an id into the user's home.
    """
    name = "openvino_telemetry"
    before = sys.modules.get(name)
    sys.modules[name] = None  # type: ignore[assignment] # how Python is told that there is no such module
    try:
        yield
    finally:
        if before is None:
            del sys.modules[name]
        else:
            sys.modules[name] = before


@contextmanager
def _explained() -> Iterator[None]:
    """Turn OpenVINO's lack of memory into an error of ours; any other is a bug and stays what it is."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and "alloc" not in str(error):
            raise
        fix = "close other programs; the same command goes on"
        what = "the network does not fit in memory"
        raise ResourceError("E-MEMORY", what, where=OPENVINO, fix=fix) from error
