"""A file from the Hugging Face hub: from its cache, else downloaded. A hub out of reach is told within seconds."""

from __future__ import annotations

import logging
import threading
from concurrent.futures import Future
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import huggingface_hub

from wsiseg.errors import ResourceError

if TYPE_CHECKING:
    from collections.abc import Callable

ANSWER_SECONDS = 8.0
"""How long the hub may take to say that it has the file."""
_FILE = "model.safetensors"

T = TypeVar("T")


def fetch(repo: str, revision: str, *, endpoint: str | None = None, cache: Path | None = None) -> Path:
    """Give the path of a hub repository's `model.safetensors`, which lies in the hub's cache or is put there.

    Parameters
    ----------
    repo, revision
        Such as `timm/inception_v3.tv_in1k` and a commit or branch. What is in the cache is not asked for again.
    endpoint, cache
        The hub's address and the cache's folder; by default the hub's own settings (HF_ENDPOINT, HF_HOME).

    Raises
    ------
    ResourceError
        E-HUB: the hub cannot be reached, does not have the file, or breaks off.
    """
    cached = huggingface_hub.try_to_load_from_cache(repo, _FILE, cache_dir=cache, revision=revision)
    if isinstance(cached, str):
        return Path(cached)
    # The client tells of every attempt that fails; the last one is raised, and that is enough.
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)
    url = huggingface_hub.hf_hub_url(repo, _FILE, revision=revision, endpoint=endpoint)
    try:
        # The download asks again and again, for more than half a minute; so ask once, and only then download.
        # Its own time-out only ends the thread, later: two limits at once would race for the words.
        _within(ANSWER_SECONDS, lambda: huggingface_hub.get_hf_file_metadata(url, timeout=2 * ANSWER_SECONDS))
        return Path(
            huggingface_hub.hf_hub_download(repo, _FILE, revision=revision, endpoint=endpoint, cache_dir=cache)
        )
    except Exception as error:  # the errors of the hub's client differ by its version and its libraries
        reason = str(error).partition("\n")[0] or type(error).__name__
        raise ResourceError(
            "E-HUB",
            f"the encoder's ImageNet weights cannot be fetched ({reason})",
            where=url,
            fix="check the network, or give a file with --encoder-weights",
        ) from error


def _within(seconds: float, work: Callable[[], T]) -> T:
    """Give what `work` gives. A thread, because looking up a name and trying all its addresses has no limit."""
    answer: Future[T] = Future()

    def run() -> None:
        try:
            answer.set_result(work())
        except Exception as error:  # noqa: BLE001 - raised again by the thread that waits
            answer.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    try:
        return answer.result(seconds)
    except TimeoutError as error:
        raise TimeoutError(f"no answer within {seconds:g} s") from error
