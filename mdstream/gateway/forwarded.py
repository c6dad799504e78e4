"""What a trusted proxy says about its client, in ``X-Forwarded-For`` or ``Forwarded`` (RFC 7239); without I/O.

Each proxy adds the address that it sees on the right. What stands left of the first address that is no trusted proxy was written by
the client, and may be anything.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from mdstream.gateway.addresses import Networks, parse_address

_WITH_PORT = re.compile(r"\[([^\]]*)\](?::\d{1,5})?|([^:]*):\d{1,5}")
_ELEMENT = re.compile(r'(?:[^",]|"(?:[^"\\]|\\.)*")+')
_FOR = re.compile(r'(?:^|;)\s*for\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s;,"]*))\s*(?=;|$)', re.IGNORECASE)


def forwarded_for(head: bytes, header: str, trusted: Networks) -> bytes | None:
    """The right-most address in the request's header that is not trusted; else the left-most one. None if there is none.

    ``header``: ``x-forwarded-for`` or ``forwarded``. A hop that is no address (``unknown``, nonsense) ends the search: the proxy
    right of it is as far as one can trust.
    """
    last: bytes | None = None
    for hop in _hops(head, header):
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
    for element in reversed(_ELEMENT.findall(value)):
        if element.strip():
            found = _FOR.search(element.strip())
            yield (found[1] or found[2] or "") if found else ""


def _address(hop: str) -> bytes | None:
    """With or without a port; IPv6 with or without brackets."""
    address = parse_address(hop)
    if address is None and (found := _WITH_PORT.fullmatch(hop)):
        address = parse_address(found[1] or found[2] or "")
    return address
