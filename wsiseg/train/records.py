"""From the tables of a TOML file to frozen dataclasses: every key known, every value of its type and limits.

Knows no training: what the tables mean stands in the dataclasses.
"""

from __future__ import annotations

import dataclasses
import types
import typing
from math import inf, isfinite
from typing import Any


def within(low: float, high: float = inf, **default: Any) -> Any:  # noqa: ANN401 - a field has its value's type
    """Declare a dataclass field whose number has limits, both included; `default` as in `dataclasses.field`."""
    return dataclasses.field(metadata={"limits": (low, high)}, **default)


def record_from(kind: type, table: object, where: str = "") -> Any:  # noqa: ANN401 - an instance of kind
    """Build a dataclass from a table, and the dataclasses and tuples inside it.

    Parameters
    ----------
    where
        Key of the table, for messages; empty for the whole file.

    Raises
    ------
    ValueError
        A key is unknown or missing, or a value of the wrong type or beyond its limits; the message names the key.
    """
    if not isinstance(table, dict):
        raise ValueError(f"{where or 'the file'} is not a table")
    hints = typing.get_type_hints(kind)
    fields = {field.name: field for field in dataclasses.fields(kind)}
    place = f" in [{where}]" if where else ""
    if unknown := sorted(set(table) - set(fields)):
        raise ValueError(f"unknown key{place}: {', '.join(unknown)}")
    if missing := [name for name, field in fields.items() if name not in table and _is_required(field)]:
        raise ValueError(f"missing key{place}: {', '.join(missing)}")
    prefix = f"{where}." if where else ""
    values = {name: _value(hints[name], item, prefix + name) for name, item in table.items()}
    for name, value in values.items():
        low, high = fields[name].metadata.get("limits", (-inf, inf))
        if fields[name].metadata and not low <= value <= high:
            raise ValueError(f"{prefix}{name} is {value}, not {_limits(low, high)}")
    return kind(**values)


def _is_required(field: dataclasses.Field[Any]) -> bool:
    return field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING


def _limits(low: float, high: float) -> str:
    return f"within {low} to {high}" if high < inf else f"at least {low}"


def _value(kind: Any, value: Any, where: str) -> Any:  # noqa: ANN401 - a type and a value of it
    """Check a value against a type and build dataclasses and tuples on the way."""
    origin = typing.get_origin(kind)
    if dataclasses.is_dataclass(kind) and isinstance(kind, type):
        return record_from(kind, value, where)
    if isinstance(kind, types.UnionType):  # of a dataclass and None, which no TOML can say
        return record_from(typing.get_args(kind)[0], value, where)
    if origin is tuple:
        return _tuple(typing.get_args(kind), value, where)
    if origin is typing.Literal:
        return _choice(typing.get_args(kind), value, where)
    if origin is dict and isinstance(value, dict):
        _, inner = typing.get_args(kind)
        return {key: _value(inner, item, f"{where}.{key}") for key, item in value.items()}
    if kind is float and type(value) is int:
        return float(value)
    if isinstance(origin or kind, types.GenericAlias) or type(value) is not (origin or kind):
        raise ValueError(f"{where} is {value!r}, not a {getattr(kind, '__name__', kind)}")
    if kind is float and not isfinite(value):
        raise ValueError(f"{where} is {value}, not a finite number")
    return value


def _choice(choices: tuple[str, ...], value: object, where: str) -> object:
    if value not in choices:
        raise ValueError(f"{where} is {value!r}, not one of {', '.join(choices)}")
    return value


def _tuple(kinds: tuple[Any, ...], value: object, where: str) -> tuple[Any, ...]:
    if not isinstance(value, list | tuple):
        raise ValueError(f"{where} is not a list")
    if len(kinds) == 2 and kinds[1] is Ellipsis:
        kinds = (kinds[0],) * len(value)
    if len(kinds) != len(value):
        raise ValueError(f"{where} has {len(value)} values instead of {len(kinds)}")
    return tuple(
        _value(kind, item, f"{where}[{i}]") for i, (kind, item) in enumerate(zip(kinds, value, strict=True))
    )
