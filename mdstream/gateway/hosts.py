"""Which names the admin pages may be asked for by, without I/O.

A page of a stranger can have its own name lead to this machine (DNS rebinding), and then a browser here asks the admin pages in that
name. So a name counts only if it is known. An address in ``Host`` is no such name.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from ipaddress import ip_address

ANY = "*"

_HOST = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[^:\[\]/@\s]+)(?::\d{1,5})?")
_FIELD = re.compile(rb"host[ \t]*:(.*)", re.IGNORECASE | re.DOTALL)
_AUTHORITY = re.compile(rb"\S+ https?://([^/?#\s]*)", re.IGNORECASE)


class Hosts:
    """The names of this listener: loopback, where it listens, and ``names``; with ``*`` every name."""

    def __init__(self, bound: str, names: Iterable[str]) -> None:
        self._names = {"localhost", bound.lower(), *(name.lower() for name in names)}

    def allow(self, host: str) -> bool:
        """Whether the value of a ``Host`` header, with a port or without, names this listener."""
        found = _HOST.fullmatch(host)
        if found is None:
            return False
        name = found[1].lower().rstrip(".")
        return ANY in self._names or name in self._names or _is_address(name)


def hosts_of(head: bytes) -> list[str]:
    """Whom a request asks: its ``Host`` headers, and the authority of a target in absolute form. Browsers always send one."""
    first, *lines = head.removeprefix(b"\r\n").split(b"\r\n")
    found = [match[1].strip(b" \t") for line in lines if (match := _FIELD.fullmatch(line))]
    if authority := _AUTHORITY.match(first):
        found.append(authority[1])
    return [each.decode("latin-1") for each in found]


def _is_address(name: str) -> bool:
    try:
        ip_address(name.strip("[]"))
    except ValueError:
        return False
    return True
