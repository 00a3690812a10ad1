"""What the whole suite shares: where real data may lie, and quiet third parties."""

from __future__ import annotations

from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SHARED = ROOT.parent / "shared"


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real data beside the repository; tests that need it skip where it is absent."""
    if not SHARED.is_dir():
        pytest.skip("the folder of real data is not beside the repository")
    return SHARED


@pytest.fixture(scope="session")
def real_slides(shared: Path) -> Path:
    """The folder of real slides."""
    return shared / "data" / "slides"


@pytest.fixture(scope="session")
def typed_run(tmp_path_factory):
    """A finished run of three classes; see `typed_toy`."""
    from typed_toy import make_run

    return make_run(tmp_path_factory.mktemp("typed"))
