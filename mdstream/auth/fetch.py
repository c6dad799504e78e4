"""One bounded HTTP exchange on the event loop: in time and size, without redirects, over TLS unless the host is this machine.

h11 reads and writes HTTP/1.1; there is no pool, no proxy and no cookie.
"""

from __future__ import annotations

import asyncio
import ipaddress
import ssl as ssl_module
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import SplitResult, urlsplit

import h11

MAX_HEAD = 16_384
READ = 16_384


class FetchError(Exception):
    """The exchange failed; the message says how, in one line without secrets."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer. ``retry_after``: that header, as it came."""

    status: int
    body: bytes
    retry_after: str | None = None


def check_url(url: str) -> SplitResult:
    """Raises ValueError unless it is ``https://…``, or ``http://`` to this machine."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise ValueError(f"the URL cannot be read: {error}") from None
    if parts.scheme not in ("https", "http") or not parts.hostname or port == 0:
        raise ValueError("the URL must be https://HOST[:PORT]/PATH")
    if parts.username is not None or parts.password is not None or parts.fragment:
        raise ValueError("the URL must have no user, no password and no fragment")
    if not url.isascii() or not url.isprintable() or " " in url:
        raise ValueError("the URL must be printable ASCII without spaces")
    if parts.scheme == "http" and not is_loopback(parts.hostname):
        raise ValueError("http:// is for this machine only; use https://")
    return parts


def is_loopback(host: str) -> bool:
    """Whether a host is this machine, by its name or address."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


async def fetch(
    url: str,
    *,
    timeout_s: float,
    max_bytes: int,
    method: str = "GET",
    headers: Mapping[str, str] | None = None,
    body: bytes = b"",
    ssl: ssl_module.SSLContext | None = None,
) -> Answer:
    """Raises FetchError, also where there is no answer within ``timeout_s`` in all, or a larger one than ``max_bytes``."""
    parts = check_url(url)
    try:
        async with asyncio.timeout(timeout_s):
            return await _exchange(parts, _request(parts, method, headers or {}, body), body, max_bytes, ssl)
    except TimeoutError:
        raise FetchError(f"no answer within {timeout_s:g} s") from None
    except h11.ProtocolError as error:
        raise FetchError(f"the answer is not HTTP: {error}") from None
    except (
        OSError,
        ValueError,
    ) as error:  # ssl.SSLError is an OSError; a host that cannot be encoded, a ValueError
        raise FetchError(_describe(error)) from None


def _request(parts: SplitResult, method: str, headers: Mapping[str, str], body: bytes) -> h11.Request:
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    fields = {
        "Host": parts.netloc,
        "Accept": "application/json",
        "Accept-Encoding": "identity",
        "Connection": "close",
    }
    if body:
        fields["Content-Length"] = str(len(body))
    return h11.Request(method=method, target=target, headers=list({**fields, **headers}.items()))


async def _exchange(
    parts: SplitResult, request: h11.Request, body: bytes, max_bytes: int, ssl: ssl_module.SSLContext | None
) -> Answer:
    secure = parts.scheme == "https"
    context = (ssl or ssl_module.create_default_context()) if secure else None
    reader, writer = await asyncio.open_connection(
        parts.hostname, parts.port or (443 if secure else 80), ssl=context
    )
    try:
        http = h11.Connection(h11.CLIENT, max_incomplete_event_size=MAX_HEAD)
        for event in (request, h11.Data(data=body), h11.EndOfMessage()):
            writer.write(http.send(event) or b"")
        return await _answer(http, reader, max_bytes)
    finally:
        writer.transport.abort()


async def _answer(http: h11.Connection, reader: asyncio.StreamReader, max_bytes: int) -> Answer:
    status, body, retry_after = 0, bytearray(), None
    while True:
        event = http.next_event()
        if event is h11.NEED_DATA:
            http.receive_data(await reader.read(READ))
        elif isinstance(event, h11.Response):
            status = event.status_code
            retry_after = dict(event.headers).get(b"retry-after")
            if 300 <= status < 400:
                raise FetchError(f"HTTP {status}: redirects are not followed; configure the URL itself")
        elif isinstance(event, h11.Data):
            body += event.data
            if len(body) > max_bytes:
                raise FetchError(f"the answer has more than {max_bytes} bytes")
        elif isinstance(event, h11.EndOfMessage):
            return Answer(status, bytes(body), None if retry_after is None else retry_after.decode("latin-1"))
        elif not isinstance(event, h11.InformationalResponse):
            raise FetchError("the connection ended before the answer")


def _describe(error: Exception) -> str:
    if isinstance(error, ssl_module.SSLCertVerificationError):
        return f"the certificate cannot be verified: {error.verify_message}"
    return (getattr(error, "strerror", None) or str(error) or type(error).__name__).lower()
