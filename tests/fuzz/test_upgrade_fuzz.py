"""Hostile upgrade requests: the quick reader accepts only what the strict one accepts, with the same result."""

from __future__ import annotations

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mdstream._core.websocket import upgrade_request
from mdstream.gateway.handshake import Accepted, Refused
from mdstream.gateway.upgrades import Upgrades, switching

KEY = b"dGhlIHNhbXBsZSBub25jZQ=="
GOOD = [
    b"GET /v1/stream HTTP/1.1",
    b"Host: localhost",
    b"Upgrade: websocket",
    b"Connection: keep-alive, Upgrade",
    b"Sec-WebSocket-Key: " + KEY,
    b"Sec-WebSocket-Version: 13",
    b"Sec-WebSocket-Protocol: mdstream.v1.json",
    b"Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits",
    b"User-Agent: x",
    b"Authorization: Bearer a.b.c",
    b"Origin: http://localhost",
]
PIECES = [
    b"\r\n",
    b"\n",
    b"\r",
    b":",
    b" ",
    b"\t",
    b",",
    b"=",
    b"\x00",
    b"\xff",
    b"GET",
    b"HTTP/1.1",
    b"websocket",
]


@st.composite
def mangled(draw: st.DrawFn) -> bytes:
    """A good request with lines shuffled, removed or doubled, and a few bytes changed."""
    lines = [GOOD[0], *draw(st.lists(st.sampled_from(GOOD[1:]), min_size=4, max_size=12))]
    head = b"\r\n".join(lines if draw(st.booleans()) else GOOD)
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, len(head)))
        put = draw(st.one_of(st.binary(max_size=2), st.sampled_from(PIECES)))
        head = head[:at] + put + head[at + draw(st.integers(0, 3)) :]
    return head


@given(st.one_of(mangled(), st.binary(max_size=300)))
@example(b"\r\n".join(GOOD))
def test_the_quick_reader_accepts_nothing_that_the_strict_one_refuses(head: bytes) -> None:
    quick = upgrade_request.read(head)
    if quick is None:
        return
    target, *values, accept = quick
    request = upgrade_request.parse(head)
    assert request.path == target
    names = ("Sec-WebSocket-Protocol", "Sec-WebSocket-Extensions", "Authorization", "Origin", "Host")
    for name, value in zip(names, values, strict=True):
        assert request.headers.getall(name, []) == ([] if value is None else [value.decode()])
    request.headers["Connection"] = "upgrade"
    assert upgrade_request.validate(request) == accept


def without_date(answer: bytes) -> bytes:
    """A second may end between two of them."""
    return re.sub(rb"\r\nDate: [^\r]*", b"", answer)


@given(mangled())
@example(b"\r\n".join(GOOD))
def test_every_request_has_one_answer_whether_remembered_or_not(head: bytes) -> None:
    upgrades = Upgrades(compression=True)
    first, answer = upgrades.answer(head, None)
    again, same = upgrades.answer(head, None)
    assert (again, without_date(same)) == (first, without_date(answer))
    if isinstance(first, Accepted):
        assert answer.startswith(switching(first)) and answer.endswith(b"=\r\n\r\n")
    else:
        assert first.status in (400, 404)
        assert answer.startswith(b"HTTP/1.1 %d " % first.status)


@pytest.mark.parametrize("busy", ["full", None])
@given(head=mangled())
def test_a_busy_gateway_accepts_nobody(busy: str | None, head: bytes) -> None:
    verdict, _ = Upgrades(compression=True).answer(head, busy)
    assert busy is None or isinstance(verdict, Refused)
