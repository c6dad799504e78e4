"""What the admin listener answers, without a socket."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest

from mdstream.gateway.http_listener import MAX_HEAD, MOST_CONNECTIONS, HttpListener, Page, answer
from mdstream.gateway.http_messages import RequestLine


def page(request: RequestLine, head: bytes, address: str) -> Page:
    if request.path == b"/broken":
        raise RuntimeError("no")
    return 200, f"{request.method} {request.target.decode()} {request.version}", [("X", "y")]


def answered(head: bytes) -> tuple[int, dict[str, str], str]:
    whole = answer(head, "127.0.0.1:1", make_page=page).decode()
    top, _, body = whole.partition("\r\n\r\n")
    first, *lines = top.split("\r\n")
    return int(first.split(" ")[1]), dict(line.split(": ", 1) for line in lines), body


@pytest.mark.parametrize(
    ("head", "body"),
    [
        (b"GET /a?b=c HTTP/1.1\r\nHost: x", "GET /a?b=c 1.1\n"),
        (b"GET /a HTTP/1.0", "GET /a 1.0\n"),
        (b"GET /a HTTP/1.2\r\nHost: x", "GET /a 1.1\n"),
        (b"\r\nGET /a HTTP/1.1\r\nHost: x", "GET /a 1.1\n"),
        (b"GET http://x:1/a?b HTTP/1.1\r\nHost: x", "GET /a?b 1.1\n"),
        (b"GET http://x HTTP/1.1\r\nHost: x", "GET / 1.1\n"),
        (b"GET http://x?b HTTP/1.1\r\nHost: x", "GET /?b 1.1\n"),
        (b"OPTIONS * HTTP/1.1\r\nHost: x", "OPTIONS * 1.1\n"),
    ],
)
def test_every_form_that_the_rfcs_allow(head: bytes, body: str) -> None:
    status, headers, text = answered(head)
    assert (status, text, headers["X"]) == (200, body, "y")
    assert headers["Content-Length"] == str(len(body))
    assert (headers["Connection"], headers["Cache-Control"]) == ("close", "no-store")
    assert headers["Date"].endswith(" GMT")
    assert ("Allow" in headers) == head.startswith(b"OPTIONS")


def test_head_is_get_without_the_body() -> None:
    status, headers, body = answered(b"HEAD /a HTTP/1.1\r\nHost: x")
    assert (status, headers["Content-Length"], body) == (200, str(len("HEAD /a 1.1\n")), "")


def test_what_is_refused_says_why() -> None:
    assert answered(b"nonsense")[0] == 400
    assert answered(b"GET / HTTP/2.0")[0] == 400
    status, headers, body = answered(b"POST /a HTTP/1.1\r\nHost: x")
    assert (status, headers["Allow"], "POST" in body) == (405, "GET, HEAD, OPTIONS", True)


def test_a_page_that_fails_is_500_and_logged(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR):
        assert answered(b"GET /broken HTTP/1.1")[::2] == (500, "internal error\n")
    assert caplog.records[0].exc_info is not None


def test_every_answer_tells_browsers_to_be_careful() -> None:
    for head in (b"GET /a HTTP/1.1\r\nHost: x", b"nonsense", b"POST / HTTP/1.1", b"GET /broken HTTP/1.1"):
        _, headers, _ = answered(head)
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Content-Security-Policy"] == "default-src 'none'; frame-ancestors 'none'"
        assert headers["Referrer-Policy"] == "no-referrer"
        assert headers["Cache-Control"] == "no-store"


# ---- connections


class Wire(asyncio.Transport):
    """The other side of a connection."""

    def __init__(self) -> None:
        super().__init__({"peername": ("127.0.0.1", 1)})
        self.sent = b""
        self.aborted = False

    def write(self, data: Any) -> None:
        self.sent += data

    def close(self) -> None: ...

    def abort(self) -> None:
        self.aborted = True


def connect(listener: HttpListener) -> tuple[asyncio.Protocol, Wire]:
    exchange, wire = listener.exchange(), Wire()
    exchange.connection_made(wire)
    return exchange, wire


def test_a_head_is_bounded_also_if_it_comes_in_one_read(run) -> None:
    async def scenario() -> None:
        for more, status in ((0, b"200"), (1, b"431")):
            exchange, wire = connect(HttpListener(page))
            start = b"GET /a HTTP/1.1\r\nX: "
            exchange.data_received(start + b"y" * (MAX_HEAD - len(start) + more) + b"\r\n\r\n")
            assert wire.sent.startswith(b"HTTP/1.1 " + status)
            exchange.connection_lost(None)

    run(scenario())


def test_of_too_many_connections_the_oldest_that_is_idle_ends(run) -> None:
    async def scenario() -> None:
        listener = HttpListener(page)
        open_ones = [connect(listener) for _ in range(MOST_CONNECTIONS)]
        open_ones[0][0].data_received(b"GET /a HTTP/1.1\r\n\r\n")
        assert not any(wire.aborted for _, wire in open_ones)
        open_ones += [connect(listener), connect(listener)]
        assert [at for at, (_, wire) in enumerate(open_ones) if wire.aborted] == [1, 2]
        for exchange, _ in open_ones:
            exchange.connection_lost(None)
        again = [connect(listener) for _ in range(MOST_CONNECTIONS)]
        assert not any(wire.aborted for _, wire in again), "what has ended takes no room"
        for exchange, _ in again:
            exchange.connection_lost(None)

    run(scenario())


def test_connections_that_do_not_read_their_answer_keep_nobody_out(run) -> None:
    async def scenario() -> None:
        listener = HttpListener(page)
        open_ones = [connect(listener) for _ in range(MOST_CONNECTIONS)]
        for exchange, _ in open_ones:
            exchange.data_received(b"GET /a HTTP/1.1\r\n\r\n")
        last, wire = connect(listener)
        last.data_received(b"GET /a HTTP/1.1\r\n\r\n")
        assert wire.sent.startswith(b"HTTP/1.1 200") and open_ones[0][1].aborted
        for exchange, _ in [*open_ones, (last, wire)]:
            exchange.connection_lost(None)

    run(scenario())


def test_a_page_that_takes_several_turns_is_answered_when_it_is_made(
    run, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario() -> None:
        made = asyncio.Event()

        async def later(request: RequestLine) -> Page:
            await made.wait()
            return page(request, b"", "")

        listener = HttpListener(lambda request, head, address: later(request))
        good, broken, gone = (connect(listener) for _ in range(3))
        for (exchange, _), path in ((good, b"/a"), (broken, b"/broken"), (gone, b"/a")):
            exchange.data_received(b"GET %b HTTP/1.1\r\n\r\n" % path)
            exchange.data_received(b"more")
        await asyncio.sleep(0)
        assert good[1].sent == b""
        gone[0].connection_lost(None)
        made.set()
        for _ in range(5):
            await asyncio.sleep(0)
        assert good[1].sent.startswith(b"HTTP/1.1 200") and good[1].sent.endswith(b"GET /a 1.1\n")
        assert broken[1].sent.startswith(b"HTTP/1.1 500") and gone[1].sent == b""
        for exchange, _ in (good, broken):
            exchange.connection_lost(None)

    run(scenario())
    assert [record.message for record in caplog.records] == ["an admin page could not be made"]
