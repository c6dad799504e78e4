"""What a trusted proxy says about its client, in ``X-Forwarded-For`` or ``Forwarded`` (RFC 7239); without I/O.

Each proxy adds the address that it sees on the right. What stands left of the first address that is no trusted proxy was written by
the client, and may be anything.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import islice

from mdstream.gateway.addresses import Networks, parse_address

_WITH_PORT = re.compile(r"\[([^\]]*)\](?::\d{1,5})?|([^:]*):\d{1,5}")
_QUOTED = r'"([^"\\]*(?:\\.[^"\\]*)*)"'
_ELEMENT = re.compile(rf'(?:[^",]+|{_QUOTED})*', re.DOTALL)
_PAIR = re.compile(rf'[\s;]*+([^\s=;,"]++)\s*+=\s*+(?:{_QUOTED}|([^\s;,"]*+))\s*+(?=;|$)', re.DOTALL)
"""Here and above nothing is read again and again: what stands in the header may be long, and a client's."""

MAX_HOPS = 64
"""Looked at. A request does not pass more proxies of ours."""
LONGEST_VALUE = 512
"""Of a header that is read by itself."""
MOST_COMMAS = 1_000
MOST_LINES = 200
"""Of a request. To read the thousands for which there is room would take milliseconds."""


def is_short(head: bytes) -> bool:
    """Whether ``forwarded_for`` takes a moment only."""
    return head.count(b",") <= MOST_COMMAS and head.count(b"\n") <= MOST_LINES


def forwarded_for(head: bytes, header: str, trusted: Networks) -> bytes | None:
    """The right-most address in the request's header that is not trusted; else the left-most one. None if there is none.

    ``header``: ``x-forwarded-for`` or ``forwarded``. A hop that is no address (``unknown``, nonsense) ends the search: the proxy
    right of it is as far as one can trust.
    """
    return _first_untrusted(_hops(head, header), trusted)


def client_in(value: bytes, header: str, trusted: Networks) -> bytes | None:
    """As ``forwarded_for``, of a request that has the header once, with this value."""
    return _first_untrusted(_hops_of(value.decode("latin-1"), header), trusted)


def _first_untrusted(hops: Iterator[str], trusted: Networks) -> bytes | None:
    last: bytes | None = None
    for hop in islice(hops, MAX_HOPS):
        address = _address(hop)
        if address is None:
            return last
        last = address
        if address not in trusted:
            return last
    return last


def _hops(head: bytes, header: str) -> Iterator[str]:
    """From right to left: of several headers, the last one first."""
    for line in reversed(head.split(b"\r\n")[1:]):
        name, colon, value = line.decode("latin-1").partition(":")
        if colon and name.strip().lower() == header:
            yield from _hops_of(value, header)


def _hops_of(value: str, header: str) -> Iterator[str]:
    if header == "x-forwarded-for":
        yield from reversed([hop.strip() for hop in value.split(",") if hop.strip()])
        return
    for element in reversed(_elements(value)):
        if element.strip():
            yield _for_of(element.strip())


def _for_of(element: str) -> str:
    """The value of ``for``; "" if there is none, or the element is not well-formed up to there. A client may have written the others."""
    at = 0
    while pair := _PAIR.match(element, at):
        if pair[1].lower() == "for":
            return pair[2] or pair[3] or ""
        at = pair.end()
    return ""


def _elements(value: str) -> list[str]:
    """What commas outside quotes divide. Behind a quote that nothing closes, which no proxy wrote, all commas do."""
    found: list[str] = []
    at = 0
    while True:
        element = _ELEMENT.match(value, at)
        assert element is not None  # nothing is an element too
        end = element.end()
        if end == len(value):
            return [*found, value[at:]]
        if value[end] != ",":
            return found + value[at:].split(",")
        found.append(value[at:end])
        at = end + 1


def _address(hop: str) -> bytes | None:
    """With or without a port; IPv6 with or without brackets."""
    address = parse_address(hop)
    if address is None and (found := _WITH_PORT.fullmatch(hop)):
        address = parse_address(found[1] or found[2] or "")
    return address
