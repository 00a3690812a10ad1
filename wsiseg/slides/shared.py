"""Memory that two processes share, for pixels. Knows neither pixels nor processes.

On Linux it is anonymous (memfd), so that a full or small shared-memory disk does not matter; on macOS a temporary
file without a name; on Windows named memory of the paging file. Slots that nobody touched take no memory.
"""

from __future__ import annotations

import mmap
import os
import secrets
import tempfile
from contextlib import suppress
from typing import Any

SLOT_BYTES = 64 * 2**20
"""Room of one slot: a read of `sampling.LARGEST_SOURCE_PX` and its context fits."""


class SharedSlots:
    """Slots of shared memory, numbered from 0, mapped when they are first asked for.

    Parameters
    ----------
    name
        What another process gave as its `name`; empty to make new memory.
    """

    def __init__(self, name: str = "") -> None:
        self._slots: dict[int, mmap.mmap] = {}
        self._owner = not name
        self.descriptors: tuple[int, ...] = ()
        """What the other process must inherit."""
        if os.name == "nt":
            self.name = name or f"wsiseg-{secrets.token_hex(16)}"
        else:
            self._descriptor = int(name) if name else _anonymous()
            self.name, self.descriptors = str(self._descriptor), (self._descriptor,)

    def slot(self, number: int) -> mmap.mmap:
        """Give a slot's memory, `SLOT_BYTES` long."""
        if number not in self._slots:
            self._slots[number] = self._map(number)
        return self._slots[number]

    def close(self) -> None:
        """Give the memory back."""
        while self._slots:
            with suppress(BufferError):  # somebody still copies pixels out of it, and frees it after that
                self._slots.popitem()[1].close()
        if os.name != "nt":
            os.close(self._descriptor)

    def _map(self, number: int) -> mmap.mmap:
        if os.name == "nt":
            options: dict[str, Any] = {"tagname": f"{self.name}-{number}"}
            return mmap.mmap(-1, SLOT_BYTES, **options)
        if self._owner:
            os.ftruncate(self._descriptor, max(os.fstat(self._descriptor).st_size, (number + 1) * SLOT_BYTES))
        return mmap.mmap(self._descriptor, SLOT_BYTES, offset=number * SLOT_BYTES)


def _anonymous() -> int:
    """Give the descriptor of a file that has no name."""
    if hasattr(os, "memfd_create"):
        return os.memfd_create("wsiseg")
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())
