"""Values from outside, and what is wrong with them, in the words of JSON and MessagePack instead of Python's."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Final

_KINDS: Final[dict[type, str]] = {
    type(None): "null",
    bool: "a boolean",
    int: "an integer",
    float: "a float",
    str: "a string",
    bytes: "binary",
    list: "an array",
    tuple: "an array",
    dict: "a map",
}
_WANTED: Final = {
    "null": "null",
    "bool": "a boolean",
    "int": "an integer",
    "float": "a number",
    "str": "a string",
    "bytes": "binary",
    "array": "an array",
    "object": "a map",
}
"""What msgspec calls them."""
_PARTS: Final = {"str": "characters", "bytes": "bytes", "array": "entries", "object": "keys"}
_BOUNDS: Final = {">=": "at least", "<=": "at most", ">": "more than", "<": "less than"}
_SHOWN: Final = 72
"""Characters of a value that are shown."""
_MOST_SHOWN: Final = 200
"""Characters of what is wrong with one."""
_DEEP: Final = 8


def kind_of(value: object) -> str:
    """What a decoded value is: ``a map``, ``an integer``, ``null``."""
    return _KINDS.get(type(value), "an extension")


def shown(value: object) -> str:
    """A value from outside, short and printable; an array, a map or binary by its kind alone."""
    if isinstance(value, str):
        text = ascii(value[:_SHOWN])
    elif value is None or isinstance(value, bool | int | float):
        text = written(value)
    else:
        text = kind_of(value)
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 3]}…"


def written(value: object, deep: int = _DEEP) -> str:
    """As JSON writes it, but a string with single quotes: ``['a', null]``. What is nested deeper is left out."""
    if isinstance(value, list | tuple | dict) and not deep:
        return "…"
    if isinstance(value, list | tuple):
        return f"[{', '.join(written(each, deep - 1) for each in value)}]"
    if isinstance(value, dict):
        rows = (f"{written(key, deep - 1)}: {written(each, deep - 1)}" for key, each in value.items())
        return f"{{{', '.join(rows)}}}"
    if value is None or isinstance(value, bool):
        return "null" if value is None else str(value).lower()
    if isinstance(value, bytes):
        return f"bytes {value.hex(' ')}"
    return repr(value) if isinstance(value, str | int | float) else str(value)


# ---- what msgspec says


def explained(error: Exception) -> str:
    """``Expected `int`, got `bool` - at `$.depth``` → ``depth: must be an integer, not a boolean``; printable and short."""
    path, what = problem_of(error)
    return with_path(path, what)


def with_path(path: str, what: str) -> str:
    """It may name a key of a client's, which may hold anything."""
    text = f"{path}: {what}" if path else what
    text = "".join(each if each.isprintable() else ascii(each)[1:-1] for each in text[:_MOST_SHOWN])
    return text if len(text) < _MOST_SHOWN else f"{text[: _MOST_SHOWN - 1]}…"


def problem_of(error: Exception) -> tuple[str, str]:
    """Where a value is wrong (empty: all of it), and how."""
    what, path = _PLACE.fullmatch(str(error)).group("what", "path")  # type: ignore[union-attr]  # it matches any text
    path = (path or "").removeprefix("$").removeprefix(".")
    for pattern, say in _WORDINGS:
        if found := pattern.fullmatch(what):
            return path, say(*found.groups())
    return path, what


_PLACE: Final = re.compile(r"(?P<what>.*?)(?: - at (?:`key` in )?`(?P<path>\$[^`]*)`)?", re.DOTALL)


def _of_another_kind(wanted: str, was: str) -> str:
    *others, last = (_WANTED.get(each, each) for each in wanted.split(" | "))
    kinds = f"{', '.join(others)} or {last}" if others else last
    kind = "a float" if was == "float" else _WANTED.get(was, "an extension")
    return f"must be {kinds}, not {kind}"


def _beyond(bound: str, number: str) -> str:
    return f"must be {_BOUNDS[bound]} {number}"


def _of_another_length(kind: str, bound: str, number: str) -> str:
    return f"must have {_BOUNDS[bound]} {number} {_PARTS[kind]}"


def _of_other_entries(bound: str | None, number: str, was: str) -> str:
    return f"must have {bound or ''}{number} entries, not {was}"


_WORDINGS: Final[tuple[tuple[re.Pattern[str], Callable[..., Any]], ...]] = (
    (re.compile(r"Expected `([^`]+)`, got `([^`]+)`"), _of_another_kind),
    (re.compile(r"Expected `(?:int|float)` ([<>]=?) (\S+)"), _beyond),
    (re.compile(r"Expected `(str|bytes|array|object)` of length ([<>]=) (\d+)"), _of_another_length),
    (re.compile(r"Expected `array` of (at least |at most )?length (\d+), got (\d+)"), _of_other_entries),
    (re.compile(r"Object (?:contains )?((?:unknown|missing required) field .*)", re.DOTALL), str),
)
