"""Events and maps of the TypeScript client in Node, while its gateway dies, beside the Python client on another gateway."""

from __future__ import annotations

import asyncio
import json
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from mdstream.client import Client, connect
from mdstream.errors import PutConflict
from support.typescript import NEEDS, NODE, PACKAGE, build_package

pytestmark = NEEDS

COUNT = 40
DEADLINE_S = 60


@pytest.fixture(scope="module", autouse=True)
def built() -> None:
    build_package()


@asynccontextmanager
async def program(*arguments: str) -> AsyncIterator[Process]:
    process = await asyncio.create_subprocess_exec(
        *NODE, "test/e2e/topics.mjs", *arguments, cwd=PACKAGE, stdin=PIPE, stdout=PIPE
    )
    try:
        yield process
    finally:
        process.kill()
        await process.wait()


async def add(client: Client, times: int) -> None:
    """To the same number as the program."""
    numbers = await client.map("desk.numbers")
    for _ in range(times):
        value, rev = numbers.entries["sum"].value if numbers.rev("sum") else 0, numbers.rev("sum")
        while True:
            try:
                await client.put("desk.numbers", {"sum": value + 1}, expect={"sum": rev})
                break
            except PutConflict as refused:
                held = refused.current["sum"]
                assert held is not None
                value, rev = held.value, held.rev


@pytest.mark.parametrize("format", ["json", "msgpack"])
def test_each_event_is_stored_once_and_in_order_and_each_addition_counts_once(
    run: Callable[..., Any], nats_server: Any, gateway: Any, format: str
) -> None:
    async def scenario() -> None:
        url = nats_server.url
        told: list[dict[str, Any]] = []
        async with gateway(url) as other, gateway(url) as first, connect(other.url) as client:
            log = await client.events("desk.log", since=0)
            seen: list[tuple[int, int]] = []
            log.on_event(lambda event: seen.append((event.data["n"], event.seq)))
            async with program(first.url, format, str(COUNT)) as process:
                assert process.stdout is not None
                adding = asyncio.ensure_future(add(client, COUNT))
                while len(told) < COUNT // 2:
                    told.append(json.loads(await process.stdout.readline()))
                await first.stop(at_once=True)
                async with gateway(url, port=first.port):
                    while told[-1] != {"done": True}:
                        told.append(json.loads(await process.stdout.readline()))
                    await adding
                    while len(seen) < COUNT:
                        await anext(aiter(log))
                    while sum("event" in line for line in told) < COUNT:
                        told.append(json.loads(await process.stdout.readline()))
            numbers = await client.map("desk.numbers")
            assert numbers["sum"] == 2 * COUNT
        assert [n for n, _ in seen] == list(range(COUNT))
        assert [(line["event"], line["seq"]) for line in told if "event" in line] == seen
        assert [(line["stored"], line["seq"]) for line in told if "stored" in line] == seen
        assert not [line for line in told if {"lost", "ended"} & line.keys()]

    run(scenario(), deadline_s=DEADLINE_S)
