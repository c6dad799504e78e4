"""Events and maps of the TypeScript client in Node, while its gateway dies, beside the Python client on another gateway."""

from __future__ import annotations

import asyncio
import json
import time
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from mdstream.client import Client, connect
from mdstream.errors import PutConflict
from support.tokens import CLAIMS, public_pem, sign
from support.typescript import NEEDS, NODE, PACKAGE, build_package

pytestmark = NEEDS

COUNT = 40
DEADLINE_S = 60


@pytest.fixture(scope="module", autouse=True)
def built() -> None:
    build_package()


@asynccontextmanager
async def program(name: str, *arguments: str) -> AsyncIterator[Process]:
    process = await asyncio.create_subprocess_exec(
        *NODE, f"test/e2e/{name}.mjs", *arguments, cwd=PACKAGE, stdin=PIPE, stdout=PIPE
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
            async with program("topics", first.url, format, str(COUNT)) as process:
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


def token(subject: str, *grants: dict[str, Any]) -> str:
    claims = {**CLAIMS, "sub": subject, "exp": time.time() + 600, "md": {"grants": list(grants)}}
    return sign(claims).decode()


async def said(process: Process) -> dict[str, Any]:
    assert process.stdout is not None
    line: dict[str, Any] = json.loads(await process.stdout.readline())
    return line


@pytest.mark.parametrize("format", ["json", "msgpack"])
def test_what_one_device_acknowledges_does_not_come_again(
    run: Callable[..., Any], nats_server: Any, gateway: Any, tmp_path: Path, format: str
) -> None:
    async def scenario() -> None:
        key = tmp_path / "key.pub"
        key.write_bytes(public_pem("EdDSA"))
        alice = token("alice")
        bob = token("bob", {"channels": ["events"], "topics": ["user.*"], "read": False, "publish": True})
        async with (
            gateway(nats_server.url, auth_key_file=(key,)) as here,
            connect(here.url, token=bob) as writer,
            connect(here.url, token=alice) as other_device,
        ):
            mine = await other_device.events()
            acknowledged: asyncio.Queue[int] = asyncio.Queue()
            mine.on_acknowledged(acknowledged.put_nowait)
            told = {"topic": "user.alice", "sender": "bob"}
            async with program("acknowledge", here.url, format, alice) as process:
                assert await said(process) == {"ready": "user.alice", "position": None}
                fills = [(await writer.publish("user.alice", "fill", n)).seq for n in range(3)]
                for n, seq in enumerate(fills):
                    assert await said(process) == {**told, "seq": seq, "data": n, "redelivered": False}
                assert process.stdin is not None
                process.stdin.write(f"{fills[1]}\n".encode())
                assert await acknowledged.get() == fills[1]
                assert await said(process) == {"acknowledged": fills[1]}
            async with program("acknowledge", here.url, format, alice) as process:
                lines = [await said(process), await said(process)]
                assert {"ready": "user.alice", "position": fills[1]} in lines
                assert {**told, "seq": fills[2], "data": 2, "redelivered": True} in lines

    run(scenario(), deadline_s=DEADLINE_S)
