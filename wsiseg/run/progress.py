"""How a run tells how far it is, without knowing who watches."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """Someone who watches a run. Called from one thread at a time."""

    def stage(self, name: str, total: int, done: int = 0) -> None:
        """A stage begins, with `total` steps of which `done` were done by an earlier run."""
        ...

    def advance(self, steps: int = 1) -> None:
        """So many more steps of the stage are done."""
        ...

    def nuclei(self, count: int) -> None:
        """So many nuclei are known by now."""
        ...

    def note(self, text: str) -> None:
        """Something that the user should know."""
        ...


class Silent:
    """Nobody watches."""

    def stage(self, name: str, total: int, done: int = 0) -> None:
        """Ignore."""

    def advance(self, steps: int = 1) -> None:
        """Ignore."""

    def nuclei(self, count: int) -> None:
        """Ignore."""

    def note(self, text: str) -> None:
        """Ignore."""
