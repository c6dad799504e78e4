"""Maps and presence while gateways and NATS are killed again and again: in the end every client has what the bus has, and no ghost is left.

``make maps-faults`` runs it; what it does follows from the seed, when it does it from the machine.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import signal
import sys
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest

from mdstream.bus import EmbeddedNats
from mdstream.bus import connect as connect_bus
from mdstream.bus.map_reader import MapReader, MapStream
from mdstream.bus.map_streams import MAPS
from mdstream.client import Client, Map, Policy, PutConflict, connect
from mdstream.errors import ClientError
from support.ports import free_port
from support.program import ROOT

pytestmark = pytest.mark.complete

SECONDS = float(os.environ.get("MAPS_FAULTS_S", "60"))
TOPICS = [f"t{n}" for n in range(10)]
FAST = Policy(persist=True, backoff_base_s=0.1, backoff_cap_s=1.0)
GHOST_S = 10.0


class Process:
    """``mdstream serve``, killed and started again on the same port."""

    def __init__(self, nats: str, number: int) -> None:
        self.port = free_port()
        self._arguments = [
            "--nats",
            nats,
            "--node",
            f"g{number}",
            "--port",
            str(self.port),
            "--admin-port",
            "0",
        ]
        self.process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        command = [sys.executable, "-m", "mdstream.cli", "serve", *self._arguments, "--log-level", "error"]
        self.process = await asyncio.create_subprocess_exec(*command, cwd=ROOT)

    async def kill(self) -> None:
        assert self.process is not None
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(signal.SIGKILL)
        await self.process.wait()

    @property
    def url(self) -> str:
        return f"ws://127.0.0.1:{self.port}/v1/stream"


class User:
    """Changes maps at random, and remembers what was confirmed: counters that are only ever raised by compare-and-set."""

    def __init__(self, name: str, client: Client, maps: dict[str, Map], chance: random.Random) -> None:
        self.name = name
        self.client = client
        self.maps = maps
        self.raised = dict.fromkeys(TOPICS, 0)
        self.conflicts = self.failed = 0
        self._chance = chance

    async def work(self, until_s: float) -> None:
        while time.monotonic() < until_s:
            topic = self._chance.choice(TOPICS)
            with contextlib.suppress(ClientError):
                await self._change(topic)
            await asyncio.sleep(self._chance.random() * 0.02)

    async def _change(self, topic: str) -> None:
        kind = self._chance.randrange(4)
        key = f"k{self._chance.randrange(30)}"
        if kind == 0:
            await self._raise(topic)
        elif kind == 1:
            await self.client.put(topic, delete=[key])
        else:
            ttl_ms = self._chance.choice([None, None, 300])
            await self.client.put(
                topic, {key: [self.name, self._chance.random()], f"{key}+": 1}, ttl_ms=ttl_ms
            )

    async def _raise(self, topic: str) -> None:
        map = self.maps[topic]
        count = map["count"] if "count" in map.entries else 0
        try:
            await self.client.put(
                topic, {"count": count + 1}, expect={"count": map.rev("count")}, timeout_s=30
            )
            self.raised[topic] += 1
        except PutConflict:
            self.conflicts += 1
        except ClientError:
            self.failed += 1
            raise


@contextlib.asynccontextmanager
async def users(gateways: list[Process], seed: int) -> AsyncIterator[list[User]]:
    async with contextlib.AsyncExitStack() as stack:
        made = []
        for number in range(6):
            urls = [each.url for each in gateways[number % 2 :] + gateways[: number % 2]]
            client = await stack.enter_async_context(
                connect(urls, policy=FAST, format=("json", "msgpack")[number % 2])
            )
            maps = {topic: await client.map(topic, interval_ms=(0, 100)[number % 2]) for topic in TOPICS}
            made.append(User(f"u{number}", client, maps, random.Random(seed * 100 + number)))
        yield made


async def of_bus(url: str, topic: str) -> dict[str, Any]:
    async with await connect_bus(url) as bus:
        stream = MapStream(bus, MAPS)
        reader = MapReader(stream, topic, began=began, followed=lambda *_: None, ready=nothing)
        try:
            await reader.open()
            return {key: entry.value for key, entry in reader.state.items()}
        finally:
            await stream.close()


async def began() -> None: ...
def nothing() -> None: ...


async def faults(nats: EmbeddedNats, gateways: list[Process], chance: random.Random, until_s: float) -> int:
    count = 0
    while time.monotonic() < until_s:
        await asyncio.sleep(2 + 3 * chance.random())
        count += 1
        if chance.random() < 0.4:
            nats.kill()
            await asyncio.sleep(chance.random())
            await nats.restart()
        else:
            victim = chance.choice(gateways)
            await victim.kill()
            await asyncio.sleep(chance.random() * 3)
            await victim.start()
    return count


async def settle(made: list[User], truth: dict[str, dict[str, Any]]) -> list[str]:
    """What is still unequal after a while."""
    unequal: list[str] = []
    for _ in range(300):
        unequal = [
            f"{user.name} {topic}"
            for user in made
            for topic, map in user.maps.items()
            if {key: entry.value for key, entry in map.entries.items()} != truth[topic]
        ]
        if not unequal:
            break
        await asyncio.sleep(0.1)
    return unequal


@pytest.mark.parametrize("seed", [1, 2])
def test_every_map_is_that_of_the_bus_in_the_end(run, nats_server: EmbeddedNats, seed: int) -> None:
    async def scenario() -> None:
        gateways = [Process(nats_server.url, number) for number in range(2)]
        for each in gateways:
            await each.start()
        chance = random.Random(seed)
        try:
            async with users(gateways, seed) as made:
                until_s = time.monotonic() + SECONDS
                told = await asyncio.gather(
                    faults(nats_server, gateways, chance, until_s), *(user.work(until_s) for user in made)
                )
                await asyncio.sleep(5)  # keys with a time to live end
                truth = {topic: await of_bus(nats_server.url, topic) for topic in TOPICS}
                assert await settle(made, truth) == []
                for topic in TOPICS:
                    raised = sum(user.raised[topic] for user in made)
                    failed = sum(user.failed for user in made)
                    assert raised <= truth[topic].get("count", 0) <= raised + failed, topic
                figures = {
                    "faults": told[0],
                    "raised": sum(sum(user.raised.values()) for user in made),
                    "conflicts": sum(user.conflicts for user in made),
                    "failed": sum(user.failed for user in made),
                    "gaps": sum(map.gaps for user in made for map in user.maps.values()),
                }
                print(json.dumps(figures))
        finally:
            for each in gateways:
                await each.kill()

    run(scenario(), SECONDS + 120, debug=False)


def test_no_ghost_is_left_of_a_gateway_that_was_killed(run, nats_server: EmbeddedNats) -> None:
    async def scenario() -> None:
        gateways = [Process(nats_server.url, number) for number in range(2)]
        for each in gateways:
            await each.start()
        try:
            async with (
                connect(gateways[1].url, policy=FAST) as watcher,
                connect(gateways[0].url, policy=FAST) as other,
            ):
                shown = await watcher.presence("room", join=True, who=True, interval_ms=100)
                await other.presence("room", join=True, info="other")
                async with asyncio.timeout(GHOST_S):
                    while shown.count != 2:
                        await asyncio.sleep(0.05)
                await gateways[0].kill()
                began = time.monotonic()
                async with asyncio.timeout(GHOST_S):
                    while shown.count != 1:
                        await asyncio.sleep(0.05)
                print(f"the ghost was gone after {time.monotonic() - began:.1f} s")
                nats_server.kill()
                await nats_server.restart()
                await gateways[0].start()
                async with asyncio.timeout(30):
                    while shown.count != 2 or not shown.trusted:
                        await asyncio.sleep(0.05)
        finally:
            for each in gateways:
                await each.kill()

    run(scenario(), 120, debug=False)
