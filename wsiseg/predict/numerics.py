"""What decides the bits of a forward pass: version, device, number type, threads, processor, environment."""

from __future__ import annotations

import os
import platform
import sys
from dataclasses import dataclass

import torch

from wsiseg.host import usable_cores

_CHOICES = (
    "ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA", "ONEDNN_DEFAULT_FPMATH_MODE", "DNNL_DEFAULT_FPMATH_MODE",
    "MKL_CBWR", "NVIDIA_TF32_OVERRIDE", "TORCH_ALLOW_TF32_CUBLAS_OVERRIDE", "CUBLAS_WORKSPACE_CONFIG",
)  # fmt: skip
"""Variables of the environment that change which sums torch's libraries compute."""


@dataclass(frozen=True)
class Numerics:
    """What decides the bits of a forward pass: equal numerics give equal bytes."""

    torch_version: str
    device: str
    dtype: str
    threads: int
    cpu_capability: str
    """Instruction sets that torch and oneDNN choose their sums by."""
    environment: str
    """Variables by which somebody made the libraries choose others, as `NAME=value` with spaces between."""

    @classmethod
    def of(cls, device: torch.device, threads: int | None = None) -> Numerics:
        """Choose the numerics for a device of this machine, with so many threads or all cores on a CPU."""
        dtype = choose_dtype(device)
        return cls(
            torch_version=torch.__version__,
            device=torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
            dtype=str(dtype).removeprefix("torch."),
            threads=(threads or usable_cores()) if device.type == "cpu" else 0,
            cpu_capability=_cpu_capability() if device.type == "cpu" else "",
            environment=" ".join(f"{name}={os.environ[name]}" for name in _CHOICES if name in os.environ),
        )


def _cpu_capability() -> str:
    """Name what torch uses, and what only oneDNN does."""
    extras = {"BF16": _has_avx512_bf16(), "AMX": _has_amx()}
    return " ".join([torch.backends.cpu.get_cpu_capability(), *(name for name, there in extras.items() if there)])


def choose_dtype(device: torch.device) -> torch.dtype:
    """Give the type the network computes in: half precision where it is faster.

    On CPUs bf16 pays only where the processor multiplies it at double rate: with AMX, and on AMD since Zen 4. On
    Intel with AVX-512 bf16 alone it was measured slower than fp32.
    """
    if device.type == "cuda":
        return torch.float16
    if device.type == "cpu" and (_has_amx() or (_has_avx512_bf16() and "AMD" in _cpu_vendor())):
        return torch.bfloat16
    return torch.float32


def _has_amx() -> bool:
    check = getattr(torch.cpu, "_is_amx_tile_supported", None)
    return bool(check and check())


def _has_avx512_bf16() -> bool:
    check = getattr(torch.cpu, "_is_avx512_bf16_supported", None)
    return bool(check and check())


def _cpu_vendor() -> str:
    """The processor's vendor: the kernel's word on Linux, the interpreter's elsewhere."""
    if sys.platform == "linux":
        try:
            with open("/proc/cpuinfo", encoding="ascii", errors="replace") as lines:
                return next((line for line in lines if line.startswith("vendor_id")), "")
        except OSError:
            pass
    return platform.processor()
