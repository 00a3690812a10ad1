"""How a cohort tells how far it is, without knowing who watches."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from wsiseg.cohort.book import SlideOutcome


class Watcher(Protocol):
    """Someone who watches a cohort. Called from one thread."""

    def begin(self, slides: int, done: int) -> None:
        """So many slides are listed, of which so many were complete before."""
        ...

    def planned(self, tiles: int, done: int) -> None:
        """One more slide has so many tiles, of which `done` were inferred before."""
        ...

    def inferred(self, tiles: int) -> None:
        """So many more tiles are inferred."""
        ...

    def nuclei(self, count: int) -> None:
        """So many more nuclei are found."""
        ...

    def ended(self, outcome: SlideOutcome) -> None:
        """One more slide is complete or failed."""
        ...

    def note(self, text: str) -> None:
        """Something that the user should know."""
        ...


class Unwatched:
    """Nobody watches."""

    def begin(self, slides: int, done: int) -> None:
        """Ignore."""

    def planned(self, tiles: int, done: int) -> None:
        """Ignore."""

    def inferred(self, tiles: int) -> None:
        """Ignore."""

    def nuclei(self, count: int) -> None:
        """Ignore."""

    def ended(self, outcome: SlideOutcome) -> None:
        """Ignore."""

    def note(self, text: str) -> None:
        """Ignore."""
