"""The cohort's own ledger, `cohort.jsonl`: what became of each slide, over all calls."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from wsiseg.run.journal import Journal, peek

if TYPE_CHECKING:
    from pathlib import Path

    from wsiseg.errors import WsisegError

COMPLETE, FAILED, WAITING = "complete", "failed", "waiting"
"""States of a slide; one that is begun and not finished waits."""


@dataclass(frozen=True, slots=True)
class SlideOutcome:
    """How far a slide has come."""

    id: str
    state: str = WAITING
    code: str = ""
    """Why it failed: a key of `errors.CODES`."""
    message: str = ""
    tries: int = 0
    """How often it was begun."""
    seconds: float | None = None
    """Of its last try, from its begin to its end."""


def count_states(path: Path) -> dict[str, int]:
    """Count the slides of a ledger by their state, without touching the file."""
    outcomes: dict[str, SlideOutcome] = {}
    for line in peek(path) if path.is_file() else []:
        after = _after(outcomes.get(str(line.get("slide"))), line)
        outcomes[after.id] = after
    return dict(sorted(Counter(outcome.state for outcome in outcomes.values()).items()))


class Book:
    """The ledger of one cohort folder.

    Parameters
    ----------
    path
        `cohort.jsonl`; written by one process at a time.
    """

    def __init__(self, path: Path) -> None:
        self._journal = Journal(path)
        self._outcomes: dict[str, SlideOutcome] = {}
        self._lost: dict[str, Counter[str]] = {}
        for line in self._journal.lines:
            self._apply(line)

    def outcome(self, slide: str) -> SlideOutcome:
        """Give how far a slide has come."""
        return self._outcomes.get(slide, SlideOutcome(slide))

    def begun(self, slide: str) -> None:
        """Note that a slide is begun, or gone on with."""
        self._note(slide, "begun")

    def complete(self, slide: str, seconds: float | None = None) -> SlideOutcome:
        """Note that a slide is complete."""
        return self._note(slide, COMPLETE, seconds=seconds)

    def failed(self, slide: str, error: WsisegError, seconds: float) -> SlideOutcome:
        """Note that a slide failed."""
        return self._note(slide, FAILED, code=error.code, message=str(error), seconds=seconds)

    def lost(self, slide: str, task: str) -> int:
        """Note that a worker died with this task alone; give how often since the slide last ended."""
        self._note(slide, "lost", task=task)
        return self._lost[slide][task]

    def _note(self, slide: str, event: str, **facts: Any) -> SlideOutcome:  # noqa: ANN401 - JSON values
        line = {"slide": slide, "event": event, **facts}
        self._journal.append(line)
        self._apply(line)
        return self.outcome(slide)

    def _apply(self, line: dict[str, Any]) -> None:
        slide = str(line.get("slide"))
        after = _after(self._outcomes.get(slide), line)
        self._outcomes[slide] = after
        if line.get("event") == "lost":
            self._lost.setdefault(slide, Counter())[str(line.get("task"))] += 1
        elif after.state != WAITING:
            self._lost.pop(slide, None)


def _after(before: SlideOutcome | None, line: dict[str, Any]) -> SlideOutcome:
    """Give what a slide is after a line of the ledger; lines of later versions change nothing."""
    slide = str(line.get("slide"))
    before = before or SlideOutcome(slide)
    match line.get("event"):
        case "begun":
            return SlideOutcome(slide, tries=before.tries + 1)
        case "complete":
            return SlideOutcome(slide, COMPLETE, tries=before.tries, seconds=line.get("seconds"))
        case "failed":
            code, message = str(line.get("code", "")), str(line.get("message", ""))
            return SlideOutcome(slide, FAILED, code, message, before.tries, line.get("seconds"))
        case _:
            return before
