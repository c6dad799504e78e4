"""What operators see of a gateway: its figures, its sessions, a trace, and the files of the page."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from mdstream.cli.trace import shown
from support.tls_files import make

NAME = "SIM:A"
BOOK = {"op": "subscribe", "channel": "book", "instruments": [NAME]}


def get(path: str) -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()


class Traced:
    """The lines of a trace, as they come."""

    def __init__(self, reader: asyncio.StreamReader) -> None:
        self._reader = reader

    async def next(self) -> dict[str, Any]:
        line: dict[str, Any] = json.loads(await self._reader.readline())
        return line

    async def until(self, event: str, **values: Any) -> dict[str, Any]:
        while True:
            line = await self.next()
            if line["event"] == event and all(line.get(name) == value for name, value in values.items()):
                return line


@asynccontextmanager
async def traced(port: int, session: str, more: str = "") -> AsyncIterator[Traced]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(get(f"/v1/trace?session={session}{more}"))
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200 ") and b"application/x-ndjson" in head, head
        yield Traced(reader)
    finally:
        writer.close()
        await writer.wait_closed()


def test_the_figures_say_what_there_is(run, nats_server, gateway, feed, ws, http) -> None:
    async def scenario() -> None:
        async with gateway(nats_server.url) as server, feed(nats_server.url, NAME) as publisher:
            before = await status(http, server)
            assert (before["not_ready"], before["nats"]["connected"], before["feeds"]) == (None, True, [])
            await publisher.announce([100, 1], [101, 2])
            client = await ws.open(server.port)
            client.send(BOOK)
            await client.until("snapshot")
            await publisher.put("book", "nonsense")
            await publisher.book([100, 5], [])
            await client.until("delta")
            while (after := await status(http, server))["instruments"]["live"] != 1:
                await asyncio.sleep(0.01)  # what could not be read may have cost it `live` for a moment
            assert after["counts"]["connections"] == after["counts"]["subscriptions"] == 1
            assert after["totals"]["opened"] == 1 and sum(after["flush_us"]) > sum(before["flush_us"])
            (venue,) = after["feeds"]
            assert (venue["venue"], venue["instruments"], venue["refused"]) == ("SIM", 1, 1)
            assert after["troubled"] == []
            assert after["refusals"]["latest"][0]["instrument"] == NAME
            assert (after["workers"], after["draining"], after["slow"]) == ([], False, [])

    run(scenario())


async def status(http: Any, server: Any) -> Any:
    answer = await http(server.admin_port, get("/v1/status"))
    assert (answer.status, answer.headers["content-type"]) == (200, "application/json")
    return json.loads(answer.body)


def test_sessions_are_listed_in_pages(run, nats_server, gateway, ws, http) -> None:
    async def scenario() -> None:
        async with gateway(nats_server.url) as server:
            clients = [await ws.open(server.port, "msgpack") for _ in range(5)]
            names = sorted([(await each.recv())["session"] for each in clients])
            assert await listed(http, server, "") == (names, None)
            assert await listed(http, server, "?limit=3") == (names[:3], names[2])
            assert await listed(http, server, f"?limit=3&after={names[2]}") == (names[3:], None)
            assert await listed(http, server, "?address=127.0.0.1&limit=1") == (names[:1], names[0])
            for query in ("?user=nobody", "?slow=1", "?address=10.0.0.1", f"?after={names[-1]}"):
                assert await listed(http, server, query) == ([], None)

    run(scenario())


async def listed(http: Any, server: Any, query: str) -> tuple[list[str], str | None]:
    answer = await http(server.admin_port, get(f"/v1/sessions{query}"))
    assert answer.status == 200, answer.body
    page = json.loads(answer.body)
    for row in page["sessions"]:
        assert (row["format"], row["address"], row["user"], row["slow"]) == (
            "msgpack",
            "127.0.0.1",
            None,
            False,
        )
    return [row["session"] for row in page["sessions"]], page["next"]


@pytest.mark.parametrize("format", ["json", "msgpack"])
@pytest.mark.parametrize("compression", [False, True])
def test_a_trace_shows_commands_and_messages_and_the_end(
    format, compression, run, nats_server, gateway, feed, ws
) -> None:
    async def scenario() -> None:
        offer = {"Sec_WebSocket_Extensions": "permessage-deflate"} if compression else {}
        async with gateway(nats_server.url) as server, feed(nats_server.url, NAME) as publisher:
            await publisher.announce([100, 1], [101, 2])
            client = await ws.open(server.port, format, **offer)
            name = (await client.recv())["session"]
            async with traced(server.admin_port, name) as trace:
                first = await trace.next()
                assert (first["event"], first["session"], first["compression"]) == (
                    "session",
                    name,
                    compression,
                )
                client.send({**BOOK, "id": 3})
                snapshot = await client.until("snapshot")
                assert (await trace.until("in"))["names"] == [NAME]
                told = await trace.until("out", type="subscribed")
                assert (told["id"], told["instrument"], told["sub"]) == (3, NAME, snapshot["sub"])
                assert (await trace.until("out", type="snapshot"))["seq"] == snapshot["seq"]
                seq = await publisher.book([100, 5], [])
                assert (await client.until("delta"))["last"] == seq, "its own client notices nothing"
                delta = await trace.until("out", type="delta")
                assert (delta["first"], delta["last"]) == (seq, seq)
                assert f"> delta sub={snapshot['sub']} first={seq} last={seq}" in shown(delta)
                client.send_frame(8, b"\x03\xe8")
                assert (await trace.until("closed"))["code"] == 1000
                assert (await trace.next())["event"] == "end"

    run(scenario())


def test_a_trace_over_tls_and_of_a_client_that_stops_reading(
    run, nats_server, gateway, feed, ws, tmp_path
) -> None:
    made = make(tmp_path, "server")
    trusting = ssl.create_default_context(cafile=str(made.cert))

    async def scenario() -> None:
        async with feed(nats_server.url, NAME) as publisher:
            await publisher.announce([100, 1], [101, 2])
            for secure in (False, True):
                files = {"tls_cert": made.cert, "tls_key": made.key} if secure else {}
                async with gateway(nats_server.url, slow_limit_ms=60_000, **files) as server:
                    client = await ws.open(
                        server.port, tls=trusting if secure else None, receive_buffer=4_096
                    )
                    name = (await client.recv())["session"]
                    client.send(BOOK)
                    await client.until("snapshot")
                    async with traced(server.admin_port, name) as trace:
                        client.stop_reading()
                        telling = asyncio.ensure_future(trace.until("slow"))
                        while not telling.done():
                            await publish_much(publisher)
                        assert (await telling)["unread_bytes"] > 0
                        client.read_on()
                        newest = await publisher.book([100, 1], [])
                        while (await client.until("delta"))["last"] < newest:
                            pass
                        await trace.until("reads")

    run(scenario(), deadline_s=60)


async def publish_much(publisher: Any) -> None:
    for _ in range(50):
        await publisher.book([value for i in range(90) for value in (100 - i, publisher.seq + i + 1)], [])
    await publisher.bus.flush()


def test_a_trace_that_ends_leaves_the_session_as_it_was(run, nats_server, gateway, feed, ws, http) -> None:
    async def scenario() -> None:
        async with gateway(nats_server.url) as server, feed(nats_server.url, NAME) as publisher:
            await publisher.announce([100, 1], [101, 2])
            client = await ws.open(server.port)
            name = (await client.recv())["session"]
            client.send(BOOK)
            await client.until("snapshot")
            for bodies in ("", "&bodies=1"):
                async with traced(server.admin_port, name, bodies) as trace:
                    assert (await trace.next())["views"][0]["instrument"] == NAME
                    await publisher.book([100, 5 + len(bodies)], [])
                    assert ("body" in await trace.until("out", type="delta")) == bool(bodies)
                    await client.until("delta")
            tracing = server.inspection._tracing
            while tracing._traces:
                await asyncio.sleep(0)
            seq = await publisher.book([99, 1], [])
            assert (await client.until("delta", last=seq))["first"] == seq

    run(scenario())


def test_what_cannot_be_shown_is_said(run, nats_server, gateway, ws, http) -> None:
    cases = {
        "/v1/trace": (400, b"16 hexadecimal digits"),
        "/v1/trace?session=../../etc/passwd": (400, b"16 hexadecimal digits"),
        "/v1/trace?session=0123456789abcdef": (404, b"there is no session 0123456789abcdef here"),
        "/v1/trace?session=0123456789abcdef&bodies=yes": (400, b"bodies must be 0 or 1"),
        "/v1/sessions?limit=0": (400, b"limit must be a number from 1 to 1000"),
        "/v1/sessions?limit=%C2%B2": (400, b"limit must be"),
        "/v1/sessions?all=1": (400, b"'all' is not known here"),
        "/v1/sessions?slow=1&slow=1": (400, b"slow is given more than once"),
        "/v1/sessions?%FF": (400, b"the query cannot be read"),
        "/operator": (308, b"/operator/"),
        "/operator/../pyproject.toml": (404, b""),
        "/operator/nothing.js": (404, b""),
        "/nothing": (404, b"/v1/status"),
    }

    async def scenario() -> None:
        async with gateway(nats_server.url) as server:
            for path, (code, said) in cases.items():
                answer = await http(server.admin_port, get(path))
                assert (answer.status, said in answer.body) == (code, True), (path, answer.body)
            stranger = b"GET /v1/status HTTP/1.1\r\nHost: evil.example\r\n\r\n"
            assert (await http(server.admin_port, stranger)).status == 403
            client = await ws.open(server.port)
            name = (await client.recv())["session"]
            head = await http(server.admin_port, get(f"/v1/trace?session={name}").replace(b"GET", b"HEAD", 1))
            assert (head.status, head.body) == (200, b"")
            loop = [await http(server.admin_port, get("/v1/sessions")) for _ in range(30)]
            assert loop[-1].status == 429 and loop[-1].headers["retry-after"] == "1"

    run(scenario())


def test_the_page_brings_all_it_needs_and_may_ask_nobody_else(run, nats_server, gateway, http) -> None:
    async def scenario() -> None:
        async with gateway(nats_server.url) as server:
            page = await http(server.admin_port, get("/operator/"))
            assert (page.status, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
            policy = page.headers["content-security-policy"]
            assert "default-src 'none'" in policy and "unsafe" not in policy
            assert b"style=" not in page.body and b"onclick" not in page.body and b"http" not in page.body
            for name in ("page.js", "page.css", "icon.svg"):
                assert (await http(server.admin_port, get(f"/operator/{name}"))).status == 200
                assert name.encode() in page.body

    run(scenario())
