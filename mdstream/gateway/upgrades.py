"""From the bytes of an upgrade request to the bytes of its answer, without I/O.

The usual request costs one pass in compiled code and one look-up: ``handshake`` decides once what an offer of subprotocols and
extensions leads to, and the decision is remembered. Every other request takes the long way, through the parser of picows.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from picows import WSUpgradeRequest

from mdstream._core.websocket import upgrade_request
from mdstream.auth.credentials import PROTOCOL_PREFIX, Credentials, bearer, query_value, split_offer
from mdstream.gateway.handshake import FOREIGN_PAGE, PATH, Accepted, Refused, decide
from mdstream.gateway.http_messages import read_request_line, response, retry_after_s, split_head
from mdstream.gateway.offers import Offer, Offers
from mdstream.gateway.origin import Origins

NOT_READY = "not ready"
"""All that a health check is told; why is for the log and the admin pages, as anyone may ask here."""
MAX_REASON = 300
"""Characters of a refusal. Some repeat what the request held."""
_PATH_WITH_QUERY = PATH + b"?"
_END = b"\r\n\r\n"
_KEPT_S = 1.0
"""An answer says what time it is, in seconds."""


class Upgrades:
    """Answers upgrade requests, all but their credentials.

    ``compression`` and ``origins`` as in ``decide``. ``trouble``: why a health check is answered 503, None if it is not. ``query_token``:
    whether a token may come in the query. ``page``: status and answer of a request that is not for the stream, from its head; None if
    there is nothing.
    """

    def __init__(
        self,
        *,
        compression: bool,
        trouble: Callable[[], str | None] = lambda: None,
        origins: Origins | None = None,
        query_token: bool = False,
        asks: bool = True,
        page: Callable[[bytes], tuple[int, bytes] | None] = lambda head: None,
    ) -> None:
        """``asks`` False: nobody looks at credentials, so none are read."""
        self._compression = compression
        self._trouble = trouble
        self._origins = origins
        self._query_token = query_token
        self._asks = asks
        self._page = page
        self.known: Offers[tuple[Accepted, bytes]] = Offers()
        """Offers without their bearer tokens, of which each client has its own."""

    def answer(self, head: bytes, busy: str | None) -> tuple[Accepted | Refused, bytes]:
        """The decision, and the whole HTTP answer that states it. ``head`` comes without its empty line; ``busy`` as in ``decide``."""
        usual = upgrade_request.read(head)
        if usual is None or busy is not None:
            return self._answer_unusual(head, busy)
        target, protocols, extensions, authorization, origin, host, accept = usual
        if target != PATH and not target.startswith(_PATH_WITH_QUERY):
            return self._answer_unusual(head, busy)
        if origin is not None and self._origins is not None and not self._origins.allows(origin, host):
            return FOREIGN_PAGE, refusal(FOREIGN_PAGE)
        offer, token = token_of(protocols, authorization)
        verdict, start = self.known.find((offer, extensions)) or self._answer_offer(head, (offer, extensions))
        if not isinstance(verdict, Accepted):
            return verdict, start
        if not self._asks:
            return verdict, start + accept + _END
        token = token or self._token_in(target)
        return self._with_credentials(verdict, head, target, host, token), start + accept + _END

    def _answer_offer(self, head: bytes, offer: Offer) -> tuple[Accepted | Refused, bytes]:
        """The decision, and its answer: a refusal's whole, the switching one's up to its last value."""
        verdict, whole = self._answer_unusual(head, None)
        if not isinstance(verdict, Accepted):
            return verdict, whole
        known = replace(verdict, credentials=Credentials(), explains=False), switching(verdict)
        self.known.remember(offer, known)
        return known

    def _answer_unusual(self, head: bytes, busy: str | None) -> tuple[Accepted | Refused, bytes]:
        try:
            request = parse(head)
            asks_health = request.method == b"OPTIONS"
            if asks_health:
                busy = busy or self._trouble()
            verdict = decide(
                request,
                busy=busy,
                retry_after_s=retry_after_s(),
                compression=self._compression,
                origins=self._origins,
            )
            if isinstance(verdict, Accepted):
                accept = upgrade_request.validate(request)
                return self._with_parsed(verdict, head, request), switching(verdict) + accept + _END
            if asks_health and verdict.status == 503:
                return verdict, refusal(replace(verdict, reason=NOT_READY))
            if verdict.status == 404 and (found := self._page(head)) is not None:
                return Refused(found[0], "a file of the page"), found[1]
        except (ValueError, RuntimeError) as error:
            verdict = Refused(400, str(error))
        return verdict, refusal(verdict, with_body=not split_head(head)[0].startswith(b"HEAD "))

    # ---- credentials

    def _with_parsed(self, verdict: Accepted, head: bytes, request: WSUpgradeRequest) -> Accepted:
        offers = ", ".join(request.headers.getall("Sec-WebSocket-Protocol", []))
        _, offered = split_offer(_octets(offers))
        authorization = request.headers.get("Authorization")
        token = bearer(None if authorization is None else _octets(authorization)) or offered
        host = _octets(request.headers.get("Host", ""))
        return self._with_credentials(
            verdict, head, request.path, host, token or self._token_in(request.path)
        )

    def _with_credentials(
        self, verdict: Accepted, head: bytes, target: bytes, host: bytes, token: bytes | None
    ) -> Accepted:
        credentials = Credentials(token, host, target, lambda name: single_header(head, name))
        explains = query_value(target, b"reject") == b"close"
        return Accepted(verdict.format, verdict.subprotocol, verdict.deflate, credentials, explains)

    def _token_in(self, target: bytes) -> bytes | None:
        return query_value(target, b"token") or None if self._query_token else None


def token_of(protocols: bytes | None, authorization: bytes | None) -> tuple[bytes | None, bytes | None]:
    """The offer of subprotocols without tokens, and the token that the headers bring; None where there is none."""
    offered = None
    if protocols is not None and protocols.find(PROTOCOL_PREFIX) >= 0:
        protocols, offered = split_offer(protocols)
    return protocols, bearer(authorization) or offered


def single_header(head: bytes, name: str) -> str | None:
    """The value of a header that is there exactly once."""
    values = parse(head).headers.getall(name, [])
    return values[0] if len(values) == 1 else None


def _octets(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


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


class KeptRefusals:
    """Answers to those who shall come back later, each made once a second: a flood is answered by the thousand."""

    def __init__(self, now_s: Callable[[], float]) -> None:
        self._now_s = now_s
        self._kept: dict[tuple[int, str, int], bytes] = {}
        self._until_s = 0.0

    def answer(self, status: int, reason: str) -> bytes:
        """A whole HTTP answer. ``Retry-After`` differs from one to the next."""
        now_s = self._now_s()
        if now_s >= self._until_s:
            self._kept.clear()
            self._until_s = now_s + _KEPT_S
        key = (status, reason, retry_after_s())
        answer = self._kept.get(key)
        if answer is None:
            refused = Refused(status, reason, (("Retry-After", str(key[2])),))
            answer = self._kept[key] = refusal(refused)
        return answer
