"""A bundle's network by torch, on any device."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import psutil
import torch

from wsiseg.errors import InternalError, ResourceError
from wsiseg.host import keep_freed_memory, usable_cores
from wsiseg.models.devices import choose_device
from wsiseg.models.network import load_network
from wsiseg.predict.fusion import fold_batch_norm, fuse_activations
from wsiseg.predict.numerics import Numerics

if TYPE_CHECKING:
    import numpy.typing as npt
    from torch import nn

    from wsiseg.models.bundle import ModelBundle

BYTES_PER_PIXEL = 1200
"""Cautious estimate of activations per input pixel of the default network in fp32, for choosing a GPU's batch."""

_DEVICE_ERRORS = ("CUDA", "cuDNN", "CUBLAS", "MPS")
"""How the messages of a device that failed begin."""

_BATCH_LIMIT = {"mps": 32, "cuda": 256}
"""Tiles at once beyond which nothing gets faster: a safe guess."""

_MOST_STREAMS = 4
"""Windows that a CPU works on at a time; each takes some 300 MB."""
_WINDOW_TILES = 16
"""Tiles of the largest window."""


class TorchPredictor:
    """The network of a bundle on one device.

    Parameters
    ----------
    bundle
        Where weights, normalisation and head come from.
    device
        As for `choose_device`.
    batch
        Tiles in one forward pass on a GPU at most; chosen by memory if None, halved when memory runs out.
    threads
        For all windows that a CPU works on at a time; the usable cores if None. Each window has its own: threads
        that share one wait for each other after every layer, and for ever on a busy machine.
    """

    def __init__(
        self, bundle: ModelBundle, device: str = "auto", batch: int | None = None, threads: int | None = None
    ) -> None:
        self._device = choose_device(device)
        threads = threads or usable_cores()
        streams = min(threads, _MOST_STREAMS)
        self._numerics = Numerics.of(self._device, threads // streams)
        if self._device.type == "cpu":
            keep_freed_memory()
        # torch counts the threads that it may use for each thread that calls it.
        begin = torch.set_num_threads, (self._numerics.threads or 1,)
        self._streams = ThreadPoolExecutor(streams, "forward", *begin)
        self._bundle, spec = bundle, bundle.spec
        self._head = bundle.head()
        self._dtype: torch.dtype = getattr(torch, self._numerics.dtype)
        # By one of these, too: threads that share the work on a layer's weights mostly wait for each other.
        self._network = self._streams.submit(self._network_in, self._dtype).result()
        self._mean = torch.tensor(spec.mean, device=self._device) * 255
        self._std = torch.tensor(spec.std, device=self._device) * 255
        self.batch = streams * _WINDOW_TILES
        if self._device.type != "cpu":
            self.batch = batch or self._batch_by_memory((spec.tile_px + 2 * spec.halo_px) ** 2)
        self._chosen_batch = self.batch

    @property
    def numerics(self) -> dict[str, Any]:
        """What decides the bits of the result besides the bundle."""
        # On a GPU the batch chooses the algorithm, and so the rounding; on a CPU windows go one by one.
        return asdict(self._numerics) | ({} if self._device.type == "cpu" else {"batch": self._chosen_batch})

    def _network_in(self, dtype: torch.dtype) -> nn.Module:
        """Load the network, ready to compute in a number type on this device."""
        network = fold_batch_norm(load_network(self._bundle))
        if self._device.type == "cpu" and dtype is not torch.float16:  # which oneDNN has on few processors
            network = fuse_activations(network, dtype)
        try:
            network = network.to(self._device).to(memory_format=torch.channels_last)
        except RuntimeError as error:
            raise _explained(error, self._device) from error
        return network.half() if dtype is torch.float16 else network

    @cached_property
    def _exact(self) -> nn.Module:
        """The network in single precision, for what half precision cannot hold."""
        return self._network_in(torch.float32)

    def _batch_by_memory(self, tile_pixels: int) -> int:
        # All of the device's memory, not what is free: a rerun must choose the same batch.
        on_gpu = self._device.type == "cuda"
        total = torch.cuda.mem_get_info(self._device)[1] if on_gpu else psutil.virtual_memory().total
        fitting = total // 4 // (tile_pixels * BYTES_PER_PIXEL)
        return int(min(max(fitting, 1), _BATCH_LIMIT[self._device.type]))

    def predict(self, windows: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        """Turn windows of tiles into maps; as `Predictor.predict`, E-NONFINITE only where fp32 gives it too."""
        if self._device.type == "cpu":
            return np.concatenate(list(self._streams.map(self._alone, windows)))
        try:
            return self._forward(windows)
        except RuntimeError as error:
            if len(windows) == 1 or not _is_out_of_memory(error):
                raise _explained(error, self._device) from error
        if self._device.type == "cuda":
            torch.cuda.empty_cache()
        half = len(windows) // 2
        self.batch = max(self.batch // 2, 1)
        return np.concatenate([self.predict(windows[:half]), self.predict(windows[half:])])

    def _alone(self, window: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        """Turn one window into maps: its bits depend on nothing else, as oneDNN's may on the size of a batch."""
        try:
            return self._forward(window[None])
        except RuntimeError as error:
            raise _explained(error, self._device) from error

    def _forward(self, windows: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        pixels = torch.from_numpy(windows)
        if self._device.type == "cuda":
            pixels = pixels.pin_memory().to(self._device, non_blocking=True)
        else:
            pixels = pixels.to(self._device)
        with torch.inference_mode():
            images = self._normalised(pixels)
            logits = self._logits(images, self._dtype)
            # A sum is finite if its terms are, and takes a tenth of the time that it takes to look at each.
            if not logits.sum().isfinite():
                logits = self._logits(images, torch.float32)
                if not logits.sum().isfinite():
                    raise InternalError("E-NONFINITE", "the network gave a value that is not finite")
            maps = self._head.activate(logits)
            quantised = maps.mul_(255).round_().to(torch.uint8)
        return np.ascontiguousarray(quantised.cpu().numpy())

    def _normalised(self, pixels: torch.Tensor) -> torch.Tensor:
        """Turn (n, h, w, 3) bytes into (n, 3, h, w), which lie in memory as the bytes do: channels_last."""
        n, height, width, _ = pixels.shape
        # By rows: by pixels of three values each it takes four times as long, a thirtieth of the network's time.
        rows = pixels.reshape(n, height, 3 * width).float()
        rows.sub_(self._mean.repeat(width)).div_(self._std.repeat(width))
        return rows.reshape(n, height, width, 3).permute(0, 3, 1, 2)

    def _logits(self, images: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
        network = self._network if dtype is self._dtype else self._exact
        if dtype is torch.float16:
            images = images.half()
        with torch.autocast(self._device.type, dtype=torch.bfloat16, enabled=dtype is torch.bfloat16):
            return network(images).float()  # type: ignore[no-any-return]


def _explained(error: RuntimeError, device: torch.device) -> RuntimeError | ResourceError:
    """Turn a device's refusal into an error of ours; any other is a bug and stays what it is."""
    elsewhere = "" if device.type == "cpu" else " or use --device cpu"
    if _is_out_of_memory(error):
        fix = f"close other programs{elsewhere}; the same command goes on"
        return ResourceError("E-MEMORY", "the network does not fit in memory", where=device, fix=fix)
    if isinstance(error, torch.AcceleratorError) or str(error).startswith(_DEVICE_ERRORS):
        reason = str(error).partition("\n")[0]
        fix = f"run the same command again{elsewhere}; finished work is kept"
        return ResourceError("E-DEVICE-FAILED", reason, where=device, fix=fix)
    return error


def _is_out_of_memory(error: RuntimeError) -> bool:
    return isinstance(error, torch.OutOfMemoryError) or "not enough memory" in str(error)
