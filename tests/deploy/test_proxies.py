"""HAProxy and nginx, with the configurations that are shipped, in front of two gateways with two workers each and a cluster of NATS."""

from __future__ import annotations

import asyncio
import shutil
import signal
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from deploy.conftest import ROOT, System, start_haproxy, until_open, until_ready
from deploy.truth_tap import Compared
from mdstream.bus import EmbeddedNats
from support.ports import free_port
from support.program import Program
from truth.rig import start_cluster

NAMES = ("SIM:BTC-USD", "SIM:ETH-USD")
NGINX = shutil.which("nginx", path="/usr/sbin:/usr/local/sbin:/usr/bin")
OPTIONS = (
    "--workers",
    "2",
    "--nats-replicas",
    "3",
    "--drain-spread-ms",
    "300",
    "--drain-deadline-ms",
    "3000",
)
TOKEN = "a-secret-of-somebody"


@pytest.fixture(scope="module")
def cluster() -> Iterator[str]:
    """Three NATS servers: their URLs."""
    servers: list[EmbeddedNats] = asyncio.run(start_cluster())
    yield ",".join(server.url for server in servers)
    for server in servers:
        asyncio.run(server.stop())


def start_nginx(system: System, ports: list[int], folder: Path) -> Program:
    text = (ROOT / "deploy/nginx/nginx.conf").read_text()
    for shipped, ours in (
        ("listen 8080;", f"listen 127.0.0.1:{ports[4]};"),
        ("127.0.0.1:8180", f"127.0.0.1:{ports[0]}"),
        ("127.0.0.1:8280", f"127.0.0.1:{ports[2]}"),
        ("pid /run/nginx.pid;", f"pid {folder}/nginx.pid; daemon off; worker_shutdown_timeout 1s;"),
        ("worker_rlimit_nofile 131072;", ""),
        ("worker_connections 65536;", "worker_connections 1024;"),
        ("worker_processes auto;", "worker_processes 1;"),
    ):
        assert shipped in text
        text = text.replace(shipped, ours)
    file = folder / "nginx.conf"
    file.write_text(text)
    return system.program("-c", str(file), "-p", str(folder), command=(str(NGINX),))


@pytest.mark.parametrize(
    "proxy",
    [
        pytest.param(
            "haproxy", marks=pytest.mark.skipif(not shutil.which("haproxy"), reason="there is no haproxy")
        ),
        pytest.param("nginx", marks=pytest.mark.skipif(not NGINX, reason="there is no nginx")),
    ],
)
def test_a_gateway_behind_a_proxy_is_drained_and_nobody_misses_anything(
    run, cluster: str, system: System, tapping: Any, report: Any, tmp_path: Path, proxy: str
) -> None:
    async def scenario() -> None:
        ports = [free_port() for _ in range(5)]
        async with tapping(cluster) as tap:
            system.feed(cluster, "--rate", "300", "--instruments", "BTC-USD,ETH-USD", "--halts-per-hour", "0")
            gateways = [system.gateway(cluster, *ports[i : i + 2], *OPTIONS) for i in (0, 2)]
            for admin_port in (ports[1], ports[3]):
                await until_ready(admin_port)
            started = (
                start_haproxy(system, ports) if proxy == "haproxy" else start_nginx(system, ports, tmp_path)
            )
            await until_open(ports[4], started)
            clients = system.clients(f"ws://127.0.0.1:{ports[4]}/v1/stream", 8, "msgpack", *NAMES)
            await clients.ready()
            await _ask_with_token(ports[4])
            assert await asyncio.to_thread(gateways[0].end, signal.SIGTERM) == 0
            await asyncio.sleep(1)
            seen = await clients.end()
        compared = Compared(tap, seen)
        report(f"{proxy}: {compared}")
        assert compared.wrong == []
        assert compared.holes == 0
        assert compared.reconnects >= 1
        assert all(book["state"] == "live" for each in seen for book in each["books"].values())
        await asyncio.to_thread(started.end, signal.SIGTERM)
        logged = started.said + started.errors
        assert "GET /v1/stream" in logged
        assert TOKEN not in logged

    run(scenario(), 90, debug=False)


async def _ask_with_token(port: int) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"GET /v1/stream?token={TOKEN} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".encode())
    with suppress(ConnectionResetError):
        assert b" 4" in await reader.readline()
    writer.close()
