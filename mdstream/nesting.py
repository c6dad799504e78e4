"""Bounds how deep foreign JSON is nested, before it is read.

Python's reader recurses. At the limit it raises RecursionError, which is caught; but whatever else runs just then, such as a callback of
the garbage collector, fails as well, and nobody can catch that.
"""

from __future__ import annotations

from typing import Final

MOST_DEEP: Final = 64


def is_deep(text: str, most: int = MOST_DEEP) -> bool:
    """Whether more than ``most`` brackets are open at once somewhere, those in strings counted too."""
    if text.count("[") + text.count("{") <= most:
        return False
    depth = 0
    for each in text:
        if each in "[{":
            depth += 1
            if depth > most:
                return True
        elif each in "]}":
            depth -= 1
    return False
