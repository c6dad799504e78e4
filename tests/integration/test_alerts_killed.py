"""Watchers of alerts that are killed, and nodes of a NATS cluster: each crossing is told once. ``make alerts`` runs all of it."""

from __future__ import annotations

import asyncio
import os
import random
import sys
from pathlib import Path
from typing import Any

import nats.errors
import pytest

from mdstream.alerts import AlertWatcher
from mdstream.bus import Bus, EmbeddedNats
from mdstream.bus.alerts import MD_ALERTS
from mdstream.bus.topic_streams import MD_EVENTS
from mdstream.children import start_module
from mdstream.errors import BusError
from support.alerts import (
    STEPS,
    StoredMarket,
    active,
    bus_of,
    expected,
    market_of,
    options,
    put,
    told,
    until_marked,
    until_told,
    value_of,
)
from truth.rig import start_cluster

TESTS = Path(__file__).resolve().parents[1]
CROSS_AND_ONCE = {"cross": value_of("crosses", "1.05"), "once": value_of("above", "1.05", once=True)}


async def stopped(url: str, step: str, number: int) -> asyncio.subprocess.Process:
    environ = os.environ | {"PYTHONPATH": f"{TESTS}:{os.environ.get('PYTHONPATH', '')}"}
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", "support.alerts_stopped", url, step, str(number), env=environ
    )


async def killed_at(run_step: str, nats_server: Any) -> None:
    async with market_of(nats_server.url) as (bus, market):
        await put(bus, "alice", CROSS_AND_ONCE)
        victim = await stopped(nats_server.url, run_step, 1)
        await market.bid(106, 104)
        assert await victim.wait() == -9
        await market.bid(106, 107, 104, 103)  # nobody watches
        async with AlertWatcher(bus, options(lease_s=0.5)):
            found = await until_told(bus, "alice", expected(market, CROSS_AND_ONCE))
            assert not any("late" in data for data in found)
            await until_marked(bus, "alice", {"cross": 4, "once": 1})
        assert len(await told(bus, "alice")) == 5


def test_killed_after_the_event_and_before_all_else(run, nats_server) -> None:
    run(killed_at("published", nats_server))


@pytest.mark.complete
@pytest.mark.parametrize("step", STEPS)
def test_killed_at_each_step(run, nats_server, step) -> None:
    run(killed_at(step, nats_server))


@pytest.mark.complete
def test_nodes_of_a_cluster_are_killed_that_lead_what_alerts_need(run) -> None:
    async def scenario() -> None:
        servers = await start_cluster()
        urls = [server.url for server in servers]
        try:
            async with bus_of(*urls, replicas=3) as bus, bus_of(*urls, replicas=3) as other:
                market = StoredMarket(bus)
                await market.announce()
                await market.bid(100)
                await put(bus, "alice", CROSS_AND_ONCE)
                first, second = (AlertWatcher(each, options(lease_s=2.0)) for each in (bus, other))
                async with first, second:
                    await active(first, second)
                    for stream in (MD_EVENTS, MD_ALERTS, "MD_LOG"):
                        await _kill_leader(bus, servers, stream, market)
                    await _until_told(bus, expected(market, CROSS_AND_ONCE))
                found = await told(bus, "alice")
                assert not any("late" in data for data in found)
                print(
                    f"{len(found)} crossings, {first.counters['restarts']} and {second.counters['restarts']} restarts"
                )
        finally:
            for server in servers:
                await server.stop()

    run(scenario(), 240.0, debug=False)


async def _kill_leader(bus: Bus, servers: list[EmbeddedNats], stream: str, market: StoredMarket) -> None:
    """Prices cross before the node that leads a stream is killed, while it is away, and once it is back."""
    await market.bid(106, 104)
    node = await _leader(bus, servers, stream)
    node.kill()
    await market.bid(106, 103, 108)
    await node.restart(30.0)
    await market.bid(104, 107, 102)


async def _leader(bus: Bus, servers: list[EmbeddedNats], stream: str) -> EmbeddedNats:
    while True:
        try:
            cluster = (await bus.jetstream.stream_info(stream)).cluster
            if cluster is not None and cluster.leader:
                return servers[int(cluster.leader.rpartition("-")[2])]
        except (nats.errors.Error, TimeoutError):
            pass
        await asyncio.sleep(0.1)


async def _until_told(bus: Bus, wanted: dict[str, list[str]]) -> None:
    """Also while the cluster has not found itself again."""
    while True:
        try:
            await until_told(bus, "alice", wanted)
            return
        except BusError:
            await asyncio.sleep(0.2)


@pytest.mark.complete
def test_killed_again_and_again_while_the_market_crosses_hundreds_of_prices(run, nats_server) -> None:
    async def scenario() -> None:
        chance = random.Random(7)
        async with market_of(nats_server.url, 1_000) as (bus, market):
            await market.trade(1_000)
            alerts = {
                f"{on}-{when}-{n}": value_of(when, f"{10 + n / 10 + 0.005:.3f}", on=on, once=n % 4 == 0)
                for on in ("bid", "last")
                for when in ("above", "below", "crosses")
                for n in range(-8, 9)
            }
            await put(bus, "alice", alerts)
            stop = asyncio.Event()
            killing = asyncio.create_task(_kill_watchers(nats_server.url, chance, stop))
            price = 1_000
            for number in range(1_500):
                price += chance.choice((-23, -7, -1, 1, 7, 23)) + (1_000 - price) // 40
                await market.bid(price)
                await market.trade(price + chance.randrange(5))
                if number % 100 == 0:
                    await market.snap()
                await asyncio.sleep(0.01)
            stop.set()
            kills = await killing
            wanted = expected(market, alerts)
            async with AlertWatcher(bus, options(lease_s=0.5)):
                found = await until_told(bus, "alice", wanted)
            assert len(found) > 500 and kills > 10
            assert not any("late" in data or "paused" in data for data in found)
            print(f"{len(found)} crossings of {len(alerts)} alerts, {kills} kills")

    run(scenario(), 600.0, debug=False)


async def _kill_watchers(url: str, chance: random.Random, stop: asyncio.Event) -> int:
    """Two watchers run; again and again one of them is killed and another one started."""

    async def start() -> asyncio.subprocess.Process:
        return await start_module("mdstream.cli", ["alerts", "--nats", url, "--lease", "500ms"])

    running, kills = [await start(), await start()], 0
    while not stop.is_set():
        await asyncio.sleep(chance.uniform(0.2, 2.5))
        victim = running.pop(chance.randrange(len(running)))
        victim.kill()
        await victim.wait()
        kills += 1
        running.append(await start())
    for each in running:
        each.kill()
        await each.wait()
    return kills
