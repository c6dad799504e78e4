"""permessage-deflate in the handshake (RFC 7692 section 7.1): which of a client's offers is accepted, and the answer to it.

Neither side keeps a context between messages, so a message is compressed once for all clients. A window of 8 bits is declined:
zlib cannot do it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

NAME = "permessage-deflate"
FULL_WINDOW_BITS = 15
NARROW_WINDOW_BITS = 9

_TOKEN = r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
_PARAMETER = re.compile(rf'[ \t]*;[ \t]*({_TOKEN})(?:[ \t]*=[ \t]*(?:({_TOKEN})|"({_TOKEN})"))?')
_NAME = re.compile(rf"[ \t]*({_TOKEN})")
_END = re.compile(r"[ \t]*(?:,|\Z)")
_BITS = re.compile(r"[89]|1[0-5]")

Parameters = list[tuple[str, str | None]]


@dataclass(frozen=True, slots=True)
class Deflate:
    """The agreement: the window for messages to the client, 9 or 15 bits, and the header that says so."""

    window_bits: int
    answer: str


def negotiate(headers: Iterable[str]) -> Deflate | None:
    """The first acceptable offer in all ``Sec-WebSocket-Extensions`` headers; None if there is none.

    Raises ValueError if the headers do not conform to RFC 6455 section 9.1.
    """
    offers = [offer for header in headers for offer in _parse(header)]
    for name, parameters in offers:
        agreed = _accept(parameters) if name == NAME else None
        if agreed is not None:
            return agreed
    return None


def _accept(parameters: Parameters) -> Deflate | None:
    """None if a parameter is unknown, given twice or has a wrong value: the offer is declined."""
    given = dict(parameters)
    if len(given) != len(parameters) or not all(_is_valid(*item) for item in parameters):
        return None
    answer = f"{NAME}; server_no_context_takeover; client_no_context_takeover"
    wanted = given.get("server_max_window_bits")
    if wanted is None:
        return Deflate(FULL_WINDOW_BITS, answer)
    if int(wanted) < NARROW_WINDOW_BITS:
        return None
    bits = FULL_WINDOW_BITS if int(wanted) == FULL_WINDOW_BITS else NARROW_WINDOW_BITS
    return Deflate(bits, f"{answer}; server_max_window_bits={bits}")


def _is_valid(name: str, value: str | None) -> bool:
    """``client_max_window_bits`` may have no value: the client accepts a limit. We never set one."""
    if name in ("server_no_context_takeover", "client_no_context_takeover"):
        return value is None
    if name == "client_max_window_bits" and value is None:
        return True
    if name in ("server_max_window_bits", "client_max_window_bits"):
        return value is not None and _BITS.fullmatch(value) is not None
    return False


def _parse(header: str) -> Iterator[tuple[str, Parameters]]:
    """Extensions and their parameters, in order."""
    at = 0
    while at < len(header):
        nothing = _END.match(header, at)
        if nothing:
            at = nothing.end()
            continue
        name = _NAME.match(header, at)
        if name is None:
            raise ValueError(f"at character {at}")
        at = name.end()
        parameters: Parameters = []
        while parameter := _PARAMETER.match(header, at):
            parameters.append((parameter[1], parameter[2] or parameter[3]))
            at = parameter.end()
        end = _END.match(header, at)
        if end is None:
            raise ValueError(f"at character {at}")
        at = end.end()
        yield name[1], parameters
