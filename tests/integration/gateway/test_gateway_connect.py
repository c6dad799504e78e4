"""Connections before their upgrade, many at a time, and those that never come to it."""

from __future__ import annotations

import asyncio
import errno
import logging
import ssl

from mdstream._core.entry.doorway import Doorway
from mdstream.gateway import client_listener
from support.certificates import certificate, needs_openssl

BOOK = {"op": "subscribe", "channel": "book", "instruments": ["SIM:A"]}


async def idle(port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    return await asyncio.open_connection("127.0.0.1", port)


async def half_open(server, count: int) -> None:
    """Until the gateway has seen so many."""
    while server._server.half_open != count:
        await asyncio.sleep(0.005)


def test_half_open_connections_are_bounded_and_those_beyond_are_told_so(
    run, nats_server, gateway, http, upgrade, ws
) -> None:
    async def scenario() -> None:
        async with gateway(nats_server.url, max_handshakes=3, handshake_ms=300) as server:
            waiting = [await idle(server.port) for _ in range(3)]
            await half_open(server, 3)
            reader, writer = await idle(server.port)
            answer = (await reader.read()).decode()
            assert answer.startswith("HTTP/1.1 503 ") and "Retry-After: " in answer
            assert "too many clients are connecting" in answer
            writer.close()
            for reader, writer in waiting:
                assert await reader.read() == b"", "dropped without a word when its time is up"
                writer.close()
            client = await ws.open(server.port)
            assert (await client.recv())["type"] == "welcome"
            await half_open(server, 0)
            page = await http(server.admin_port, b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert b'mdstream_connections_refused_total{status="503"} 1.0' in page.body

    run(scenario())


def test_half_open_connections_take_their_place_among_all(run, nats_server, gateway, http, upgrade) -> None:
    async def scenario() -> None:
        async with gateway(nats_server.url, max_connections=1) as server:
            _, writer = await idle(server.port)
            await half_open(server, 1)
            assert (await http(server.port, upgrade())).status == 503
            writer.close()
            while (response := await http(server.port, upgrade(Sec_WebSocket_Key=None))).status == 503:
                await asyncio.sleep(0.005)
            assert response.status == 400

    run(scenario())


def test_a_request_that_comes_in_pieces_is_read_and_an_endless_one_is_not(
    run, nats_server, gateway, upgrade
) -> None:
    async def scenario() -> None:
        async with gateway(nats_server.url) as server:
            reader, writer = await idle(server.port)
            for octet in upgrade():
                writer.write(bytes([octet]))
                await asyncio.sleep(0)
            assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 101 ")
            writer.close()
            reader, writer = await idle(server.port)
            writer.write(b"GET /v1/stream HTTP/1.1\r\nX: " + b"x" * 17_000)
            assert await reader.read() == b""
            writer.close()

    run(scenario())


@needs_openssl
def test_a_tls_handshake_counts_as_half_open_and_is_bounded_in_time(
    run, nats_server, gateway, ws, tmp_path, caplog
) -> None:
    cert, key = certificate(tmp_path, "server")
    trusted = ssl.create_default_context(cafile=str(cert))

    async def scenario() -> None:
        options = {"tls_cert": cert, "tls_key": key, "max_handshakes": 2, "handshake_ms": 300}
        async with gateway(nats_server.url, **options) as server:
            waiting = [await idle(server.port) for _ in range(2)]
            await half_open(server, 2)
            reader, writer = await idle(server.port)
            assert await reader.read() == b"", "there is nothing to say to one who waits for TLS"
            writer.close()
            for reader, writer in waiting:
                assert await reader.read() == b""
                writer.close()
            await half_open(server, 0)
            client = await ws.open(server.port, tls=trusted)
            assert (await client.recv())["type"] == "welcome"

    with caplog.at_level(logging.WARNING, logger="mdstream"):
        run(scenario())
    assert caplog.records == []


def test_a_storm_of_connections_each_with_its_book_while_updates_go_on(
    run, nats_server, gateway, feed, ws
) -> None:
    async def scenario() -> None:
        async with feed(nats_server.url, "SIM:A") as pub, gateway(nats_server.url) as server:
            await pub.announce([1000, 5], [1001, 7])
            steady = await ws.open(server.port)
            steady.send(BOOK)
            seq = (await steady.until("snapshot"))["seq"]

            async def arrive(format: str) -> None:
                client = await ws.open(server.port, format)
                client.send(BOOK)
                assert (await client.recv())["type"] == "welcome"
                assert (await client.recv())["type"] == "subscribed"
                first = await client.recv()
                assert first["type"] == "snapshot" and first["reason"] in ("subscribe", 0)

            storm = asyncio.gather(*(arrive(("json", "msgpack")[i % 2]) for i in range(300)))
            while not storm.done():
                await pub.book([1000, pub.seq % 9 + 1], [])
                delta = await steady.until("delta")
                assert delta["first"] == seq + 1
                seq = delta["last"]
            await storm
            assert server.clients == 301

    run(scenario())


def test_without_file_descriptors_it_waits_and_goes_on(
    run, nats_server, gateway, ws, caplog, monkeypatch
) -> None:
    shortage = [OSError(errno.EMFILE, "Too many open files")]

    class Short(Doorway):
        def take(self, listening: int) -> None:
            if shortage:
                raise shortage.pop()
            super().take(listening)

    monkeypatch.setattr(client_listener, "Doorway", Short)
    monkeypatch.setattr(client_listener, "_PAUSE_S", 0.01)

    async def scenario() -> None:
        async with gateway(nats_server.url) as server:
            client = await ws.open(server.port)
            assert (await client.recv())["type"] == "welcome"

    with caplog.at_level(logging.WARNING):
        run(scenario())
    assert ["too many open files" in record.message for record in caplog.records] == [True]
