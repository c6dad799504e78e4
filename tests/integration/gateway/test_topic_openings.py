"""Topics of events and maps are opened a few at a time, and those who ask take turns: one who asks for hundreds delays others by one."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from mdstream.bus.map_reader import MapReader
from mdstream.bus.numbered import NumberedReader, NumberedStream
from mdstream.errors import BusError
from mdstream.gateway.openings import AT_ONCE_OF_ONE
from mdstream.model import Channel

MANY = 3 * AT_ONCE_OF_ONE


class Slow:
    """Lets nothing whose name begins with ``slow.`` go on before ``go_on``."""

    def __init__(self) -> None:
        self.begun: list[str] = []
        self.go_on = asyncio.Event()

    async def wait(self, name: str) -> None:
        if name.startswith("slow."):
            self.begun.append(name)
            await self.go_on.wait()


@pytest.mark.parametrize("channel", ["events", "map"])
def test_one_who_asks_for_many_topics_does_not_hold_up_others(
    run, nats_server, gateway, ws, monkeypatch, channel: str
) -> None:
    async def scenario() -> None:
        slow = Slow()
        last, load = NumberedStream.last, MapReader.open

        async def slow_last(stream: NumberedStream, name: str) -> Any:
            await slow.wait(name)
            return await last(stream, name)

        async def slow_open(reader: MapReader) -> None:
            await slow.wait(reader.topic)
            await load(reader)

        monkeypatch.setattr(NumberedStream, "last", slow_last)
        monkeypatch.setattr(MapReader, "open", slow_open)
        ask = {"op": "subscribe", "channel": channel}
        async with gateway(nats_server.url, open_timeout_ms=60_000) as server:
            greedy, modest = await ws.open(server.port, "json"), await ws.open(server.port, "json")
            for number in range(MANY):
                greedy.send(ask | {"topics": [f"slow.{number}"]})
            while len(slow.begun) < AT_ONCE_OF_ONE:
                await asyncio.sleep(0.01)
            modest.send(ask | {"topics": ["quick"]})
            assert (await modest.until("subscribed"))["topic"] == "quick"
            assert len(slow.begun) == AT_ONCE_OF_ONE
            slow.go_on.set()
            came = {(await greedy.until("subscribed"))["topic"] for _ in range(MANY)}
            assert came == {f"slow.{number}" for number in range(MANY)}

    run(scenario())


@pytest.mark.parametrize(("channel", "bound"), [("events", "max_event_topics"), ("map", "max_maps")])
def test_what_a_command_has_opened_stays_until_it_has_begun(
    run, nats_server, gateway, ws, channel: str, bound: str
) -> None:
    """Where a gateway is full, a topic that nobody asks for goes; those that wait for others of their command do not."""

    async def scenario() -> None:
        ask = {"op": "subscribe", "channel": channel}
        async with gateway(nats_server.url, **{bound: 3}) as server:
            client = await ws.open(server.port, "json")
            client.send(ask | {"topics": ["old.a", "old.b"]})
            subs = [(await client.until("subscribed"))["sub"] for _ in range(2)]
            client.send({"op": "unsubscribe", "subs": subs})
            client.send(ask | {"topics": ["new.a", "new.b", "new.c"]})
            answers = [await client.until("subscribed") for _ in range(3)]
            assert [each["topic"] for each in answers] == ["new.a", "new.b", "new.c"]
            client.send(ask | {"topics": ["new.d"]})
            refused = await client.until("error")
            assert refused["code"] == "unavailable" and "end others" in refused["message"]

    run(scenario())


@pytest.mark.parametrize("channel", ["events", "map", "presence"])
def test_what_is_given_up_needs_no_garbage_collector(run, nats_server, gateway, ws, channel: str) -> None:
    """Ten thousand topics that one client asked for once would stay until a quiet moment."""

    async def scenario() -> None:
        async with gateway(nats_server.url) as server:
            client = await ws.open(server.port, "json")
            client.send({"op": "subscribe", "channel": channel, "topics": ["desk.a"]})
            sub = (await client.until("subscribed"))["sub"]
            client.send({"op": "unsubscribe", "subs": [sub]})
            await client.until("unsubscribed")
            topics, found = found_in(server, channel, "desk.a")
            kept = [weakref.ref(found.reader)]  # which knows the topic
            del found
            with without_garbage_collector():
                topics._give_up(float("inf"))
                await until_freed(kept)

    run(scenario())


@pytest.mark.parametrize("channel", ["events", "map"])
def test_what_could_not_be_opened_needs_no_garbage_collector(
    run, nats_server, gateway, ws, monkeypatch, channel: str
) -> None:
    kept: list[weakref.ref[Any]] = []

    async def failing(reader: Any) -> None:
        kept.append(weakref.ref(reader))
        raise BusError("stopped by the test")

    async def scenario() -> None:
        ask = {"op": "subscribe", "channel": channel}
        async with gateway(nats_server.url, max_maps=3) as server:
            client = await ws.open(server.port, "json")
            monkeypatch.setattr(NumberedReader, "_fill", failing)
            with without_garbage_collector():
                client.send(ask | {"topics": ["desk.a"]})
                refused = await client.until("error")
                assert refused["code"] == "unavailable"
                topics = found_in(server, channel, "desk.a")[0]
                topics._give_up(float("inf"))
                await until_freed(kept)

    run(scenario())


def found_in(server: Any, channel: str, name: str) -> tuple[Any, Any]:
    """What keeps the topics of a channel, and one of them."""
    subscriptions = server._sessions.subscriptions
    if channel == "events":
        return subscriptions.event_topics, subscriptions.event_topics.find(name)
    return subscriptions.maps.topics, subscriptions.maps.topics.find(Channel(channel), name)


@contextmanager
def without_garbage_collector() -> Iterator[None]:
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


async def until_freed(kept: list[weakref.ref[Any]]) -> None:
    async with asyncio.timeout(10):
        while any(each() is not None for each in kept):
            await asyncio.sleep(0.01)
