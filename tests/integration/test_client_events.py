"""The Python client's events over a real gateway, and the two commands."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from mdstream.client import Policy, PublishRefused, SubscriptionRefused, connect
from mdstream.gateway import Gateway, GatewayConfig

QUICK = Policy(backoff_base_s=0.01, backoff_cap_s=0.05, recover_timeout_s=0.2, silent_heartbeats=100)


@asynccontextmanager
async def serving(url: str, **options: Any) -> AsyncIterator[Gateway]:
    gateway = Gateway(GatewayConfig(nats=(url,), port=0, admin_port=0, drain_spread_ms=0, **options))
    await gateway.start()
    await gateway.wait_ready()
    try:
        yield gateway
    finally:
        await gateway.stop(at_once=True)


@pytest.mark.parametrize("format", ["json", "msgpack"])
def test_publish_read_and_go_on_elsewhere(run, nats_server, format) -> None:
    async def scenario() -> None:
        async with (
            serving(nats_server.url) as one,
            serving(nats_server.url) as other,
            connect([one.url, other.url], format=format, policy=QUICK) as reader,
            connect(other.url, format=format, policy=QUICK) as writer,
        ):
            found = await reader.events("desk.a")
            assert (found.topic, found.acknowledgement, found.seq) == ("desk.a", "none", 0)
            stream = found.updates()
            stored = [await writer.publish("desk.a", "note", {"n": n}) for n in range(3)]
            assert [each.seq for each in stored] == sorted({each.seq for each in stored})
            got = [await anext(stream) for _ in range(3)]
            assert [(e.type, e.data, e.seq) for e in got] == [
                ("note", {"n": n}, stored[n].seq) for n in range(3)
            ]
            await one.stop(at_once=True)
            more = await writer.publish("desk.a", "note", "after", key="k")
            assert (await writer.publish("desk.a", "note", "after", key="k")).duplicate
            event = await anext(stream)
            assert (event.data, event.seq) == ("after", more.seq)
            with pytest.raises(PublishRefused) as refused:
                await writer.publish("desk.a", "note", 20_000 * "x")
            assert refused.value.code == "bad_value"
            with pytest.raises(SubscriptionRefused):
                await reader.events("user")  # nobody is asked who he is
            with pytest.raises(ValueError, match="topic is 'a b'"):
                await reader.events("a b")

    run(scenario())


def test_all_that_is_kept_page_by_page(run, nats_server) -> None:
    async def scenario() -> None:
        async with (
            serving(nats_server.url, publishes_burst=10_000) as one,
            connect(one.url, policy=QUICK) as writer,
        ):
            for number in range(300):
                await writer.publish("desk.a", "n", number)
            async with serving(nats_server.url) as other, connect(other.url, policy=QUICK) as reader:
                found = await reader.events("desk.a", since=0)
                got: list[int] = []
                found.on_event(lambda event: got.append(event.data))
                stream = found.updates()
                async with asyncio.timeout(20):
                    while len(got) < 300:
                        await anext(stream)
                assert got == list(range(300))

    run(scenario())


def test_the_commands(run, nats_server) -> None:
    async def command(*arguments: str) -> str:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "mdstream.cli", *arguments),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        out, err = await process.communicate()
        assert process.returncode == 0, err.decode()
        return out.decode()

    async def scenario() -> None:
        async with serving(nats_server.url, events_topics=("desk.a:device:all",)) as gateway:
            first = await command(
                *(
                    "publish",
                    "desk.a",
                    "--type",
                    "note",
                    "--data",
                    '{"a": 1}',
                    "--url",
                    gateway.url,
                    "--key",
                    "k",
                )
            )
            second = await command(
                *(
                    "publish",
                    "desk.a",
                    "--type",
                    "note",
                    "--data",
                    '"b"',
                    "--nats",
                    nats_server.url,
                    "--sender",
                    "ops",
                )
            )
            assert int(first) < int(second)
            asked = ("events", "desk.a", "--url", gateway.url, "--device", "d", "--ack", "--count", "2")
            lines = [json.loads(line) for line in (await command(*asked)).splitlines()]
            assert [(e["data"], e["sender"], e["type"]) for e in lines] == [
                ({"a": 1}, None, "note"),
                ("b", "ops", "note"),
            ]
            async with connect(gateway.url, policy=QUICK) as client:
                found = await client.events("desk.a", device="d")
                while found.acknowledged != int(second):
                    await asyncio.sleep(0.01)

    run(scenario())
