"""The gateways' URLs: what is valid, and which one is next."""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import urlsplit

WANTED = "it must be ws://host:port/v1/stream or wss://…"


def check_url(url: str) -> str:
    """Returns the URL unchanged. Raises ValueError if it is invalid."""
    try:
        parts = urlsplit(url)
        valid = parts.scheme in ("ws", "wss") and parts.hostname and parts.port != 0
    except ValueError as error:
        raise ValueError(f"gateway URL was {url!r}: {error}; {WANTED}") from None
    if not valid:
        raise ValueError(f"gateway URL was {url!r}; {WANTED}")
    return url


def of_line(url: str, line: int) -> str:
    """The URL for one of several lines, from 1: a gateway that allows a user one session each must tell them apart."""
    return url if line == 1 else f"{url}{'&' if '?' in url else '?'}line={line}"


class Urls:
    """The URLs in turn: after each failure, and after each connection, comes the next one."""

    def __init__(self, urls: Sequence[str]) -> None:
        """Raises ValueError if there is none."""
        if not urls:
            raise ValueError(f"there is no gateway URL; {WANTED}")
        self._urls = tuple(urls)
        self._at = 0
        self._failed = 0
        self._final = 0

    @property
    def current(self) -> str:
        return self._urls[self._at]

    @property
    def all_failed(self) -> bool:
        """Whether each has failed since the last ``welcome``."""
        return self._failed >= len(self._urls)

    @property
    def all_final(self) -> bool:
        """Whether each has failed in a way that another try would fail too, one after the other."""
        return self._final >= len(self._urls)

    def welcomed(self) -> None:
        self._failed = self._final = 0

    def failed(self, *, final: bool = False) -> None:
        """The current one has failed, or its connection is lost. ``final``: another try would fail too."""
        self._failed += 1
        self._final = self._final + 1 if final else 0
        self._at = (self._at + 1) % len(self._urls)
