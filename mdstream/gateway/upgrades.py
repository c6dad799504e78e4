"""From the bytes of an upgrade request to the bytes of its answer, without I/O.

The usual request costs one pass in compiled code and one look-up: ``handshake`` decides once what an offer of subprotocols and
extensions leads to, and the decision is remembered. Every other request takes the long way, through the parser of picows.
"""

from __future__ import annotations

from typing import TypeAlias

from picows import WSUpgradeRequest

from mdstream._core.websocket import upgrade_request
from mdstream.gateway.handshake import PATH, Accepted, Refused, decide
from mdstream.gateway.http_listener import response, retry_after_s

REMEMBERED = 256
"""The most offers that are remembered. Offers with a bearer token are not: each client has its own."""

Offer: TypeAlias = tuple[bytes | None, bytes | None]


class Upgrades:
    """Answers upgrade requests; ``compression`` as in ``decide``."""

    def __init__(self, *, compression: bool) -> None:
        self._compression = compression
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
        verdict, accept = self._judge(head, busy)
        if isinstance(verdict, Refused):
            return verdict, refusal(verdict)
        return verdict, b"%b%b\r\n\r\n" % (switching(verdict), accept)

    def _judge(self, head: bytes, busy: str | None) -> tuple[Accepted | Refused, bytes]:
        try:
            request: WSUpgradeRequest = upgrade_request.parse(head)
            verdict = decide(request, busy=busy, retry_after_s=retry_after_s(), compression=self._compression)
            accept = upgrade_request.validate(request) if isinstance(verdict, Accepted) else b""
        except RuntimeError as error:
            return Refused(400, str(error)), b""
        return verdict, accept


def switching(verdict: Accepted) -> bytes:
    """The answer that switches to WebSocket, up to the value of its last header, ``Sec-WebSocket-Accept``."""
    lines = ["HTTP/1.1 101 Switching Protocols", "Upgrade: websocket", "Connection: upgrade"]
    if verdict.subprotocol:
        lines.append(f"Sec-WebSocket-Protocol: {verdict.subprotocol}")
    if verdict.deflate:
        lines.append(f"Sec-WebSocket-Extensions: {verdict.deflate.answer}")
    return "\r\n".join([*lines, "Sec-WebSocket-Accept: "]).encode()


def refusal(verdict: Refused) -> bytes:
    """A whole HTTP answer that says why not."""
    answer = response(verdict.status, verdict.reason, [*verdict.headers, ("Connection", "close")]).response
    return bytes(answer.to_bytes())
