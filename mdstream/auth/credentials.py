"""What an upgrade request brings to say who the client is. Nothing is judged here."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from hashlib import sha256

MAX_TOKEN = 8_192
"""Bytes of a token; a larger one is not looked at."""
MAX_PROTOCOLS = 100
"""A longer list of subprotocols is not looked through for a token."""

_BEARER = b"bearer"
PROTOCOL_PREFIX = b"bearer."
"""Of an item of ``Sec-WebSocket-Protocol`` that is a token."""
_PROTOCOL = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")


@dataclass(frozen=True, slots=True)
class Certificate:
    """Of a client, verified in its TLS handshake."""

    subject: str
    expires_us: int
    expires_at_s: float
    """By this process's monotonic clock."""


@dataclass(slots=True)
class Credentials:
    """The token, if there is one, and what else an authenticator may look at.

    ``header`` gives a header of the request by its name in lower case, None if it is missing. It is for the unusual: API keys, the
    callback.
    """

    token: bytes | None = None
    host: bytes = b""
    target: bytes = b""
    header: Callable[[str], str | None] = field(default=lambda name: None, repr=False)
    certificate: Certificate | None = None
    """None also where it does not name a subject."""

    def __repr__(self) -> str:
        return "Credentials(…)"  # never a secret in a log

    def digest(self) -> bytes:
        """The token's name in caches: its SHA-256."""
        return digest_of_token(self.token or b"")


def digest_of_token(token: bytes) -> bytes:
    return sha256(token).digest()


def bearer(authorization: bytes | None) -> bytes | None:
    """The token of ``Authorization: Bearer …``; None for another scheme."""
    if authorization is None:
        return None
    scheme, _, token = authorization.partition(b" ")
    return token.strip(b" ") or None if scheme.lower() == _BEARER else None


def split_offer(protocols: bytes | None) -> tuple[bytes | None, bytes | None]:
    """``Sec-WebSocket-Protocol`` without its bearer items, and the first token among them; None where there is none. A list that is not
    one of protocol names, or is longer than any real one, stays as it is."""
    if protocols is None or PROTOCOL_PREFIX not in protocols or protocols.count(b",") >= MAX_PROTOCOLS:
        return protocols, None
    items = [item.strip(b" \t") for item in protocols.split(b",")]
    tokens = [item for item in items if item.startswith(PROTOCOL_PREFIX)]
    if not all(map(_PROTOCOL.fullmatch, tokens)):
        return protocols, None
    rest = [item for item in items if not item.startswith(PROTOCOL_PREFIX)]
    return b", ".join(rest) or None, tokens[0][len(PROTOCOL_PREFIX) :] or None if tokens else None


def query_value(target: bytes, name: bytes) -> bytes | None:
    """The first value of a parameter in the query of a target, as it is written; None if there is none."""
    _, mark, query = target.partition(b"?")
    if not mark or name not in query:
        return None
    found = re.search(rb"&%b(?:=([^&]*))?(?=&|\Z)" % re.escape(name), b"&%b" % query)
    return None if found is None else found[1] or b""


def chosen_headers(credentials: Credentials, names: tuple[str, ...]) -> Mapping[str, str]:
    """Those of the named headers that the request has."""
    found = ((name, credentials.header(name)) for name in names)
    return {name: value for name, value in found if value is not None}
