"""Starting and stopping: without NATS, with a port in use, draining, signals."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import ssl
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from mdstream.bus import EmbeddedNats
from mdstream.errors import ConfigError, MdstreamError
from mdstream.gateway import Gateway, GatewayConfig
from support.certificates import certificate, needs_openssl


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def status(http, server) -> tuple[int, str]:
    response = await http(server.admin_port, b"GET /readyz HTTP/1.1\r\nHost: x\r\n\r\n")
    return response.status, response.body.decode().strip()


def test_without_nats_it_serves_is_not_ready_and_goes_on_when_nats_comes(run, ws, feed, http) -> None:
    async def scenario() -> None:
        port = free_port()
        server = Gateway(GatewayConfig(nats=(f"nats://127.0.0.1:{port}",), port=0, admin_port=0))
        await server.start()
        try:
            assert await status(http, server) == (503, "NATS is not connected")
            client = await ws.open(server.port)
            command = {"op": "subscribe", "channel": "book", "instruments": ["SIM:A"]}
            client.send(command)
            assert (await client.until("error"))["code"] == "unavailable"
            nats = await EmbeddedNats.start(port=port)
            try:
                async with feed(nats.url, "SIM:A") as pub:
                    await pub.announce([1000, 5], [1001, 7])
                    await server.wait_ready()
                    assert await status(http, server) == (200, "ready")
                    client.send(command)
                    assert (await client.until("snapshot"))["seq"] == 1
            finally:
                await nats.stop()
            assert (await client.until("state", state="stale"))["reason"]
            while (await status(http, server))[0] != 503:
                await asyncio.sleep(0.01)
        finally:
            await server.stop(at_once=True)

    run(scenario())


def test_a_port_in_use_is_one_line(run, nats_server) -> None:
    async def scenario() -> None:
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            port = taken.getsockname()[1]
            server = Gateway(GatewayConfig(nats=(nats_server.url,), port=port, admin_port=0))
            with pytest.raises(
                MdstreamError, match=rf"cannot listen on 127.0.0.1:{port} for clients: address already in use"
            ):
                await server.start()

    run(scenario())


def test_a_bad_host_or_certificate_is_one_line(run, nats_server, tmp_path: Path) -> None:
    async def scenario() -> None:
        nats = (nats_server.url,)
        with pytest.raises(MdstreamError, match=r"cannot listen on 192\.0\.2\.1:0 for clients: "):
            await Gateway(GatewayConfig(nats=nats, host="192.0.2.1", port=0, admin_port=0)).start()
        pem = tmp_path / "x.pem"
        pem.write_text("nothing")
        with pytest.raises(MdstreamError, match="cannot be used"):
            await Gateway(GatewayConfig(nats=nats, port=0, admin_port=0, tls_cert=pem, tls_key=pem)).start()
        with pytest.raises(ConfigError, match="cannot be used"):
            await Gateway(GatewayConfig(nats=nats, port=0, admin_port=0, nats_tls_ca=pem)).start()

    run(scenario())


@needs_openssl
def test_clients_over_tls(run, nats_server, feed, ws, tmp_path: Path) -> None:
    cert, key = certificate(tmp_path, "server")

    async def scenario() -> None:
        config = GatewayConfig(nats=(nats_server.url,), port=0, admin_port=0, tls_cert=cert, tls_key=key)
        server = Gateway(config)
        await server.start()
        await server.wait_ready()
        try:
            assert server.url.startswith("wss://127.0.0.1:")
            async with feed(nats_server.url, "SIM:A") as pub:
                await pub.announce([1000, 5], [1001, 7])
                client = await ws.open(server.port, tls=ssl.create_default_context(cafile=str(cert)))
                client.send({"op": "subscribe", "channel": "book", "instruments": ["SIM:A"]})
                await client.until("snapshot")
                for size in range(1, 20):
                    await pub.book([1000, size], [])
                while (await client.until("delta"))["last"] != 20:
                    pass
                await client.abort()
        finally:
            await server.stop()

    run(scenario())


def test_drain_tells_each_client_then_closes_with_1012(run, nats_server, ws, http, upgrade) -> None:
    async def scenario() -> None:
        config = GatewayConfig(
            nats=(nats_server.url,), port=0, admin_port=0, drain_spread_ms=500, drain_deadline_ms=30_000
        )
        server = Gateway(config)
        await server.start()
        await server.wait_ready()
        clients = [await ws.open(server.port, format) for format in ("json", "msgpack") * 3]
        for client in clients:
            await client.until("welcome")
        draining = asyncio.ensure_future(server.drain())
        drains = [await client.until("drain") for client in clients]
        assert all(0 <= message["reconnect_after_ms"] <= 500 for message in drains)
        assert all(message["deadline_ms"] == 30_000 for message in drains)
        assert len({message["reconnect_after_ms"] for message in drains}) > 1
        assert await status(http, server) == (503, "draining")
        refused = await http(server.port, upgrade())
        assert (refused.status, int(refused.headers["retry-after"]) > 0) == (503, True)
        assert await asyncio.gather(*(client.closed() for client in clients)) == [1012] * 6
        await draining

    run(scenario())


def test_drain_without_clients_ends_at_once(run, nats_server) -> None:
    async def scenario() -> None:
        config = GatewayConfig(
            nats=(nats_server.url,), port=0, admin_port=0, drain_spread_ms=600_000, drain_deadline_ms=600_000
        )
        server = Gateway(config)
        await server.start()
        await server.drain()

    run(scenario())


@asynccontextmanager
async def process(*flags: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """``mdstream serve`` with these flags, killed at the end if need be."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith("MDSTREAM_")}
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "mdstream.cli", "serve", *flags, stderr=asyncio.subprocess.PIPE, env=environ
    )
    try:
        yield child
    finally:
        if child.returncode is None:
            child.kill()
        await child.wait()


async def said(child: asyncio.subprocess.Process, what: str) -> str:
    """The first line of the log that holds ``what``."""
    while line := (await child.stderr.readline()).decode():
        assert "Traceback" not in line
        if what in line:
            return line
    raise AssertionError(f"the process ended without saying {what!r}")


async def ended(child: asyncio.subprocess.Process) -> tuple[int, str]:
    rest = (await child.stderr.read()).decode()
    return await child.wait(), rest


FREE = ("--port", "0", "--admin-port", "0")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_process_with_0(number, run, nats_server) -> None:
    async def scenario() -> None:
        async with process("--nats", nats_server.url, *FREE) as child:
            await said(child, "serving clients at ws://127.0.0.1:")
            child.send_signal(number)
            code, rest = await ended(child)
            assert code == 0
            assert "Traceback" not in rest
            assert "stopped" in rest

    run(scenario())


def test_a_second_signal_ends_it_at_once_whoever_is_there(run, nats_server, ws) -> None:
    async def scenario() -> None:
        slow = ("--drain-spread-ms", "600000", "--drain-deadline-ms", "600000")
        async with process("--nats", nats_server.url, *FREE, *slow) as child:
            line = await said(child, "serving clients at")
            port = int(line.split("ws://127.0.0.1:")[1].split("/")[0])
            client = await ws.open(port)
            child.send_signal(signal.SIGTERM)
            await client.until("drain")
            child.send_signal(signal.SIGTERM)
            assert await client.closed() == 1012
            code, rest = await ended(child)
            assert (code, "Traceback" in rest) == (0, False)

    run(scenario())


def test_embedded_nats_comes_and_goes_with_the_process(run) -> None:
    async def scenario() -> None:
        async with process("--nats", "embedded", *FREE, "--log-format", "json") as child:
            await said(child, "connected to NATS at nats://127.0.0.1:")
            child.send_signal(signal.SIGTERM)
            code, rest = await ended(child)
            assert (code, "Traceback" in rest) == (0, False)

    run(scenario())


def test_what_cannot_run_is_one_line_and_exit_1(run, nats_server) -> None:
    async def scenario() -> None:
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            async with process(
                "--nats", nats_server.url, "--port", str(taken.getsockname()[1]), "--admin-port", "0"
            ) as child:
                code, rest = await ended(child)
        assert code == 1
        assert rest.splitlines()[-1].startswith("mdstream: cannot listen on 127.0.0.1:")
        assert "Traceback" not in rest

    run(scenario())


def test_nats_that_is_not_there_is_said_in_one_line(run) -> None:
    async def scenario() -> None:
        async with process("--nats", f"nats://127.0.0.1:{free_port()}", *FREE) as child:
            line = await said(child, "could not be reached")
            assert "trying again" in line
            child.send_signal(signal.SIGTERM)
            code, rest = await ended(child)
            assert (code, "Traceback" in rest) == (0, False)

    run(scenario())
