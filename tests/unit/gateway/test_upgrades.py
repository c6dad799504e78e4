from __future__ import annotations

import pytest

from mdstream.gateway.control_decoder import JSON, MSGPACK
from mdstream.gateway.handshake import Accepted, Refused
from mdstream.gateway.offers import LONGEST, REMEMBERED, Offers
from mdstream.gateway.upgrades import KeptRefusals, Upgrades

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


def test_a_refusal_that_repeats_the_request_is_short() -> None:
    verdict, answer = Upgrades(compression=True).answer(
        b"A" * 10_000 + b" /v1/stream HTTP/1.1\r\nHost: x", None
    )
    assert isinstance(verdict, Refused) and len(answer) < 700


def test_what_is_remembered_is_bounded_and_no_tokens() -> None:
    upgrades = Upgrades(compression=True)
    for i in range(REMEMBERED + 10):
        assert isinstance(upgrades.answer(head(offer(f"mdstream.v1.json, bearer.{i}")), None)[0], Accepted)
    assert len(upgrades.known) == 1 and (b"mdstream.v1.json", None) in upgrades.known
    for i in range(REMEMBERED + 10):
        assert isinstance(upgrades.answer(head(offer(f"mdstream.v1.json, x{i}")), None)[0], Accepted)
    assert len(upgrades.known) == REMEMBERED


def test_junk_never_displaces_an_offer_that_is_in_use() -> None:
    upgrades = Upgrades(compression=True)
    for i in range(2 * REMEMBERED):  # before the first honest client comes
        upgrades.answer(head(f"Sec-WebSocket-Extensions: x-{i}"), None)
    usual = (b"mdstream.v1.json", None)
    for i in range(2 * REMEMBERED):
        upgrades.answer(head(offer("mdstream.v1.json")), None)
        assert usual in upgrades.known
        for j in range(REMEMBERED // 2):
            upgrades.known.remember((f"junk{i}.{j}".encode(), None), upgrades.known.find(usual))  # type: ignore[arg-type]
        assert usual in upgrades.known


def test_junk_does_not_displace_what_was_often_used_even_in_a_long_pause() -> None:
    offers: Offers[int] = Offers()
    offers.remember((b"often", None), 1)
    for _ in range(1000):
        offers.find((b"often", None))
    for i in range(8 * REMEMBERED):
        offers.remember((b"%d" % i, None), 2)
    assert offers.find((b"often", None)) == 1
    for i in range(20 * REMEMBERED):
        offers.remember((b"more %d" % i, None), 2)
    assert offers.find((b"often", None)) is None, "what nobody uses any more is forgotten at last"
    assert len(offers) == REMEMBERED


def test_offers_longer_than_any_real_one_are_not_remembered() -> None:
    upgrades = Upgrades(compression=True)
    verdict, _ = upgrades.answer(head(offer("mdstream.v1.json, " + "x" * LONGEST)), None)
    assert isinstance(verdict, Accepted) and len(upgrades.known) == 0


@pytest.mark.parametrize(
    "target",
    ["http://localhost/v1/stream", "HTTPS://h:8080/v1/stream?token=x", "http://[::1]:1/v1/stream"],
)
def test_a_target_in_absolute_form_has_the_same_answer(target: str) -> None:
    upgrades = Upgrades(compression=True)
    usual = upgrades.answer(head(offer("mdstream.v1.json")), None)
    assert upgrades.answer(head(offer("mdstream.v1.json"), path=target), None) == usual
    assert upgrades.answer(b"\r\n" + head(offer("mdstream.v1.json")), None) == usual


@pytest.mark.parametrize(
    "target", ["http://localhost", "http://localhost/", "ftp://h/v1/stream", "h/v1/stream"]
)
def test_what_is_elsewhere_in_absolute_form_is_404(target: str) -> None:
    verdict, _ = Upgrades(compression=True).answer(head(path=target), None)
    assert isinstance(verdict, Refused) and verdict.status == 404


@pytest.mark.parametrize("line", [b"HEAD /v1/stream HTTP/1.1", b"HEAD / HTTP/1.0", b"\r\nHEAD / HTTP/1.0"])
def test_head_is_answered_without_a_body(line: bytes) -> None:
    verdict, answer = Upgrades(compression=True).answer(line, None)
    assert isinstance(verdict, Refused) and verdict.status in (400, 404)
    assert answer.endswith(b"\r\n\r\n") and b"Content-Length: " in answer
    assert b"Content-Length: 0" not in answer


@pytest.mark.parametrize(
    "line",
    [
        b"GET /v1/stream",
        b"GET /v1/stream HTTP/2.0",
        b"GET  /v1/stream HTTP/1.1",
        b"GET /v1/stream HTTP/1.1 ",
        b" GET /v1/stream HTTP/1.1",
        b"G(T /v1/stream HTTP/1.1",
        b"GET /v1/\x00 HTTP/1.1",
        b"\r\n\r\nGET /v1/stream HTTP/1.1",
        b"",
    ],
)
def test_first_lines_that_are_none_are_400_and_say_so_in_plain_text(line: bytes) -> None:
    verdict, _ = Upgrades(compression=True).answer(line, None)
    assert isinstance(verdict, Refused) and verdict.status == 400
    assert "b'" not in verdict.reason


def test_a_health_check_is_told_of_trouble() -> None:
    troubles: list[str] = []
    upgrades = Upgrades(compression=True, trouble=lambda: troubles[0] if troubles else None)
    for line in (b"OPTIONS / HTTP/1.0", b"OPTIONS * HTTP/1.1\r\nHost: x"):
        troubles.clear()
        verdict, answer = upgrades.answer(line, None)
        assert isinstance(verdict, Refused) and verdict.status == 200
        assert b"\r\nAllow: GET, HEAD, OPTIONS\r\n" in answer
        troubles.append("NATS is not connected")
        verdict, answer = upgrades.answer(line, None)
        assert isinstance(verdict, Refused) and (verdict.status, verdict.reason) == (503, troubles[0])
        assert b"Retry-After" in answer
        assert answer.endswith(b"\r\n\r\nnot ready\n"), "strangers are not told why"
        verdict, answer = upgrades.answer(line, "draining")
        assert isinstance(verdict, Refused) and (verdict.status, verdict.reason) == (503, "draining")
        assert answer.endswith(b"\r\n\r\nnot ready\n")
    assert isinstance(upgrades.answer(head(), None)[0], Accepted), "clients may come"


def test_refusals_are_made_once_a_second_and_differ_in_when_to_come_back() -> None:
    now_s = [100.0]
    kept = KeptRefusals(lambda: now_s[0])
    answers = {kept.answer(503, "full") for _ in range(200)}
    assert 1 < len(answers) <= 10
    assert all(answer.startswith(b"HTTP/1.1 503 ") and answer.endswith(b"full\n") for answer in answers)
    before = [kept.answer(503, "full") for _ in range(50)]
    assert len(set(map(id, before))) <= 10
    now_s[0] += 1
    after = [kept.answer(503, "full") for _ in range(50)]
    assert not any(one is other for one in before for other in after)
    assert kept.answer(429, "full").startswith(b"HTTP/1.1 429 ")
