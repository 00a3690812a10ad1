"""What goes between the process of a run and the one that reads its slide: lines of JSON, never pickle.

Pixels do not: they lie in shared memory.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from wsiseg.errors import SlideError, WsisegError
from wsiseg.geometry import Box, Frame
from wsiseg.slides.base import SlideInfo
from wsiseg.slides.mpp import Mpp

STARTED, OPENED = -2, -1
"""Numbers of the two answers that nobody asks for; reads are numbered from 0."""


def packed(content: dict[str, Any]) -> bytes:
    """Give a message as one line; a path that is no text survives (orjson refuses it)."""
    return json.dumps(content).encode() + b"\n"


def unpacked(line: bytes) -> dict[str, Any]:
    """Read a line.

    Raises
    ------
    ValueError
        It is no JSON object.
    """
    content = json.loads(line)
    if not isinstance(content, dict):
        raise ValueError("not an object")
    return content


def error_content(error: WsisegError) -> list[str]:
    """Give an error as JSON values."""
    return [error.code, error.what, error.where, error.fix]


def error_from(content: list[str]) -> SlideError:
    """Make the error that the other process met; all of its errors are about the slide."""
    code, what, where, fix = content
    return SlideError(code, what, where=where, fix=fix)


def info_content(info: SlideInfo) -> dict[str, Any]:
    """Give a description as JSON values."""
    return {**asdict(info), "path": str(info.path)}


def info_from(content: dict[str, Any]) -> SlideInfo:
    """Make a description from what `info_content` gave."""
    frames = (Frame(**{**level, "origin": tuple(level["origin"])}) for level in content["levels"])
    red, green, blue = content["background"]
    return SlideInfo(
        **{
            **content,
            "path": Path(content["path"]),
            "levels": tuple(frames),
            "mpp": mpp_from(content["mpp"]),
            "background": (red, green, blue),
            "bounds": Box(**content["bounds"]) if content["bounds"] else None,
        }
    )


def mpp_content(mpp: Mpp | None) -> dict[str, Any] | None:
    """Give a pixel size as JSON values."""
    return asdict(mpp) if mpp else None


def mpp_from(content: dict[str, Any] | None) -> Mpp | None:
    """Make a pixel size from what `mpp_content` gave."""
    return Mpp(**content) if content else None
