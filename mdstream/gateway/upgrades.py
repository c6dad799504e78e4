"""From the bytes of an upgrade request to the bytes of its answer, without I/O.

The usual request costs one pass in compiled code and one look-up: ``handshake`` decides once what an offer of subprotocols and
extensions leads to, and the decision is remembered. Every other request takes the long way, through the parser of picows.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from picows import WSUpgradeRequest

from mdstream._core.websocket import upgrade_request
from mdstream.gateway.handshake import PATH, Accepted, Refused, decide
from mdstream.gateway.http_messages import read_request_line, response, retry_after_s, split_head

REMEMBERED = 256
"""The most offers that are remembered. Offers with a bearer token are not: each client has its own."""

MAX_REASON = 300
"""Characters of a refusal. Some repeat what the request held."""

Offer: TypeAlias = tuple[bytes | None, bytes | None]


class Upgrades:
    """Answers upgrade requests; ``compression`` as in ``decide``. ``trouble`` says why a health check is told 503, None if it is not."""

    def __init__(self, *, compression: bool, trouble: Callable[[], str | None] = lambda: None) -> None:
        self._compression = compression
        self._trouble = trouble
        self._known: dict[Offer, tuple[Accepted, bytes]] = {}

    def answer(self, head: bytes, busy: str | None) -> tuple[Accepted | Refused, bytes]:
        """The decision, and the whole HTTP answer that states it. ``head`` comes without its empty line; ``busy`` as in ``decide``."""
        usual = upgrade_request.read(head)
        if usual is None or busy is not None:
            return self._answer_unusual(head, busy)
        target, *offer, accept = usual
        if target != PATH and not target.startswith(PATH + b"?"):
            return self._answer_unusual(head, busy)
        return self._answer_usual(head, (offer[0], offer[1]), accept)

    def _answer_usual(self, head: bytes, offer: Offer, accept: bytes) -> tuple[Accepted | Refused, bytes]:
        known = self._known.get(offer)
        if known is None:
            verdict, whole = self._answer_unusual(head, None)
            if not isinstance(verdict, Accepted):
                return verdict, whole
            known = verdict, switching(verdict)
            if len(self._known) < REMEMBERED and b"bearer." not in (offer[0] or b""):
                self._known[offer] = known
        verdict, start = known
        return verdict, b"%b%b\r\n\r\n" % (start, accept)

    def _answer_unusual(self, head: bytes, busy: str | None) -> tuple[Accepted | Refused, bytes]:
        try:
            request = parse(head)
            if request.method == b"OPTIONS":
                busy = busy or self._trouble()
            verdict = decide(request, busy=busy, retry_after_s=retry_after_s(), compression=self._compression)
            if isinstance(verdict, Accepted):
                accept = upgrade_request.validate(request)
                return verdict, b"%b%b\r\n\r\n" % (switching(verdict), accept)
        except (ValueError, RuntimeError) as error:
            verdict = Refused(400, str(error))
        return verdict, refusal(verdict, with_body=not split_head(head)[0].startswith(b"HEAD "))


def parse(head: bytes) -> WSUpgradeRequest:
    """Any request without a body. Raises ValueError or RuntimeError, which says what is wrong.

    picows takes the headers, but of first lines only ``GET /path HTTP/1.1``.
    """
    first, fields = split_head(head)
    line = read_request_line(first)
    start = b"GET %b HTTP/1.1" % line.target
    request: WSUpgradeRequest = upgrade_request.parse(b"%b\r\n%b" % (start, fields) if fields else start)
    request.method, request.version = line.method.encode(), b"HTTP/%b" % line.version.encode()
    return request


def switching(verdict: Accepted) -> bytes:
    """The answer that switches to WebSocket, up to the value of its last header, ``Sec-WebSocket-Accept``."""
    lines = ["HTTP/1.1 101 Switching Protocols", "Upgrade: websocket", "Connection: upgrade"]
    if verdict.subprotocol:
        lines.append(f"Sec-WebSocket-Protocol: {verdict.subprotocol}")
    if verdict.deflate:
        lines.append(f"Sec-WebSocket-Extensions: {verdict.deflate.answer}")
    return "\r\n".join([*lines, "Sec-WebSocket-Accept: "]).encode()


def refusal(verdict: Refused, *, with_body: bool = True) -> bytes:
    """A whole HTTP answer that says why not."""
    reason = verdict.reason if len(verdict.reason) <= MAX_REASON else verdict.reason[:MAX_REASON] + "…"
    return response(verdict.status, reason, verdict.headers, with_body=with_body)
