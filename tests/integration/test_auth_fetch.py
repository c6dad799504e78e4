"""The bounded fetch and the callback against servers that misbehave."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from mdstream.auth import reasons
from mdstream.auth.authenticator import Authenticator, Methods
from mdstream.auth.callback import MAX_ASKED, Callback, CallbackOptions
from mdstream.auth.credentials import Credentials
from mdstream.auth.fetch import Answer, FetchError, check_url, fetch
from mdstream.auth.revocations import Revocations
from mdstream.errors import CannotJudge, Unauthorized
from support.certificates import certificate, needs_openssl
from support.tokens import EVERYTHING, NOW_S

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def served(serve: Serve, tls: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    """A server on loopback; its port."""
    open_writers: list[asyncio.StreamWriter] = []
    handling: set[asyncio.Task[Any] | None] = set()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        open_writers.append(writer)
        handling.add(asyncio.current_task())
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            await serve(reader, writer)

    server = await asyncio.start_server(handle, "127.0.0.1", 0, ssl=tls)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for writer in open_writers:
            writer.transport.abort()
        await asyncio.gather(*(task for task in handling if task is not None), return_exceptions=True)
        for writer in open_writers:
            with suppress(OSError):
                await writer.wait_closed()


def answering(*pieces: bytes, forever: bytes = b"", asked: list[bytes] | None = None) -> Serve:
    """Reads a request, sends the pieces, then goes on with ``forever`` or ends."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        size = [int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
        if asked is not None:
            asked.append(head + (await reader.readexactly(size[0]) if size else b""))
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
        while forever:
            writer.write(forever)
            await writer.drain()
            await asyncio.sleep(0.01)
        if not pieces:
            await reader.read()
        writer.close()

    return serve


OK = b"HTTP/1.1 200 OK\r\n"


async def get(port: int, *, timeout_s: float = 10, max_bytes: int = 1_000) -> Any:
    return await fetch(f"http://127.0.0.1:{port}/keys?x=1", timeout_s=timeout_s, max_bytes=max_bytes)


@pytest.mark.parametrize(
    "pieces",
    [
        (OK + b"Content-Length: 2\r\n\r\n{}",),
        (OK + b"Transfer-Encoding: chunked\r\n\r\n1\r\n{\r\n", b"1\r\n}\r\n0\r\n\r\n"),
        (OK + b"\r\n{", b"}"),
        (b"HTTP/1.0 200 OK\r\n\r\n{}",),
        (b"HTTP/1.1 103 Early Hints\r\n\r\n", OK + b"Content-Length: 2\r\n\r\n{}"),
    ],
)
def test_an_answer_in_every_form(run, pieces: tuple[bytes, ...]) -> None:
    async def scenario() -> None:
        asked: list[bytes] = []
        async with served(answering(*pieces, asked=asked)) as port:
            answer = await get(port)
            assert (answer.status, answer.body) == (200, b"{}")
            assert asked[0].startswith(b"GET /keys?x=1 HTTP/1.1\r\n")

    run(scenario())


@pytest.mark.parametrize(
    ("serve", "why"),
    [
        (answering(), "no answer within"),
        (answering(OK, forever=b"X-A: b\r\n"), "no answer within|not HTTP"),
        (answering(OK + b"Content-Length: 5000\r\n\r\n", forever=b"x"), "no answer within"),
        (answering(OK + b"Content-Length: 5000\r\n\r\n" + b"x" * 5000), "more than 1000 bytes"),
        (answering(OK + b"\r\n", forever=b"x" * 500), "more than 1000 bytes"),
        (answering(OK + b"X: " + b"y" * 200_000 + b"\r\n\r\n"), "not HTTP"),
        (
            answering(
                b"HTTP/1.1 302 Found\r\nLocation: http://169.254.169.254/\r\nContent-Length: 0\r\n\r\n"
            ),
            "redirects",
        ),
        (answering(b"HTTP/1.1 307 Temporary Redirect\r\nLocation: file:///etc/passwd\r\n\r\n"), "redirects"),
        (answering(b"SSH-2.0-OpenSSH\r\n"), "not HTTP"),
        (answering(OK + b"Content-Length: 10\r\n\r\n{}"), "not HTTP|ended"),
        (answering(OK + b"Content-Length: x\r\n\r\n"), "not HTTP"),
        (answering(OK + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n"), "not HTTP"),
    ],
)
def test_servers_that_misbehave(run, serve: Serve, why: str) -> None:
    async def scenario() -> None:
        async with served(serve) as port:
            with pytest.raises(FetchError, match=why):
                await get(port, timeout_s=0.3 if "within" in why else 10)

    run(scenario())


def test_nobody_there(run) -> None:
    async def scenario() -> None:
        async with served(answering()) as port:
            pass
        with pytest.raises(FetchError, match="connect|refused"):
            await get(port)

    run(scenario())


@needs_openssl
def test_a_certificate_is_verified(run, tmp_path: Path) -> None:
    async def scenario() -> None:
        cert, key = certificate(tmp_path, "server")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(cert, key)
        async with served(answering(OK + b"Content-Length: 2\r\n\r\n{}"), context) as port:
            url = f"https://127.0.0.1:{port}/"
            trusting = ssl.create_default_context(cafile=str(cert))
            answer = await fetch(url, timeout_s=10, max_bytes=10, ssl=trusting)
            assert answer.body == b"{}"
            with pytest.raises(FetchError, match="certificate cannot be verified"):
                await fetch(url, timeout_s=10, max_bytes=10)

    run(scenario())


@pytest.mark.parametrize(
    "url",
    [
        "http://example.com/",
        "http://127.0.0.1.example.com/",
        "ftp://127.0.0.1/",
        "file:///etc/passwd",
        "https://",
        "https://user:secret@example.com/",
        "https://example.com/#x",
        "https://example.com:0/",
        "https://example.com:x/",
        "https://example.com/\r\nX: y",
        "https://exämple.com/",
    ],
)
def test_urls_that_are_refused(url: str) -> None:
    with pytest.raises(ValueError, match="URL|http://") as refused:
        check_url(url)
    assert "secret" not in str(refused.value)


# ---- the callback


def asking(port: int, *, timeout_s: float = 10.0) -> Authenticator:
    options = CallbackOptions(f"http://127.0.0.1:{port}/who", ("cookie", "authorization"), timeout_s)
    callback = Callback(options, wall_s=lambda: NOW_S, now_s=lambda: 0.0)
    return Authenticator(Methods(callback=callback), Revocations(lambda: 0), now_s=lambda: 0.0)


def client(**headers: str) -> Credentials:
    return Credentials(header=headers.get)


def said(**fields: Any) -> bytes:
    body = json.dumps(fields).encode()
    return OK + b"Content-Length: %d\r\n\r\n%b" % (len(body), body)


def test_the_callback_says_who_it_is_and_is_asked_once(run) -> None:
    async def scenario() -> None:
        asked: list[bytes] = []
        answer = said(subject="alice", md=EVERYTHING, expires=NOW_S + 60)
        async with served(answering(answer, asked=asked)) as port:
            judge = asking(port)
            found = await asyncio.gather(
                *(judge.authenticate(client(cookie="s=1", x="2")) for _ in range(10))
            )
            assert {(each.subject, each.method, each.expires_at_s) for each in found} == {
                ("alice", "callback", 60.0)
            }
            await judge.authenticate(client(cookie="s=1"))
            assert len(asked) == 1
            head, _, body = asked[0].partition(b"\r\n\r\n")
            assert head.startswith(b"POST /who HTTP/1.1") and json.loads(body) == {
                "headers": {"cookie": "s=1"}
            }
            with pytest.raises(Unauthorized) as refused:
                await judge.authenticate(client(x="2"))
            assert refused.value.why == reasons.MISSING and len(asked) == 1

    run(scenario())


@pytest.mark.parametrize("status", [b"401 Unauthorized", b"403 Forbidden"])
def test_the_callback_says_no(run, status: bytes) -> None:
    async def scenario() -> None:
        async with served(answering(b"HTTP/1.1 %b\r\nContent-Length: 0\r\n\r\n" % status)) as port:
            with pytest.raises(Unauthorized) as refused:
                await asking(port).authenticate(client(cookie="x"))
            assert refused.value.why == reasons.DENIED

    run(scenario())


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 302 Found\r\nLocation: https://login/\r\n\r\n",
        said(),
        said(subject=""),
        said(subject=7),
        OK + b"Content-Length: 4\r\n\r\n<ok>",
        b"",
    ],
)
def test_no_answer_is_not_a_no(run, answer: bytes) -> None:
    async def scenario() -> None:
        async with served(answering(*([answer] if answer else []))) as port:
            with pytest.raises(CannotJudge):
                await asking(port, timeout_s=10 if answer else 0.2).authenticate(client(cookie="x"))

    run(scenario())


def test_only_so_many_are_asked_about_at_a_time(run) -> None:
    async def scenario() -> None:
        async def never(url: str, body: bytes, timeout_s: float) -> Answer:
            return await asyncio.get_running_loop().create_future()

        options = CallbackOptions("http://127.0.0.1/")
        callback = Callback(options, wall_s=lambda: NOW_S, now_s=lambda: 0.0, post=never)
        waiting = [
            asyncio.ensure_future(callback.ask({"cookie": str(i)}, b"%d" % (i // 2)))
            for i in range(2 * MAX_ASKED)
        ]
        await asyncio.sleep(0)
        assert callback.asking == MAX_ASKED
        with pytest.raises(CannotJudge, match="under way"):
            await callback.ask({"cookie": "one more"}, b"one more")
        await callback.stop()
        await asyncio.gather(*waiting, return_exceptions=True)
        assert callback.asking == 0

    run(scenario())
