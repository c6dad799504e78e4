"""Following a numbered stream of a real nats-server over a connection that loses and doubles messages."""

from __future__ import annotations

import asyncio
import gc
import random
import weakref
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import pytest

from mdstream.bus import Bus, BusOptions, EmbeddedNats, connect
from mdstream.bus import numbered as module
from mdstream.bus.numbered import Numbered, NumberedReader, NumberedStream
from mdstream.bus.topic_streams import (
    EVENT_SUBJECT,
    LIVE_EVENTS,
    MD_EVENTS,
    TopicStreamOptions,
    ensure_events,
)
from mdstream.errors import BusUnavailable

QUICK = {"reconnect_cap_s": 0.05, "connect_deadline_s": 10.0}


class Followed:
    """What a reader of one topic was given."""

    def __init__(self) -> None:
        self.got: list[Numbered] = []
        self.restarts = 0
        self.changed = asyncio.Event()

    def take(self, message: Numbered) -> None:
        self.got.append(message)
        self.changed.set()

    def restarted(self) -> None:
        self.restarts += 1
        self.changed.set()

    async def until(self, holds: Callable[[], bool]) -> None:
        async with asyncio.timeout(15):
            while not holds():
                self.changed.clear()
                await self.changed.wait()

    @property
    def payloads(self) -> list[bytes]:
        return [message.payload for message in self.got]


@asynccontextmanager
async def stream(server: EmbeddedNats) -> AsyncIterator[tuple[Bus, NumberedStream]]:
    async with await connect(BusOptions((server.url,), **QUICK)) as bus:
        ensure = partial(ensure_events, bus.jetstream, TopicStreamOptions())
        made = NumberedStream(bus, MD_EVENTS, prefix=EVENT_SUBJECT, live=LIVE_EVENTS, ensure=ensure)
        await made.begin()
        try:
            yield bus, made
        finally:
            await made.close()


def follow(made: NumberedStream, topic: str = "a") -> tuple[Followed, NumberedReader]:
    found = Followed()
    return found, made.reader(topic, found.take, found.restarted)


@pytest.mark.parametrize("after", [None, 0, 3])
def test_from_a_number_on_and_then_live(run, nats_server, after) -> None:
    async def scenario() -> None:
        async with stream(nats_server) as (bus, made):
            for number in range(5):
                await bus.publish_acked("ev.a", b"%d" % number)
                await bus.publish_acked("ev.b", b"other")
            found, reader = follow(made)
            await reader.open(after)
            first = {None: 5, 0: 0, 3: 2}[after]
            assert found.payloads == [b"%d" % number for number in range(first, 5)]
            await bus.publish_acked("ev.a", b"5")
            await found.until(lambda: found.payloads[-1:] == [b"5"])
            numbers = [message.seq for message in found.got]
            assert numbers == sorted(set(numbers))
            assert [message.prev for message in found.got[1:]] == numbers[:-1]

    run(scenario())


def test_what_is_lost_or_doubled_on_the_way_comes_once_and_in_order(run, nats_server, monkeypatch) -> None:
    monkeypatch.setattr(module, "ASK_S", 0.1)
    monkeypatch.setattr(module, "LOOK_S", 0.05)
    chance = random.Random(3)
    hear = NumberedReader._hear

    def hear_badly(self: NumberedReader, *message: Any) -> None:
        for _ in range(chance.choice([0, 0, 1, 1, 1, 2])):
            hear(self, *message)

    monkeypatch.setattr(NumberedReader, "_hear", hear_badly)

    async def scenario() -> None:
        async with stream(nats_server) as (bus, made):
            readers = [follow(made) for _ in range(3)]
            for _, reader in readers:
                await reader.open(0)
            wanted = [b"%d" % number for number in range(600)]
            for payload in wanted:
                await bus.publish("ev.a", payload)
                if chance.random() < 0.05:
                    await asyncio.sleep(0)
            for found, _ in readers:
                await found.until(lambda found=found: len(found.got) >= len(wanted))
                assert found.payloads == wanted

    run(scenario())


def test_nothing_is_missing_after_the_server_was_killed(run, nats_server) -> None:
    async def scenario() -> None:
        async with stream(nats_server) as (bus, made):
            found, reader = follow(made)
            await reader.open()
            await bus.publish_acked("ev.a", b"0")
            await found.until(lambda: len(found.got) == 1)
            nats_server.kill()
            with pytest.raises(BusUnavailable):
                await made.read("a", 1)
            await nats_server.restart()
            async with await connect(BusOptions((nats_server.url,), **QUICK)) as other:
                while True:
                    try:
                        await other.publish_acked("ev.a", b"1")
                        break
                    except BusUnavailable:  # JetStream takes a moment
                        await asyncio.sleep(0.05)
            await found.until(lambda: len(found.got) >= 2)
            assert set(found.payloads) == {b"0", b"1"} and found.restarts == 0

    run(scenario())


def test_what_comes_live_and_is_not_in_the_stream_is_dropped(run, nats_server, monkeypatch) -> None:
    monkeypatch.setattr(module, "HOLE_S", 0.1)

    async def scenario() -> None:
        async with stream(nats_server) as (bus, made):
            found, reader = follow(made)
            await reader.open()
            time = b"2026-11-29T10:00:00.1Z"
            for seq, prev in ((b"900", b"899"), (b"901", b"900")):
                headers = {"Nats-Sequence": seq, "Nats-Last-Sequence": prev, "Nats-Time-Stamp": time}
                await bus.client.publish(
                    f"{LIVE_EVENTS}.a",
                    b"forged",
                    headers={name: text.decode() for name, text in headers.items()},
                )
            await bus.publish(f"{LIVE_EVENTS}.a", b"without a number")
            for number in range(3):
                await bus.publish_acked("ev.a", b"%d" % number)
            await found.until(lambda: len(found.got) >= 3)
            assert found.payloads == [b"0", b"1", b"2"]

    run(scenario())


def test_another_stream_is_told(run, nats_server) -> None:
    async def scenario() -> None:
        async with stream(nats_server) as (bus, made):
            found, reader = follow(made)
            await reader.open()
            for number in range(3):
                await bus.publish_acked("ev.a", b"%d" % number)
            await found.until(lambda: len(found.got) == 3)
            epoch = made.epoch
            await bus.jetstream.delete_stream(MD_EVENTS)
            await ensure_events(bus.jetstream, TopicStreamOptions())
            await bus.publish_acked("ev.a", b"anew")
            await found.until(lambda: found.restarts == 1)
            assert made.epoch > epoch
            again, reader = follow(made)
            await reader.open(0)
            assert again.payloads == [b"anew"]

    run(scenario())


def test_one_that_is_closed_while_it_asks_needs_no_garbage_collector(run, nats_server) -> None:
    """A gateway that is busy does not collect for a long time, and may have thousands of them."""

    async def scenario() -> None:
        async with stream(nats_server) as (_, made):
            _, reader = follow(made)
            await reader.open()
            gone = weakref.ref(reader)
            gc.disable()
            try:
                reader.ask()
                await asyncio.sleep(0)  # it asks now
                await reader.close()
                del reader
                async with asyncio.timeout(10):
                    while gone() is not None:
                        await asyncio.sleep(0.01)
            finally:
                gc.enable()

    run(scenario())
