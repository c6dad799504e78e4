from __future__ import annotations

from mdstream.gateway.control_decoder import JSON, MSGPACK
from mdstream.gateway.handshake import Accepted, Refused
from mdstream.gateway.upgrades import REMEMBERED, Upgrades

DEFLATE = "Sec-WebSocket-Extensions: permessage-deflate"


def head(*more: str, path: str = "/v1/stream") -> bytes:
    lines = [
        f"GET {path} HTTP/1.1",
        "Host: localhost",
        "Upgrade: websocket",
        "Connection: Upgrade",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        "Sec-WebSocket-Version: 13",
        *more,
    ]
    return "\r\n".join(lines).encode()


def offer(names: str) -> str:
    return f"Sec-WebSocket-Protocol: {names}"


def test_the_answer_says_what_was_agreed_on_and_nothing_else() -> None:
    upgrades = Upgrades(compression=True)
    for _ in range(2):
        verdict, answer = upgrades.answer(head(), None)
        assert verdict == Accepted(JSON, None)
        assert answer == (
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: upgrade\r\n"
            b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
        )
        verdict, answer = upgrades.answer(head(offer("x, mdstream.v1.msgpack"), DEFLATE), None)
        assert isinstance(verdict, Accepted) and verdict.format == MSGPACK and verdict.deflate
        lines = answer.decode().split("\r\n")
        assert lines[3] == offer("mdstream.v1.msgpack")
        assert lines[4] == f"{DEFLATE}; server_no_context_takeover; client_no_context_takeover"


def test_an_unusual_request_has_the_same_answer() -> None:
    upgrades = Upgrades(compression=True)
    usual = upgrades.answer(head(offer("mdstream.v1.json")), None)
    assert upgrades.answer(head(offer("mdstream.v1.json"), "X: é"), None) == usual
    assert upgrades.answer(head(offer("mdstream.v1.json"), path="/v1/stream?token=x"), None) == usual


def test_refusals_say_why_and_close() -> None:
    upgrades = Upgrades(compression=True)
    for request, busy, status in (
        (head(path="/v1/streams"), None, 404),
        (head(path="/v1/streams"), "full", 404),
        (head(), "full", 503),
        (head(offer("chat")), None, 400),
        (head("Sec-WebSocket-Version: 13"), None, 400),
        (b"nonsense", None, 400),
    ):
        verdict, answer = upgrades.answer(request, busy)
        assert isinstance(verdict, Refused) and verdict.status == status
        top, _, body = answer.partition(b"\r\n\r\n")
        lines = top.decode().split("\r\n")
        assert lines[0].startswith(f"HTTP/1.1 {status} ") and "Connection: close" in lines
        assert body == f"{verdict.reason}\n".encode() or status == 400
        assert f"Content-Length: {len(body)}" in lines and body
        assert ("Retry-After" in top.decode()) == (status == 503)


def test_what_is_remembered_is_bounded_and_no_tokens() -> None:
    upgrades = Upgrades(compression=True)
    for i in range(REMEMBERED + 10):
        assert isinstance(upgrades.answer(head(offer(f"mdstream.v1.json, bearer.{i}")), None)[0], Accepted)
    assert len(upgrades._known) == 0
    for i in range(REMEMBERED + 10):
        assert isinstance(upgrades.answer(head(offer(f"mdstream.v1.json, x{i}")), None)[0], Accepted)
    assert len(upgrades._known) == REMEMBERED
