"""What `model.json` may hold: one line a key, and a JSON parser that forgives nothing."""

from __future__ import annotations

import json
import re
from collections import Counter
from math import isfinite
from typing import TYPE_CHECKING, Any

from wsiseg.models.heads import HEADS
from wsiseg.typemap import MOST_CLASSES

if TYPE_CHECKING:
    from collections.abc import Callable

    Rule = Callable[[Any], bool]

ARCHITECTURES = ("unet",)
_DECODER_STAGES = 5
_ENCODER_STRIDE_PX = 32
_MAX_DEPTH = 32
"""Of nested lists and objects; those of a bundle have six."""
_COARSEST = 8
"""How much coarser types may look at a slide than outlines."""
_MAX_SHOWN = 80
"""Characters of a stranger's text in a message."""


def parse_strict(data: bytes) -> dict[str, Any]:
    """Parse a JSON object of a stranger's.

    Raises
    ------
    ValueError
        Broken JSON or no UTF-8; a key twice, NaN, an infinity or a whole number beyond 64 bits; lists and objects
        nested too deeply. A RecursionError is possible too.
    """
    record = json.loads(
        data.decode("utf-8"),
        object_pairs_hook=_once,
        parse_constant=_refuse,
        parse_float=_finite,
        parse_int=_whole64,
    )
    if not isinstance(record, dict):
        raise ValueError("not a JSON object")
    _check_depth(record, _MAX_DEPTH)
    # JSON can spell halves of characters, which no file that is written later could hold.
    json.dumps(record, ensure_ascii=False).encode("utf-8")
    return record


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    record = dict(pairs)
    if len(record) != len(pairs):
        (name, _), *_ = Counter(name for name, _ in pairs).most_common(1)
        raise ValueError(f"a key stands twice: {shortened(name)}")
    return record


def _check_depth(value: object, left: int) -> None:
    if not isinstance(value, dict | list):
        return
    if left == 0:
        raise ValueError(f"lists and objects are nested more than {_MAX_DEPTH} deep")
    for item in value.values() if isinstance(value, dict) else value:
        _check_depth(item, left - 1)


def _refuse(constant: str) -> float:
    raise ValueError(f"{constant} is not a number")


def _finite(text: str) -> float:
    if not isfinite(value := float(text)):
        raise ValueError(f"{text} is not finite")
    return value


def _whole64(text: str) -> int:
    value = int(text)
    if not -(2**63) <= value < 2**63:
        raise ValueError(f"{shortened(text)} has more than 64 bits")
    return value


def shortened(text: str) -> str:
    """Cut a stranger's text to what a message can hold."""
    return text if len(text) <= _MAX_SHOWN else text[: _MAX_SHOWN - 3] + "..."


def check_spec(record: dict[str, Any]) -> None:
    """Raise ValueError unless a parsed `model.json` has the keys of `RULES`, no other, and sane values."""
    for name in RULES:
        if name not in record and name != "types":
            raise ValueError(f"{name} is missing")
    for name, value in record.items():
        if name not in RULES:
            raise ValueError(f"unknown key {shortened(name)}")
        if not RULES[name](value):
            raise ValueError(f"{name} cannot be {_shown(value)}")
    if bool(record.get("types")) != (len(record["classes"]) > 1):
        raise ValueError("several classes need types, which tell them apart, and one class has none")
    if record.get("types") and not record["mpp"] <= record["types"]["mpp"] <= _COARSEST * record["mpp"]:
        raise ValueError(f"types.mpp is not within 1 to {_COARSEST} times mpp")


def _shown(value: object) -> str:
    return shortened(json.dumps(value))


def _text(max_length: int, pattern: str = r".+") -> Rule:
    """Text of one line; `isprintable` leaves out what moves a terminal's cursor or turns the reading direction."""
    return lambda v: (
        isinstance(v, str) and len(v) <= max_length and v.isprintable() and bool(re.fullmatch(pattern, v))
    )


def _whole(low: int, high: int, step: int = 1) -> Rule:
    return lambda v: type(v) is int and low <= v <= high and v % step == 0


def _number(low: float, high: float) -> Rule:
    return lambda v: type(v) in (int, float) and low <= v <= high


def _list(item: Rule, low: int, high: int) -> Rule:
    return lambda v: isinstance(v, list) and low <= len(v) <= high and all(item(i) for i in v)


def _object(value: Any) -> bool:  # noqa: ANN401 - any JSON value
    return isinstance(value, dict)


def _settings(value: Any) -> bool:  # noqa: ANN401 - any JSON value
    return isinstance(value, dict) and all(type(v) in (int, float) for v in value.values())


def _class(value: Any) -> bool:  # noqa: ANN401 - any JSON value
    rules = {
        "value": _whole(1, 254),
        "name": _text(64),
        "color": _list(_whole(0, 255), 3, 3),
    }
    return isinstance(value, dict) and set(value) == set(rules) and all(r(value[k]) for k, r in rules.items())


def _types(value: Any) -> bool:  # noqa: ANN401 - any JSON value
    if value is None:
        return True
    rules = {"encoder": RULES["encoder"], "channels": _whole(1, 1024), "mpp": RULES["mpp"]}
    return isinstance(value, dict) and set(value) == set(rules) and all(r(value[k]) for k, r in rules.items())


def _classes(value: Any) -> bool:  # noqa: ANN401 - any JSON value
    if not _list(_class, 1, MOST_CLASSES)(value):
        return False
    return all(len({item[key] for item in value}) == len(value) for key in ("value", "name"))


RULES: dict[str, Rule] = {
    "spec_version": lambda v: type(v) is int and v == 1,
    "name": _text(64, r"[a-z0-9][a-z0-9._-]*"),
    "version": _text(32, r"[0-9A-Za-z][0-9A-Za-z.+-]*"),
    "architecture": lambda v: v in ARCHITECTURES,
    "encoder": _text(64, r"[a-z0-9][A-Za-z0-9._-]*"),
    "decoder_channels": _list(_whole(1, 1024), _DECODER_STAGES, _DECODER_STAGES),
    "head": lambda v: isinstance(v, str) and v in HEADS,
    "head_settings": _settings,
    "classes": _classes,
    "types": _types,
    # From electron-like oversampling to a slide's thumbnail; anything else is a slip of units.
    "mpp": _number(0.05, 20.0),
    # A block is 16 x 16 tiles; from 1024 px on, one alone has half a GB of maps.
    "tile_px": _whole(64, 1024, _ENCODER_STRIDE_PX),
    # A tile with both halos must suit the encoder too, hence half its stride.
    "halo_px": _whole(0, 256, _ENCODER_STRIDE_PX // 2),
    "mean": _list(_number(0.0, 1.0), 3, 3),
    "std": _list(_number(0.01, 10.0), 3, 3),
    "licence": _text(200),
    "weights_sha256": _text(64, r"[0-9a-f]{64}"),
    "training": _object,
    "metrics": _object,
}
"""Key of `model.json` -> what it may be."""
