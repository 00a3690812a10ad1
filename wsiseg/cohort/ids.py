"""The name of a slide's folder in a cohort: unique, the same on every call, and possible on every file system."""

from __future__ import annotations

import re
import unicodedata

LONGEST = 80
"""Characters of an id at most; Windows has 260 for a whole path."""
_DIGITS = 8
"""Of the content's digest: among a thousand slides of one name, two share them in one cohort of 8,600."""
_RESERVED = re.compile(r"(?:con|prn|aux|nul|com[0-9]|lpt[0-9])(?:\..*)?", re.IGNORECASE)
"""Names that Windows keeps for devices, whatever follows the first dot."""
_FORBIDDEN = re.compile(r'[<>:"/\\|?*]')


def automatic_id(stem: str, content: str) -> str:
    """Name a slide by its file and its content, so that the name depends on no other slide.

    Parameters
    ----------
    stem
        The file's name without its suffix; what is not plain ASCII is replaced.
    content
        Hexadecimal digest that tells the slide from all others.
    """
    letters = (letter for letter in unicodedata.normalize("NFKD", stem) if not unicodedata.combining(letter))
    plain = re.sub(r"[^A-Za-z0-9._-]+", "_", "".join(letters))
    name = plain[: LONGEST - _DIGITS - 1].strip("._-") or "slide"
    whole = f"{name}-{content[:_DIGITS]}"
    return f"_{whole[1:]}" if _RESERVED.fullmatch(whole) else whole


def folded(name: str) -> str:
    """Give the form in which file systems that ignore case compare names."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def objection(name: str) -> str:
    """Say why an id that a user chose cannot name a folder; empty if it can."""
    found = _FORBIDDEN.search(name)
    if found:
        return f"it holds {found.group()!r}"
    if not name.isprintable() or name != name.strip():
        return "it holds characters that cannot be seen"
    if len(name) > LONGEST or len(name.encode("utf-8", "replace")) > 2 * LONGEST:
        return f"it is longer than {LONGEST} characters"
    if name.startswith((".", "-")) or name.endswith("."):
        return "it begins with a dot or dash or ends with a dot"
    if _RESERVED.fullmatch(name):
        return "Windows reserves that name"
    if folded(name) == "lock" or folded(name).startswith("cohort.") or folded(name).endswith(".partial"):
        return "the cohort's own files have such names"
    return ""
