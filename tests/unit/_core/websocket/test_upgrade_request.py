"""The usual upgrade request is read in one pass; whatever is not quite usual is left to picows."""

from __future__ import annotations

import base64
import hashlib
import random

import pytest

from mdstream._core.websocket import upgrade_request

LINES = [
    b"GET /v1/stream HTTP/1.1",
    b"Host: localhost",
    b"Upgrade: websocket",
    b"Connection: Upgrade",
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
    b"Sec-WebSocket-Version: 13",
]
ACCEPT = b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="  # of RFC 6455 section 1.3


def request(*more: bytes, without: bytes = b"~", line: bytes = LINES[0]) -> bytes:
    return b"\r\n".join([line, *(each for each in LINES[1:] if not each.startswith(without)), *more])


def test_the_usual_request() -> None:
    bare = (None, None, None, None, b"localhost", ACCEPT)
    assert upgrade_request.read(request()) == (b"/v1/stream", *bare)
    more = [b"sec-websocket-protocol:  a, b\t", b"SEC-WEBSOCKET-EXTENSIONS:x", b"User-Agent: y", b"Empty:"]
    who = [b"authorization: Bearer x.y.z", b"ORIGIN: https://a.example"]
    values = (b"a, b", b"x", b"Bearer x.y.z", b"https://a.example", b"localhost", ACCEPT)
    assert upgrade_request.read(request(*more, *who)) == (b"/v1/stream", *values)
    assert upgrade_request.read(request(line=b"GET /?q=1%20 HTTP/1.1")) == (b"/?q=1%20", *bare)


@pytest.mark.parametrize("value", [b"upgrade", b"keep-alive, Upgrade", b"UPGRADE ,x", b"a,,upgrade"])
def test_connection_is_a_list(value: bytes) -> None:
    assert upgrade_request.read(request(b"Connection: " + value, without=b"Connection")) is not None


@pytest.mark.parametrize(
    "head",
    [
        b"",
        b"GET",
        request(line=b"GET /v1/stream HTTP/1.0"),
        request(line=b"POST /v1/stream HTTP/1.1"),
        request(line=b"GET  HTTP/1.1"),
        request(line=b"GET /v1/stream  HTTP/1.1"),
        request(line=b"GET v1/stream HTTP/1.1"),
        request(line=b"GET /\xff HTTP/1.1"),
        *(request(without=name.partition(b":")[0]) for name in LINES[1:]),
        *(request(line) for line in LINES[1:]),
        request(b"Connection: close", without=b"Connection"),
        request(b"Connection: up grade", without=b"Connection"),
        request(b"Connection: @, upgrade", without=b"Connection"),
        request(b"Upgrade: websocket, x", without=b"Upgrade"),
        request(b"Sec-WebSocket-Version: 8", without=b"Sec-WebSocket-Version"),
        request(b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=", without=b"Sec-WebSocket-Key"),
        request(b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZSEh", without=b"Sec-WebSocket-Key"),
        request(b"Sec-WebSocket-Key: dGhlIHNhbXBsZ!Bub25jZQ==", without=b"Sec-WebSocket-Key"),
        request(b"Sec-WebSocket-Protocol: a", b"Sec-WebSocket-Protocol: b"),
        request(b"Authorization: a", b"Authorization: b"),
        request(b"Origin: a", b"Origin: b"),
        request(b"Content-Length: 0"),
        request(b"Transfer-Encoding: chunked"),
        request(b"No colon"),
        request(b"Bad name: x"),
        request(b": x"),
        request(b" folded: x"),
        request(b"X: \x00"),
        request(b"X: \x7f"),
        request(b"X: \xc3\xa9"),
        request(b"X: a\nY: b"),
        request(b"X: a\rY: b"),
        request(b"X: a\r"),
        request(b""),
        request(b"", b"X: a"),
        request(*[b"X: a"] * 100),
    ],
)
def test_whatever_else_comes_is_left_to_picows(head: bytes) -> None:
    assert upgrade_request.read(head) is None


def test_picows_reads_what_is_allowed_and_says_what_is_not() -> None:
    made = upgrade_request.parse(request(b"X: \xc3\xa9", b"Content-Length: 0"))
    assert (made.path, made.headers["host"]) == (b"/v1/stream", "localhost")
    assert upgrade_request.validate(made) == ACCEPT
    with pytest.raises(RuntimeError, match="HTTP version"):
        upgrade_request.parse(request(line=b"GET /v1/stream HTTP/1.0"))
    with pytest.raises(RuntimeError, match="invalid key"):
        upgrade_request.validate(upgrade_request.parse(request(without=b"Sec-WebSocket-Key")))


def test_the_answer_to_any_key_is_that_of_the_standard_library() -> None:
    chance = random.Random(5)
    for _ in range(200):
        key = base64.b64encode(chance.randbytes(16))
        accept = base64.b64encode(hashlib.sha1(key + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest())
        read = upgrade_request.read(request(b"Sec-WebSocket-Key: " + key, without=b"Sec-WebSocket-Key"))
        assert read is not None and read[-1] == accept
