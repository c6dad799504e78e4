"""A rolling restart under load: how long each client hears nothing. ``make rolling`` runs it; figures are told, and fail nothing."""

from __future__ import annotations

import asyncio
import shutil
import signal
import statistics
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest

from deploy.conftest import System, start_haproxy, until_open, until_ready
from deploy.truth_tap import Compared
from mdstream import feed
from support.ports import free_port

pytestmark = pytest.mark.complete

CLIENTS = 100
EVERY_S = 0.02
NAMES = tuple(f"SIM:S{number}" for number in range(4))
DRAIN = ("--drain-spread-ms", "3000", "--drain-deadline-ms", "6000")


@asynccontextmanager
async def steady(nats: str) -> AsyncIterator[None]:
    """Each instrument has an update each 20 ms, so that silence is the way's and not the market's."""
    async with feed.connect(nats, venue="SIM") as publisher:
        instruments = [
            await publisher.instrument(name.partition(":")[2], price_exp=-2, size_exp=-2) for name in NAMES
        ]
        for each in instruments:
            each.replace_ticks([100, 5, 99, 7], [101, 5, 102, 7])
        await publisher.flush()
        publishing = asyncio.ensure_future(_publish(instruments))
        try:
            yield
        finally:
            publishing.cancel()
            with suppress(asyncio.CancelledError):
                await publishing


async def _publish(instruments: list[Any]) -> None:
    count = 0
    while True:
        count += 1
        for each in instruments:
            each.update_ticks([100, count % 90 + 1], [101, count % 70 + 1])
        await asyncio.sleep(EVERY_S)


def told(report: Any, what: str, seen: list[dict[str, Any]], compared: Compared) -> None:
    silences = sorted(each["longest_s"] for each in seen)
    report(
        f"{what}: {len(seen)} clients, longest silence {statistics.median(silences) * 1000:.0f} ms in the median, "
        f"{silences[-1] * 1000:.0f} ms at worst; {compared}"
    )
    assert compared.wrong == []
    assert compared.holes == 0
    assert compared.right > 1_000
    assert all(book["state"] == "live" for each in seen for book in each["books"].values())


@pytest.mark.skipif(shutil.which("haproxy") is None, reason="there is no haproxy")
@pytest.mark.parametrize("workers", ["1", "2"])
def test_two_gateways_behind_haproxy(run, nats_server, system: System, tapping, report, workers: str) -> None:
    async def scenario() -> None:
        nats = f"file:{nats_server.url_path}"
        ports = [free_port() for _ in range(5)]
        options = (*DRAIN, "--workers", workers)
        async with tapping(nats_server.url) as tap, steady(nats_server.url):
            gateways = [system.gateway(nats, *ports[i : i + 2], *options) for i in (0, 2)]
            for admin_port in (ports[1], ports[3]):
                await until_ready(admin_port)
            await until_open(ports[4], start_haproxy(system, ports))
            clients = system.clients(
                f"ws://127.0.0.1:{ports[4]}/v1/stream", CLIENTS, "msgpack", NAMES[0], NAMES[1]
            )
            await clients.ready()
            clients.reset()
            for number, gateway in enumerate(gateways):
                assert await asyncio.to_thread(gateway.end, signal.SIGTERM) == 0
                own = ports[2 * number : 2 * number + 2]
                system.gateway(nats, *own, *options)
                await until_ready(own[1])
                await asyncio.sleep(2)
            seen = await clients.end()
        what = f"two gateways of {workers} worker{'s' * (workers != '1')} behind HAProxy, one after the other"
        told(report, what, seen, Compared(tap, seen))

    run(scenario(), 240, debug=False)


def test_workers_one_by_one(run, nats_server, system: System, tapping, report) -> None:
    async def scenario() -> None:
        nats = f"file:{nats_server.url_path}"
        ports = [free_port() for _ in range(2)]
        async with tapping(nats_server.url) as tap, steady(nats_server.url):
            gateway = system.gateway(nats, *ports, *DRAIN, "--workers", "2")
            await until_ready(ports[1])
            clients = system.clients(
                f"ws://127.0.0.1:{ports[0]}/v1/stream", CLIENTS, "msgpack", NAMES[0], NAMES[1]
            )
            await clients.ready()
            clients.reset()
            gateway.signal(signal.SIGUSR2)
            await asyncio.to_thread(gateway.until_error, "all workers have been restarted", 90)
            await asyncio.sleep(1)
            seen = await clients.end()
        told(report, "two workers, one by one", seen, Compared(tap, seen))

    run(scenario(), 240, debug=False)
