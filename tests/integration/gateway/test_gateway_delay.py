"""A delayed gateway: what was published comes as it came then, so much later, and never sooner."""

from __future__ import annotations

import asyncio
import logging
import re
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest

from mdstream.bus import MD_LOG, BusOptions, DelayedBus, StreamOptions, connect, connect_delayed, subject
from mdstream.bus.streams import MD_PAST, newest_stored, past_kept
from mdstream.errors import BusUnavailable, ConfigError
from mdstream.gateway import Gateway, GatewayConfig
from mdstream.model import InstrumentId

DELAY_S = 1.5
BOOK = {"op": "subscribe", "channel": "book", "instruments": ["SIM:A"]}
KEEPS_ENOUGH = StreamOptions(log_max_age_s=700)


@asynccontextmanager
async def writing(feed: Any, url: str) -> AsyncIterator[Any]:
    """A ``RawFeed`` for SIM:A; the streams keep enough for the delay. It notes when each number was published."""
    async with await connect(BusOptions((url,), streams=KEEPS_ENOUGH)) as bus:
        await bus.ensure_streams()
        async with feed(url, "SIM:A") as pub:
            pub.published = {}
            yield pub


async def write(pub: Any, count: int) -> None:
    """Updates a level; its size is the number of the update."""
    for _ in range(count):
        pub.published[pub.epoch, pub.seq + 1] = time.monotonic()
        await pub.book([1000, pub.seq + 1], [])
        await asyncio.sleep(0.01)


def delayed(gateway: Any, url: str, **more: Any) -> Any:
    return gateway(url, delay_ms=int(DELAY_S * 1000), **more)


async def subscribed(client: Any, **more: Any) -> dict[str, Any]:
    """Subscribes to SIM:A as soon as it is known there."""
    while True:
        client.send({**BOOK, **more})
        answer = await client.recv()
        if answer["type"] == "subscribed":
            return answer
        assert answer["code"] in ("unknown_instrument", "unavailable")
        await asyncio.sleep(0.05)


class Follower:
    """What a client sees of SIM:A: its bids, and how old each number was when it came."""

    def __init__(self, pub: Any) -> None:
        self._published = pub.published
        self.epoch = self.seq = 0
        self.bids: dict[str, str] = {}
        self.ages_s: list[float] = []
        self.states: list[tuple[str, float]] = []

    async def follow(self, client: Any, epoch: int, seq: int) -> None:
        while (self.epoch, self.seq) < (epoch, seq):
            self.take(await client.recv())

    def take(self, message: dict[str, Any]) -> None:
        if message["type"] == "state":
            self.states.append((message["state"], time.monotonic()))
        if message["type"] not in ("snapshot", "delta"):
            return
        if message["type"] == "snapshot":
            self.epoch, self.seq, self.bids = message["epoch"], message["seq"], {}
        else:
            assert message["first"] == self.seq + 1
            self.seq = message["last"]
        self.bids.update(message["bids"])
        self.bids = {price: size for price, size in self.bids.items() if float(size)}
        if (self.epoch, self.seq) in self._published:
            self.ages_s.append(time.monotonic() - self._published[self.epoch, self.seq])
        assert self.bids == {"10.00": f"{self.seq / 1000:.3f}"}, "the book is the one of that number"


@pytest.mark.parametrize("depth", [0, 5])
def test_books_come_with_their_numbers_so_much_later_and_never_sooner(
    run, nats_server, gateway, feed, ws, depth
) -> None:
    async def scenario() -> None:
        async with writing(feed, nats_server.url) as pub, delayed(gateway, nats_server.url) as server:
            client = await ws.open(server.port)
            await client.recv()
            began_s = time.monotonic()
            pub.published[1000, 1] = began_s
            await pub.announce([1000, 1], [1001, 7])
            written = asyncio.ensure_future(write(pub, 300))
            answer = await subscribed(client, depth=depth)
            assert time.monotonic() - began_s >= DELAY_S
            assert answer["delay_ms"] == DELAY_S * 1000
            follower = Follower(pub)
            await follower.follow(client, 1000, 301)
            await written
            assert min(follower.ages_s) >= DELAY_S
            assert len(follower.ages_s) > 100, "each update for itself, not all of them at once"
            assert [state for state, _ in follower.states] in ([], ["recovering", "live"], ["live"])

    run(scenario())


def test_states_and_epochs_come_when_they_are_due(run, nats_server, gateway, feed, ws) -> None:
    async def scenario() -> None:
        async with writing(feed, nats_server.url) as pub, delayed(gateway, nats_server.url) as server:
            client = await ws.open(server.port)
            await client.recv()
            await pub.announce([1000, 1], [1001, 7])
            await subscribed(client)
            follower = Follower(pub)
            await write(pub, 20)
            await pub.status("halted", "news")
            halted_s = time.monotonic()
            while "halted" not in dict(follower.states):
                follower.take(await client.recv())
            assert dict(follower.states)["halted"] - halted_s >= DELAY_S
            pub.epoch, pub.seq = 2000, 0
            pub.published[2000, 1] = time.monotonic()
            await pub.announce([1000, 1], [1001, 7])
            await write(pub, 20)
            await follower.follow(client, 2000, 21)
            assert min(follower.ages_s) >= DELAY_S

    run(scenario())


def test_who_comes_late_is_shown_the_book_of_then(run, nats_server, gateway, feed, ws) -> None:
    async def scenario() -> None:
        async with writing(feed, nats_server.url) as pub, delayed(gateway, nats_server.url) as server:
            await pub.announce([1000, 1], [1001, 7])
            pub.published[1000, 1] = time.monotonic()
            written = asyncio.ensure_future(write(pub, 400))
            for _ in range(2):
                client = await ws.open(server.port)
                await client.recv()
                await subscribed(client)
                snapshot = await client.until("snapshot")
                age_s = time.monotonic() - pub.published[1000, snapshot["seq"]]
                assert age_s >= DELAY_S
                follower = Follower(pub)
                follower.take(snapshot)
                await follower.follow(client, 1000, snapshot["seq"] + 20)
                client.send({"op": "recover", "sub": snapshot["sub"], "from": 0})
                while (message := await client.recv())["type"] != "snapshot":
                    follower.take(message)
                follower.take(message)
                assert min(follower.ages_s) >= DELAY_S
            written.cancel()
            await asyncio.gather(written, return_exceptions=True)

    run(scenario())


def test_a_gateway_goes_on_after_nats_was_away(run, nats_server, gateway, feed, ws) -> None:
    async def scenario() -> None:
        async with writing(feed, nats_server.url) as pub, delayed(gateway, nats_server.url) as server:
            client = await ws.open(server.port)
            await client.recv()
            await pub.announce([1000, 1], [1001, 7])
            await subscribed(client)
            follower = Follower(pub)
            await write(pub, 50)
            await pub.stored()
            nats_server.kill()
            await nats_server.restart()
            while not pub.bus.connected:
                await asyncio.sleep(0.01)
            await write(pub, 50)
            await follower.follow(client, 1000, 101)
            assert min(follower.ages_s) >= DELAY_S

    run(scenario())


def test_what_was_before_the_past_was_kept_is_not_guessed(run, nats_server, feed) -> None:
    async def scenario() -> None:
        async with writing(feed, nats_server.url) as pub:
            await pub.announce([1000, 1], [1001, 7])
            async with await connect_delayed(BusOptions((nats_server.url,)), 60) as bus:
                await bus.ensure_streams()
                ref = subject(InstrumentId("SIM", "A"), "ref")
                with pytest.raises(
                    BusUnavailable, match=r"MD_PAST was created less than the delay ago.* in \d+ s"
                ):
                    await bus.last_stored("MD_STATE", ref)
                assert await bus.last_stored("MD_STATE", "md.SIM.NONE.ref") is None
                assert await bus.last_stored(MD_LOG, "md.SIM.A.book") is None

    run(scenario())


def test_bytes_that_run_out_before_the_delay_are_told_with_what_to_do(run, nats_server, feed, caplog) -> None:
    async def scenario() -> None:
        options = BusOptions((nats_server.url,), streams=replace(KEEPS_ENOUGH, past_max_bytes=20_000))
        async with writing(feed, nats_server.url) as pub, await connect_delayed(options, 60) as bus:
            await bus.ensure_streams()
            assert bus._kept.full_bytes == 0 and not caplog.records
            await pub.announce([1000, 1], [1001, 7])
            ref, name = (subject(InstrumentId("SIM", "A"), each) for each in ("ref", "snap"))
            # MD_STATE keeps eight of a subject: the mirror gets what comes while it follows, and may begin to follow late.
            while (kept := await past_kept(bus.jetstream)).full_bytes == 0:
                await bus.publish_acked(name, bytes(1_000))
            bus._take_kept(kept)
            bus._take_kept(kept)
            await pub.announce([1000, 1], [1001, 7])
            while await newest_stored(bus.jetstream, MD_PAST, ref) is None:
                await asyncio.sleep(0.01)
            with pytest.raises(
                BusUnavailable, match=r"what md.SIM.A.ref was then is not known: MD_PAST is full"
            ):
                await bus.last_stored("MD_STATE", ref)

    with caplog.at_level(logging.WARNING):
        run(scenario())
    (said,) = [record.message for record in caplog.records if "MD_PAST" in record.message]
    assert re.match(r"MD_PAST is full: its 20000 bytes keep \d+ s, and the delay needs 600 s", said), said
    assert "nats stream edit MD_PAST --max-bytes" in said


def test_the_last_of_then_is_found_and_the_log_ends_there(run, nats_server, feed) -> None:
    async def scenario() -> None:
        async with writing(feed, nats_server.url) as pub, _delayed_bus(nats_server.url, 1.0) as bus:
            await pub.announce([1000, 1], [1001, 7])
            for _ in range(30):
                await write(pub, 5)
                newest = await bus.last_stored(MD_LOG, "md.SIM.A.book")
                asked_of_leader = await bus.newest_stored(MD_LOG, "md.SIM.A.book")
                came = [payload async for payload in bus.log("md.SIM.A.book")]
                ages_s = [time.monotonic() - at for at in list(pub.published.values())[: len(came)]]
                assert all(age_s >= 1.0 for age_s in ages_s)
                assert newest is None or newest.payload in came
                assert asked_of_leader is None or asked_of_leader.payload in came, "it has what is newer"
                await asyncio.sleep(0.02)
            assert len(came) > 20

    run(scenario())


@asynccontextmanager
async def _delayed_bus(url: str, delay_s: float) -> AsyncIterator[DelayedBus]:
    async with await connect_delayed(BusOptions((url,), streams=KEEPS_ENOUGH), delay_s) as bus:
        await bus.ensure_streams()
        yield bus


def test_streams_that_keep_too_little_are_refused_with_what_to_do(run, nats_server) -> None:
    async def scenario() -> None:
        async with await connect(nats_server.url) as bus:
            await bus.ensure_streams()
        gateway = Gateway(
            GatewayConfig(nats=(nats_server.url,), port=0, admin_port=0, node="test", delay_ms=900_000)
        )
        await gateway.start()
        try:
            with pytest.raises(ConfigError) as caught:
                await gateway.wait_refused()
        finally:
            await gateway.stop()
        assert str(caught.value) == (
            "delay_ms is 900000, for which MD_LOG must keep 1500 s, and it keeps 600 s; "
            "`nats stream edit MD_LOG --max-age 1500s` changes that"
        )

    run(scenario())
