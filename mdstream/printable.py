"""Text from the bus, from clients and from gateways, made safe for a log line or a terminal.

Control characters, line breaks, and the marks that reorder or hide text are replaced by escapes, as ``repr`` writes them. So no text
can begin a second log line, move the cursor, or look like another text.
"""

from __future__ import annotations

import re

_IN_JSON = re.compile(r"[^\x20-\x7e\n]")


def printable(text: object) -> str:
    """``text`` on one line: ``\\x1b`` for an escape character, ``\\n`` for a line break, ``\\u202e`` for a bidi override."""
    shown = str(text)
    return shown if shown.isprintable() else "".join(map(_escaped, shown))


def printable_lines(text: object) -> str:
    """As ``printable``, but a line break stays where the next line is indented: no line but the first begins at the margin."""
    first, *others = str(text).split("\n")
    lines = (("\n" if line.startswith("  ") else "\\n") + printable(line) for line in others)
    return "".join([printable(first), *lines])


def printable_json(text: str) -> str:
    """JSON with the same meaning that holds no such character; line breaks between values stay."""
    return text if text.replace("\n", " ").isprintable() else _IN_JSON.sub(_json_escaped, text)


def _escaped(character: str) -> str:
    if character.isprintable():
        return character
    return character.encode("unicode_escape").decode()


def _json_escaped(found: re.Match[str]) -> str:
    character = found[0]
    if character.isprintable():
        return character
    units = character.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[i : i + 2].hex()}" for i in range(0, len(units), 2))
