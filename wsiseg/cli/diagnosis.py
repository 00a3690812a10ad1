"""What `wsiseg doctor` prints."""

from __future__ import annotations

import locale
import os
import platform
import shutil
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from wsiseg import __version__
from wsiseg.host import available_bytes, usable_cores

PACKAGES = (
    "torch", "openvino", "segmentation-models-pytorch", "timm", "safetensors", "openslide-python", "openslide-bin",
    "tiffslide", "tifffile", "imagecodecs", "zarr", "numcodecs", "dask", "numpy", "opencv-python-headless",
    "shapely", "pyarrow", "orjson", "click", "rich",
)  # fmt: skip


def diagnosis() -> dict[str, dict[str, object]]:
    """Gather versions, devices and limits; nothing about slides, users or paths."""
    return {"system": _system(), "packages": _packages(), "compute": _compute(), "models": _models()}


def _system() -> dict[str, object]:
    disk = shutil.disk_usage(Path.cwd())
    facts: dict[str, object] = {
        "wsiseg": __version__,
        "python": f"{platform.python_version()} ({sys.implementation.name})",
        "platform": platform.platform(),
        "machine": platform.machine(),
        "cores installed / usable": f"{os.cpu_count()} / {usable_cores()}",
        "memory available": f"{available_bytes() / 1e9:.1f} GB",
        "disk free here": f"{disk.free / 1e9:.1f} GB",
        "encoding": f"{sys.getfilesystemencoding()}, {locale.getpreferredencoding(do_setlocale=False)}",
    }
    try:
        import resource  # not on Windows
    except ImportError:
        return facts
    facts["open files allowed"] = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return facts


def _packages() -> dict[str, object]:
    found: dict[str, object] = {}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    import openslide

    found["OpenSlide library"] = openslide.__library_version__
    return found


def _compute() -> dict[str, object]:
    from wsiseg.predict import describe_devices

    return describe_devices()


def _models() -> dict[str, object]:
    from wsiseg.models.bundle import list_bundles

    return {
        bundle.spec.name: f"{bundle.spec.mpp:g} um/px, sha256 {bundle.sha256[:12]}" for bundle in list_bundles()
    }
