"""What one address may have, over sockets: 127.0.0.1 and its neighbours are different addresses, and here none is exempt."""

from __future__ import annotations

import asyncio
import re
import shutil
import signal
import socket
import struct
import time
from typing import Any

import pytest

from support.ports import free_port
from support.program import Program

NOBODY_EXEMPT = {"limits_exempt": ()}
SIGNATURE = bytes.fromhex("0d0a0d0a000d0a515549540a")
BOOK = {"op": "subscribe", "channel": "book", "instruments": ["SIM:A"]}
A, B = "127.0.0.2", "127.0.0.3"


def introduced(client: str, request: bytes) -> bytes:
    """A request behind the PROXY header of version 2."""
    addresses = socket.inet_aton(client) + socket.inet_aton("127.0.0.1") + struct.pack("!HH", 4711, 80)
    return SIGNATURE + struct.pack("!BBH", 0x21, 0x11, len(addresses)) + addresses + request


async def until(condition: Any) -> None:
    while not condition():
        await asyncio.sleep(0.005)


def test_one_address_cannot_take_all_places(run, nats_server, gateway, ws, http, upgrade) -> None:
    async def scenario() -> None:
        async with gateway(nats_server.url, max_connections=20, **NOBODY_EXEMPT) as server:
            first = await ws.open(server.port, source=A)
            welcome = await first.recv()
            assert welcome["limits"]["address"]["connections"] == 2
            assert "user" not in welcome["limits"]
            await ws.open(server.port, source=A)
            refused = await http(server.port, upgrade(), source=A)
            assert refused.status == 429
            assert 1 <= int(refused.headers["retry-after"]) <= 10
            assert b"too many connections of one address; 2 are allowed" in refused.body
            other = await ws.open(server.port, source=B)
            assert (await other.recv())["type"] == "welcome"
            first.close()
            await until(lambda: server.clients == 2)
            assert (await (await ws.open(server.port, source=A)).recv())["type"] == "welcome"
            page = await http(server.admin_port, b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert b'mdstream_limited_total{limit="connections",scope="address"} 1.0' in page.body
            assert b'mdstream_limits_known{scope="address"} 2.0' in page.body

    run(scenario())


def test_loopback_has_no_such_limits_by_default(run, nats_server, gateway, ws) -> None:
    async def scenario() -> None:
        async with gateway(nats_server.url, max_connections=10) as server:
            for _ in range(8):
                client = await ws.open(server.port)
                welcome = await client.recv()
            assert "address" not in welcome["limits"] and "user" not in welcome["limits"]

    run(scenario())


def test_half_open_connections_of_one_address_are_bounded(run, nats_server, gateway, ws) -> None:
    async def scenario() -> None:
        async with gateway(nats_server.url, limits_address_handshakes=2, **NOBODY_EXEMPT) as server:
            waiting = [
                await asyncio.open_connection("127.0.0.1", server.port, local_addr=(A, 0)) for _ in range(2)
            ]
            await until(lambda: server._server.half_open == 2)
            reader, writer = await asyncio.open_connection("127.0.0.1", server.port, local_addr=(A, 0))
            answer = (await reader.read()).decode()
            assert answer.startswith("HTTP/1.1 429 ") and "Retry-After: " in answer
            writer.close()
            assert (await (await ws.open(server.port, source=B)).recv())["type"] == "welcome"
            for _, writer in waiting:
                writer.transport.abort()
            await until(lambda: server._server.half_open == 0)
            assert (await (await ws.open(server.port, source=A)).recv())["type"] == "welcome"

    run(scenario())


def test_connections_that_one_address_has_too_many_of_use_up_nothing_of_others(
    run, nats_server, gateway, ws
) -> None:
    async def scenario() -> None:
        few = {"limits_address_handshakes": 1, "accepts_per_second": 3}
        async with gateway(nats_server.url, **few, **NOBODY_EXEMPT) as server:
            now = time.monotonic()
            server._server._door.now_s = lambda: now  # the rate allows three, and no more
            _, waiting = await asyncio.open_connection("127.0.0.1", server.port, local_addr=(A, 0))
            await until(lambda: server._server.half_open == 1)
            for _ in range(5):
                reader, writer = await asyncio.open_connection("127.0.0.1", server.port, local_addr=(A, 0))
                assert (await reader.read()).startswith(b"HTTP/1.1 429 ")
                writer.close()
            assert (await (await ws.open(server.port, source=B)).recv())["type"] == "welcome"
            waiting.transport.abort()

    run(scenario())


def test_a_flood_of_commands_ends_that_client_and_not_the_others(run, nats_server, gateway, ws) -> None:
    async def scenario() -> None:
        limits = {"limits_address_commands_per_second": 1, "max_errors": 20}
        async with gateway(nats_server.url, **limits, **NOBODY_EXEMPT) as server:
            one, two = await ws.open(server.port, source=A), await ws.open(server.port, source=A)
            other = await ws.open(server.port, source=B)
            for client in (one, two, other):
                await client.recv()
            for number in range(10):
                one.send({"op": "ping", "id": number})
                assert (await one.recv())["type"] == "pong"
            two.send({"op": "ping", "id": "late"})
            error = await two.recv()
            assert (error["id"], error["code"]) == ("late", "rate_limited")
            assert "commands a second of one address; 1 are allowed" in error["message"]
            two.send(*({"op": "ping", "id": number} for number in range(40)))
            assert await two.closed() == 4429
            other.send({"op": "ping"})
            assert (await other.recv())["type"] == "pong"

    run(scenario())


def test_bytes_from_one_address_are_limited_before_they_are_decoded(run, nats_server, gateway, ws) -> None:
    async def scenario() -> None:
        limits = {"limits_address_decoded_bytes_per_second": 100}
        async with gateway(nats_server.url, **limits, **NOBODY_EXEMPT) as server:
            client = await ws.open(server.port, source=A)
            await client.recv()
            client.send({"op": "ping", "data": 900 * "x"})
            assert (await client.recv())["type"] == "pong"
            client.send_raw(b"{" + 900 * b"x")
            error = await client.recv()
            assert (error["code"], "id" in error) == ("rate_limited", False)

    run(scenario())


def test_subscriptions_of_one_address_are_counted_together(run, nats_server, gateway, feed, ws) -> None:
    async def scenario() -> None:
        limits = {"limits_address_subscriptions": 2}
        async with (
            gateway(nats_server.url, **limits, **NOBODY_EXEMPT) as server,
            feed(nats_server.url, "SIM:A") as sim,
        ):
            await sim.announce([1000, 5], [1001, 7])
            one, two = await ws.open(server.port, source=A), await ws.open(server.port, source=A)
            one.send({**BOOK, "depth": 1}, {**BOOK, "depth": 5})
            first = await one.until("subscribed")
            await one.until("subscribed")
            two.send(BOOK)
            assert (await two.until("error"))["code"] == "limit_subscriptions"
            one.send({"op": "unsubscribe", "subs": [first["sub"]]})
            await one.until("unsubscribed")
            two.send(BOOK)
            await two.until("subscribed")
            one.send({**BOOK, "depth": 5})  # it has that one
            await one.until("subscribed")
            one.close()
            await until(lambda: server.clients == 1)
            two.send({**BOOK, "depth": 1})
            await two.until("subscribed")

    run(scenario())


def test_hangup_reads_the_limits_again(run, nats_server, ws, http, upgrade, tmp_path) -> None:
    file = tmp_path / "gateway.toml"

    def limit(text: str) -> None:
        file.write_text(f"[limits]\nexempt = []\naddress_connections = {text}\n")

    async def scenario(program: Program) -> None:
        port = int((await asyncio.to_thread(program.until_error, r"ws://127.0.0.1:(\d+)/"))[1])
        client = await ws.open(port)
        assert (await client.recv())["limits"]["address"]["connections"] == 1
        assert (await http(port, upgrade())).status == 429
        for text, said in (
            ("'many'", "limits_address_connections is 'many'.*; the old settings stay in use"),
            ("2", "have changed"),
        ):
            limit(text)
            program.signal(signal.SIGHUP)
            await asyncio.to_thread(program.until_error, f"SIGHUP: .*{said}")
            if text == "2":
                assert (await (await ws.open(port)).recv())["limits"]["address"]["connections"] == 2
            assert (await http(port, upgrade())).status == 429
            client.send({"op": "ping"})
            assert (await client.recv())["type"] == "pong"

    limit("1")
    free = ("--port", "0", "--admin-port", "0", "--nats", nats_server.url)
    with Program("mdstream.cli", "serve", "--config", str(file), *free, temporary=tmp_path) as program:
        run(scenario(program))
        assert program.end(signal.SIGTERM) == 0


# ---- who the client is


def test_what_a_stranger_says_of_where_it_comes_from_counts_for_nothing(
    run, nats_server, gateway, ws, http, upgrade
) -> None:
    async def scenario() -> None:
        options = {"proxies_trusted": ("127.0.0.9/32",), "limits_address_connections": 1, **NOBODY_EXEMPT}
        async with gateway(nats_server.url, **options) as server:
            await ws.open(server.port, source=A, X_Forwarded_For="198.51.100.1")
            for header in ({"X_Forwarded_For": "198.51.100.2"}, {"Forwarded": "for=198.51.100.2"}):
                assert (await http(server.port, upgrade(**header), source=A)).status == 429
            proxied = introduced("198.51.100.2", upgrade())
            assert (await http(server.port, proxied, source=B)).status == 400
            await ws.open(server.port, source=B)

    run(scenario())


def test_a_trusted_proxy_says_who_its_clients_are(run, nats_server, gateway, ws, http, upgrade) -> None:
    async def scenario() -> None:
        options = {"proxies_trusted": ("127.0.0.9/32",), "limits_address_connections": 1}
        async with gateway(nats_server.url, **options) as server:
            proxy = {"source": "127.0.0.9"}
            client = await ws.open(server.port, **proxy, X_Forwarded_For="127.0.0.1, 198.51.100.1")
            assert "address" in (await client.recv())["limits"]
            refused = await http(server.port, upgrade(X_Forwarded_For="1.1.1.1, 198.51.100.1"), **proxy)
            assert refused.status == 429
            await ws.open(server.port, **proxy, X_Forwarded_For="198.51.100.1, 198.51.100.2")

    run(scenario())


def test_a_proxy_header_goes_before_the_request(run, nats_server, gateway, ws, http, upgrade) -> None:
    async def scenario() -> None:
        options = {
            "proxies_trusted": ("127.0.0.9/32",),
            "proxies_protocol": "proxy-v2",
            "limits_address_connections": 1,
            "handshake_ms": 300,
        }
        async with gateway(nats_server.url, **options) as server:
            proxy = {"local_addr": ("127.0.0.9", 0)}
            whole = introduced("198.51.100.1", upgrade())
            reader, writer = await asyncio.open_connection("127.0.0.1", server.port, **proxy)
            for byte in whole[:50]:  # in pieces, as networks do
                writer.write(bytes((byte,)))
                await asyncio.sleep(0)
            writer.write(whole[50:])
            assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 101")
            assert (await http(server.port, whole, source="127.0.0.9")).status == 429
            other = introduced("198.51.100.2", upgrade())
            reader_2, writer_2 = await asyncio.open_connection("127.0.0.1", server.port, **proxy)
            writer_2.write(other)
            assert (await reader_2.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 101")
            for nonsense in (
                upgrade(),
                b"PROXY TCP4 1.2.3.4 1.2.3.4 1 2\r\n" + upgrade(),
                SIGNATURE + b"\x21\x11\xff\xff",
                b"",
            ):
                reader_3, writer_3 = await asyncio.open_connection("127.0.0.1", server.port, **proxy)
                writer_3.write(nonsense)
                assert await _read_to_the_end(reader_3) == b""
                writer_3.close()
            local = SIGNATURE + b"\x20\x00\x00\x00" + b"OPTIONS / HTTP/1.0\r\n\r\n"
            assert (await http(server.port, local, source="127.0.0.9")).status == 200
            direct = await ws.open(server.port, source=A)
            assert (await direct.recv())["type"] == "welcome"
            for each in (writer, writer_2):
                each.close()

    run(scenario())


async def _read_to_the_end(reader: asyncio.StreamReader) -> bytes:
    try:
        return await reader.read()
    except ConnectionResetError:
        return b""


@pytest.mark.skipif(shutil.which("haproxy") is None, reason="there is no haproxy")
@pytest.mark.parametrize("protocol", ["x-forwarded-for", "proxy-v2"])
def test_a_real_haproxy_says_who_its_clients_are(
    run, nats_server, gateway, ws, http, upgrade, tmp_path, protocol
) -> None:
    async def scenario() -> None:
        options = {"proxies_trusted": ("127.0.0.9/32",), "proxies_protocol": protocol}
        async with gateway(
            nats_server.url, limits_address_connections=1, **options, **NOBODY_EXEMPT
        ) as server:
            port, haproxy = await _haproxy(tmp_path, server.port, protocol)
            try:
                assert (await (await ws.open(port, source=A)).recv())["type"] == "welcome"
                spoofed = upgrade(X_Forwarded_For="198.51.100.1")
                assert await _status(port, spoofed) == 429
                assert (await (await ws.open(port, source=B)).recv())["type"] == "welcome"
            finally:
                haproxy.terminate()
                await haproxy.wait()

    run(scenario())


async def _status(port: int, request: bytes) -> int:
    """HAProxy keeps a client's connection, whatever the gateway does with its own."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, local_addr=(A, 0))
    writer.write(request)
    head = await reader.readuntil(b"\r\n\r\n")
    writer.close()
    return int(head.split()[1])


async def _haproxy(folder: Any, port: int, protocol: str) -> tuple[int, asyncio.subprocess.Process]:
    """In front of the gateway, and ready: its port and its process."""
    own = free_port()
    how = "send-proxy-v2" if protocol == "proxy-v2" else ""
    file = folder / "haproxy.cfg"
    file.write_text(
        "defaults\n mode http\n timeout connect 5s\n timeout client 30s\n timeout server 30s\n timeout tunnel 60s\n"
        f"listen all\n bind 127.0.0.1:{own}\n option forwardfor\n source 127.0.0.9\n server one 127.0.0.1:{port} {how}\n"
    )
    process = await asyncio.create_subprocess_exec("haproxy", "-db", "-q", "-f", str(file))
    while True:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", own)
        except ConnectionRefusedError:
            assert process.returncode is None
            await asyncio.sleep(0.02)
        else:
            writer.close()
            return own, process


def test_hangup_reads_origins_and_says_what_must_wait(run, nats_server, ws, http, upgrade, tmp_path) -> None:
    file = tmp_path / "gateway.toml"
    page = upgrade(Origin="https://new.example.com")

    async def scenario(program: Program) -> None:
        port = int((await asyncio.to_thread(program.until_error, r"ws://127.0.0.1:(\d+)/"))[1])
        assert (await http(port, page)).status == 403
        for text, said, status in (
            ("allow = ['nonsense']", "SIGHUP: .*nonsense.*; the old settings stay in use", 403),
            ("allow = [[[", "SIGHUP: .*is not valid TOML", 403),
            ("allow = " + 5_000 * "[", "SIGHUP: .*is not valid TOML", 403),
            ("allow = " + 5_000 * "9", "SIGHUP: .*is not valid TOML", 403),
            ("allow = ['https://new.example.com']", "SIGHUP: the settings origin_allow have changed", 101),
            (
                "allow = ['https://new.example.com']\n[events]\nkeep_days = 9",
                "events_keep_days: changed, which counts at the next start",
                101,
            ),
            ("", "SIGHUP: the settings origin_allow have changed", 403),
        ):
            before = len(re.findall(said, program.errors))
            file.write_text(f"[origin]\n{text}\n")
            program.signal(signal.SIGHUP)
            await until(lambda said=said, more=before + 1: len(re.findall(said, program.errors)) == more)
            if status == 101:
                await ws.open(port, Origin="https://new.example.com")
            else:
                assert (await http(port, page)).status == status, text

    file.write_text("[origin]\nallow = ['https://old.example.com']\n")
    free = ("--port", "0", "--admin-port", "0", "--nats", nats_server.url)
    with Program("mdstream.cli", "serve", "--config", str(file), *free, temporary=tmp_path) as program:
        run(scenario(program))
        assert program.end(signal.SIGTERM) == 0
