"""The binary PROXY protocol, version 2, as HAProxy and others send it before everything else; without I/O.

https://www.haproxy.org/download/3.2/doc/proxy-protocol.txt, section 2.2. The text form (version 1) is refused.
"""

from __future__ import annotations

from typing import Final

from mdstream.gateway.addresses import unmapped

START_BYTES: Final = 16
"""The fixed part: signature, version and command, family, length of the rest."""
MAX_REST: Final = 2_048
"""Addresses take 36 bytes at most; what else a proxy says about a connection is read over."""
_SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"
_LOCAL, _PROXY = 0x20, 0x21
_UNSPECIFIED = 0x00
_ADDRESS_BYTES = {0x11: 4, 0x21: 16}
"""By family and transport: TCP over IPv4, TCP over IPv6."""
_EXTENSION_HEAD = 3


def read_length(start: bytes) -> int:
    """How many bytes follow the fixed part. Raises ValueError."""
    if len(start) != START_BYTES or not start.startswith(_SIGNATURE):
        raise ValueError("no PROXY protocol version 2 header came first")
    if start[12] not in (_LOCAL, _PROXY):
        raise ValueError(f"version and command 0x{start[12]:02x} of the PROXY header are not known")
    length = int.from_bytes(start[14:16])
    if length > MAX_REST:
        raise ValueError(f"the PROXY header has {length} bytes; at most {MAX_REST} are allowed")
    return length


def read_source(start: bytes, rest: bytes) -> bytes | None:
    """The client's address; None where the proxy speaks for itself (a health check) or does not know. Raises ValueError."""
    family = start[13]
    if start[12] == _LOCAL or family == _UNSPECIFIED:
        return None
    size = _ADDRESS_BYTES.get(family)
    if size is None:
        raise ValueError(f"family 0x{family:02x} of the PROXY header is not TCP over IPv4 or IPv6")
    addresses = 2 * size + 4
    if len(rest) < addresses:
        raise ValueError("the PROXY header is too short for its addresses")
    _check_extensions(rest[addresses:])
    return unmapped(rest[:size])


def _check_extensions(rest: bytes) -> None:
    """Each has a type, a length in two bytes, and as many bytes."""
    at = 0
    while at < len(rest):
        end = at + _EXTENSION_HEAD + int.from_bytes(rest[at + 1 : at + _EXTENSION_HEAD])
        if at + _EXTENSION_HEAD > len(rest) or end > len(rest):
            raise ValueError("an extension of the PROXY header is cut off")
        at = end
