"""Starting and stopping: without NATS, with a port in use, draining, signals."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import socket
import ssl
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from mdstream.bus import EmbeddedNats
from mdstream.errors import ConfigError, MdstreamError
from mdstream.gateway import Gateway, GatewayConfig
from support.certificates import certificate, needs_openssl
from support.ports import free_port


async def status(http, server) -> tuple[int, str]:
    response = await http(server.admin_port, b"GET /readyz HTTP/1.1\r\nHost: localhost\r\n\r\n")
    return response.status, response.body.decode().strip()


def test_without_nats_it_serves_is_not_ready_and_goes_on_when_nats_comes(run, ws, feed, http) -> None:
    async def scenario() -> None:
        port = free_port()
        server = Gateway(GatewayConfig(nats=(f"nats://127.0.0.1:{port}",), port=0, admin_port=0, warm_ms=0))
        await server.start()
        try:
            assert await status(http, server) == (503, "NATS is not connected")
            client = await ws.open(server.port)
            command = {"op": "subscribe", "channel": "book", "instruments": ["SIM:A"]}
            client.send(command)
            assert (await client.until("error"))["code"] == "unavailable"
            nats = await EmbeddedNats.start(port=port, password=False)
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
            await Gateway(
                GatewayConfig(nats=nats, host="192.0.2.1", port=0, admin_port=0, auth="none")
            ).start()
        pem = tmp_path / "x.pem"
        pem.write_text("nothing")
        with pytest.raises(MdstreamError, match="cannot be used"):
            await Gateway(GatewayConfig(nats=nats, port=0, admin_port=0, tls_cert=pem, tls_key=pem)).start()
        with pytest.raises(ConfigError, match="cannot be used"):
            await Gateway(GatewayConfig(nats=nats, port=0, admin_port=0, nats_tls_ca=pem)).start()

    run(scenario())


def test_a_server_without_jetstream_is_what_readyz_names(run, http) -> None:
    async def scenario() -> None:
        async with await EmbeddedNats.start(jetstream=False) as nats:
            server = Gateway(GatewayConfig(nats=(nats.url,), port=0, admin_port=0))
            await server.start()
            try:
                while "JetStream is off on this server" not in (await status(http, server))[1]:
                    assert (await status(http, server))[0] == 503
                    await asyncio.sleep(0.01)
            finally:
                await server.stop(at_once=True)

    run(scenario())


def test_a_full_gateway_is_not_ready(run, nats_server, ws, http) -> None:
    async def scenario() -> None:
        server = Gateway(GatewayConfig(nats=(nats_server.url,), port=0, admin_port=0, max_connections=2))
        await server.start()
        await server.wait_ready()
        try:
            first, second = [await ws.open(server.port) for _ in range(2)]
            assert await status(http, server) == (503, "full: 2 of 2 connections")
            await first.abort()
            while (await status(http, server)) != (200, "ready"):
                await asyncio.sleep(0.01)
            assert (await second.recv())["type"] == "welcome"
        finally:
            await server.stop(at_once=True)

    run(scenario())


def test_every_address_of_both_families(run, nats_server, http) -> None:
    async def scenario() -> None:
        server = Gateway(
            GatewayConfig(
                nats=(nats_server.url,), host="*", admin_host="*", port=0, admin_port=0, auth="none"
            )
        )
        await server.start()
        try:
            for host in ("127.0.0.1", "::1") if has_ipv6_loopback() else ("127.0.0.1",):
                for port, page in ((server.port, "/"), (server.admin_port, "/healthz")):
                    reader, writer = await asyncio.open_connection(host, port)
                    writer.write(f"GET {page} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
                    assert (await reader.readline()).split()[1] in (b"200", b"404")
                    writer.close()
        finally:
            await server.stop(at_once=True)

    run(scenario())


def has_ipv6_loopback() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


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
            await said(child, "connected to NATS at nats://***@127.0.0.1:")
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


# ---- certificates and SIGHUP


def served_certificate(port: int, cert: Path) -> bytes:
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with context.wrap_socket(socket.create_connection(("127.0.0.1", port))) as secure:
        return secure.getpeercert(binary_form=True) or b""


def der(cert: Path) -> bytes:
    return ssl.PEM_cert_to_DER_cert(cert.read_text())


@needs_openssl
def test_hangup_reads_a_renewed_certificate_and_open_clients_stay(
    run, nats_server, ws, tmp_path: Path
) -> None:
    cert, key = certificate(tmp_path, "server")

    async def scenario() -> None:
        files = ("--tls-cert", str(cert), "--tls-key", str(key))
        async with process("--nats", nats_server.url, *FREE, *files) as child:
            line = await said(child, "serving clients at")
            port = int(line.split("wss://127.0.0.1:")[1].split("/")[0])
            client = await ws.open(port, tls=ssl.create_default_context(cafile=str(cert)))
            assert (await client.recv())["type"] == "welcome"
            first = der(cert)
            assert await asyncio.to_thread(served_certificate, port, cert) == first
            certificate(tmp_path, "server")
            assert der(cert) != first
            child.send_signal(signal.SIGHUP)
            await said(child, "SIGHUP: the certificate was read again")
            assert await asyncio.to_thread(served_certificate, port, cert) == der(cert)
            key.write_text("nothing")
            child.send_signal(signal.SIGHUP)
            assert "new connections get the old certificate" in await said(child, "SIGHUP")
            assert await asyncio.to_thread(served_certificate, port, cert) == der(cert)
            client.send({"op": "ping", "data": 1})
            assert (await client.until("pong"))["data"] == 1
            child.send_signal(signal.SIGTERM)
            assert (await ended(child))[0] == 0

    run(scenario())


def test_hangup_without_a_certificate_does_nothing(run, nats_server) -> None:
    async def scenario() -> None:
        async with process("--nats", nats_server.url, *FREE) as child:
            await said(child, "serving clients at")
            child.send_signal(signal.SIGHUP)
            assert "no tls_cert" in await said(child, "SIGHUP")
            child.send_signal(signal.SIGTERM)
            assert (await ended(child))[0] == 0

    run(scenario())


# ---- the embedded NATS server


def nats_of(child: asyncio.subprocess.Process) -> int:
    """The process id of the server that a gateway started."""
    children = Path(f"/proc/{child.pid}/task/{child.pid}/children").read_text().split()
    (pid,) = [int(each) for each in children if "nats" in Path(f"/proc/{each}/comm").read_text()]
    return pid


needs_proc = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


@needs_proc
def test_an_embedded_server_that_dies_is_started_again_on_its_port(run) -> None:
    async def scenario() -> None:
        port = free_port()
        async with process("--nats", "embedded", "--nats-port", str(port), *FREE) as child:
            await said(child, f"connected to NATS at nats://***@127.0.0.1:{port}")
            first = nats_of(child)
            os.kill(first, signal.SIGKILL)
            assert "ended with status -9; starting it again" in await said(child, "nats-server ended")
            await said(child, "is back after")
            assert nats_of(child) != first
            child.send_signal(signal.SIGTERM)
            code, rest = await ended(child)
            assert (code, "Traceback" in rest) == (0, False)

    run(scenario())


@needs_proc
def test_one_that_dies_again_and_again_ends_the_gateway_with_a_word(run) -> None:
    async def scenario() -> None:
        async with process("--nats", "embedded", *FREE) as child:
            await said(child, "connected to NATS")
            for _ in range(3):
                os.kill(nats_of(child), signal.SIGKILL)
                await said(child, "is back after")
            os.kill(nats_of(child), signal.SIGKILL)
            code, rest = await ended(child)
            assert code == 1
            assert "mdstream: the embedded nats-server ended 4 times within 60 s" in rest.splitlines()[-1]

    run(scenario())


@pytest.mark.parametrize("what", ["a file in the way", "no such place"])
def test_a_data_directory_that_cannot_be_used_is_one_line(run, tmp_path: Path, what: str) -> None:
    (tmp_path / "file").write_text("x")
    directory = tmp_path / "file" / "data" if what == "a file in the way" else Path("/proc/nowhere")

    async def scenario() -> None:
        async with process("--nats", "embedded", *FREE, "--nats-data-dir", str(directory)) as child:
            code, rest = await ended(child)
            assert code == 1
            assert rest.splitlines()[-1].startswith(
                f"mdstream: the embedded NATS server cannot use {directory}: "
            )
            assert "Traceback" not in rest

    run(scenario())


# ---- what it is started with, and what it tells


def test_with_its_standard_files_closed_it_serves(run, nats_server, http) -> None:
    async def scenario() -> None:
        port, admin_port = free_port(), free_port()
        flags = ("--nats", nats_server.url, "--port", str(port), "--admin-port", str(admin_port))
        command = [sys.executable, "-m", "mdstream.cli", "serve", *flags]
        child = await asyncio.to_thread(
            subprocess.Popen, ["sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh", *command], start_new_session=True
        )
        try:
            while True:
                try:
                    answer = await http(admin_port, b"GET /readyz HTTP/1.0\r\n\r\n")
                    if answer.status == 200:
                        break
                except OSError:
                    assert child.poll() is None
                await asyncio.sleep(0.05)
            for number in range(3):
                assert os.readlink(f"/proc/{child.pid}/fd/{number}") == os.devnull  # noqa: PTH115 - it is no file
        finally:
            child.terminate()
            assert await asyncio.to_thread(child.wait) == 0

    run(scenario())


def test_at_debug_the_log_tells_of_connects_refusals_and_refused_commands(
    run, nats_server, ws, http, upgrade
) -> None:
    async def scenario() -> None:
        flags = ("--log-level", "debug", "--log-format", "json")
        async with process("--nats", nats_server.url, *FREE, *flags) as child:
            line = await said(child, "serving clients at")
            port = int(line.split("ws://127.0.0.1:")[1].split("/")[0])
            client = await ws.open(port)
            session = (await client.until("welcome"))["session"]
            entry = json.loads(await said(child, f"session {session}: connected from 127.0.0.1:"))
            assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", entry["time"])
            assert entry["level"] == "debug"
            client.send({"op": "nope"})
            assert "unknown_op" in await said(child, f"session {session}: a command is refused")
            await http(port, upgrade("/nowhere"))
            assert "127.0.0.1:" in await said(child, "is answered 404")
            client.send_frame(8, b"\x03\xe8")
            await said(child, f"session {session}: closed with 1000")

    run(scenario())
