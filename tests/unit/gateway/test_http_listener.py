"""What the admin listener answers, without a socket."""

from __future__ import annotations

import logging

import pytest

from mdstream.gateway.http_listener import Page, answer
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
