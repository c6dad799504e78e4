"""Which web pages may connect: by the header ``Origin``, which browsers set and pages cannot change (RFC 6454, RFC 6455 section 10.2).

A program without a browser sends none, and is let through: it could send what it likes.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import ip_address
from typing import NamedTuple

MAX_ORIGIN = 512
REMEMBERED = 1_024

_DEFAULT_PORTS = {"http": 80, "https": 443}
_AUTHORITY = re.compile(r"(\[[0-9a-f:.]+\]|[^\[\]:/@?#\s]+)(?::([0-9]{1,5}))?", re.ASCII | re.IGNORECASE)
_EVERY = "*"


class Place(NamedTuple):
    """``port`` 0 is the scheme's own, or, in a rule, any."""

    scheme: str
    host: str
    port: int


@dataclass(frozen=True, slots=True)
class OriginRule:
    """An allowed origin: its scheme, a host or ``*.`` and a domain, a port or every port."""

    scheme: str
    host: str
    port: int | None

    @classmethod
    def parse(cls, text: str) -> OriginRule:
        """``https://app.example.com``, ``https://*.example.com:8443``, ``http://localhost:*``; raises ValueError."""
        scheme, mark, rest = text.lower().partition("://")
        every_port = rest.endswith(":*")
        place = _place(f"{scheme}://{rest.removesuffix(':*')}") if mark else None
        if place is None or _EVERY in place.host.removeprefix("*."):
            raise ValueError(
                f"{text!r} is no origin; it reads https://HOST, https://*.DOMAIN, with :PORT or :* if it has another port"
            )
        return cls(place.scheme, place.host, None if every_port else place.port)

    def allows(self, place: Place) -> bool:
        if self.scheme != place.scheme or self.port not in (None, place.port):
            return False
        if self.host.startswith("*."):
            return place.host.endswith(self.host[1:]) and len(place.host) > len(self.host) - 1
        return self.host == place.host


class Origins:
    """``allowed``: rules as text, ``*`` for every origin; none: pages of the gateway's own host and port only.

    ``any_host``: whether the gateway's host may have any name. On loopback it may not: a page whose name was made to point to this
    machine (DNS rebinding) would be of the "same" origin.
    """

    def __init__(self, allowed: Iterable[str] = (), *, any_host: bool = True) -> None:
        self._any_host = any_host
        self.use(allowed)

    def use(self, allowed: Iterable[str]) -> None:
        """These from now on. Raises ValueError, and changes nothing, for what is no origin."""
        texts = tuple(allowed)
        self._rules = tuple(OriginRule.parse(text) for text in texts if text != _EVERY)
        self._every = _EVERY in texts
        self._known: dict[tuple[bytes, bytes], bool] = {}

    def allows(self, origin: bytes | None, host: bytes) -> bool:
        if origin is None:
            return True
        known = self._known.get((origin, host))
        if known is None:
            known = self._judge(origin, host)
            self._remember(origin, host, known)
        return known

    def _remember(self, origin: bytes, host: bytes, known: bool) -> None:
        """In the place of the oldest: strangers, who may ask from any origin, neither fill the memory nor keep others out of it."""
        if len(origin) + len(host) > MAX_ORIGIN:
            return
        if len(self._known) >= REMEMBERED:
            del self._known[next(iter(self._known))]
        self._known[origin, host] = known

    def _judge(self, origin: bytes, host: bytes) -> bool:
        if self._every:
            return True
        place = _place(origin.decode("latin-1").lower()) if len(origin) <= MAX_ORIGIN else None
        if place is None:
            return False  # `null` too: a sandboxed frame, a file, a redirect from elsewhere
        return any(rule.allows(place) for rule in self._rules) or (
            not self._rules and self._is_own(place, host)
        )

    def _is_own(self, place: Place, host: bytes) -> bool:
        """Compares host and port. The scheme may differ, where a proxy speaks TLS."""
        here = (
            _place(f"{place.scheme}://{host.decode('latin-1').lower()}") if len(host) <= MAX_ORIGIN else None
        )
        return here is not None and here == place and (self._any_host or _is_local_name(here.host))


def _place(text: str) -> Place | None:
    """An origin in lower case; None for anything else."""
    scheme, mark, authority = text.partition("://")
    found = _AUTHORITY.fullmatch(authority)
    if not mark or scheme not in _DEFAULT_PORTS or found is None:
        return None
    port = int(found[2]) if found[2] else _DEFAULT_PORTS[scheme]
    return Place(scheme, found[1], port) if 0 < port < 65_536 else None


def _is_local_name(host: str) -> bool:
    """An address, or a name that no DNS server answers for."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        ip_address(host.strip("[]"))
    except ValueError:
        return False
    return True
