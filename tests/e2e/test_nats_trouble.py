"""NATS is killed, or loses messages for one gateway: clients are told, stay, and end with exactly the publisher's book."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from typing import Any

import pytest

from mdstream.bus import MD_LOG, Bus, connect, subject
from mdstream.bus.payloads import numbers
from mdstream.client import SubscriptionState

STALE, RECOVERING = SubscriptionState.STALE, SubscriptionState.RECOVERING


async def _told(follower: Any, state: SubscriptionState) -> None:
    """Returns when each book has been told so."""
    for followed in follower.books:
        if state in followed.states:
            continue
        told = asyncio.Event()
        unregister = followed.book.on_state(lambda now, told=told: now is state and told.set())
        await told.wait()
        unregister()


async def _stayed(follower: Any) -> None:
    """Connected throughout, and live again; what was recovered of books, the gateway recovered."""
    assert follower.client.stats.reconnects == 0
    for followed in follower.books:
        assert followed.book.gaps == followed.book.recoveries == 0
        await followed.live()


async def _stored(market: Any) -> None:
    """Returns when the log has all that was published: a server has read it before, and loses it if it is killed then. A gateway that
    finds a hole in the log after a second tells its trades as lost, which the clients of a busy machine count as a gap."""
    instrument = market.instrument
    for stream, newest in (("book", instrument.seq), ("trade", instrument.trade_seq)):
        while True:
            payload = await market.publisher.bus.last(MD_LOG, subject(instrument.id, stream))
            if payload is not None and numbers(stream, payload)[-1][2] >= newest:
                break
            await asyncio.sleep(0.01)


@contextlib.contextmanager
def withheld(bus: Bus, stream: str) -> Iterator[list[bytes]]:
    """Loses what comes on one stream to every reader on this connection; gives what was lost."""
    client, lost = bus.client, []
    real = dict(client._taps)

    def lossy(handler: Any) -> Any:
        def deliver(subject: bytes, reply: bytes, payload: bytes, headers: bytes | None) -> None:
            if subject.endswith(b"." + stream.encode()):
                lost.append(payload)
            else:
                handler(subject, reply, payload, headers)

        return deliver

    for sid, handler in real.items():
        client._taps[sid] = lossy(handler)
    try:
        yield lost
    finally:
        for sid, handler in real.items():
            if sid in client._taps:
                client._taps[sid] = handler


@pytest.mark.parametrize("format", ["json", "msgpack"])
def test_a_server_that_is_killed_and_comes_back(format, run, nats_server, gateway, market, follower) -> None:
    async def scenario() -> None:
        url = nats_server.url
        async with market(url) as sim, gateway(url) as node, follower(node.url, format) as client:
            await client.subscribe()
            await sim.play(50)
            await _stored(sim)
            nats_server.kill()
            await _told(client, STALE)
            await sim.play(50)
            assert sim.publisher.backlog_bytes
            await nats_server.restart()
            await _told(client, RECOVERING)
            await sim.play(50)
            await sim.touch()
            await client.ends_as(sim)
            await _stayed(client)

    run(scenario())


@pytest.mark.parametrize("format", ["json", "msgpack"])
def test_messages_withheld_from_one_gateway(format, run, nats_server, gateway, market, follower) -> None:
    async def scenario() -> None:
        url = nats_server.url
        async with (
            await connect(url) as bus,
            market(url) as sim,
            gateway(url, bus) as deprived,
            gateway(url) as other,
            follower(deprived.url, format) as client,
            follower(other.url, format) as elsewhere,
        ):
            await client.subscribe()
            await elsewhere.subscribe()
            await sim.play(50)
            for stream in ("book", "trade"):
                with withheld(bus, stream) as lost:
                    await sim.play(20)
                    await bus.flush()
                    assert lost
                await _stored(sim)
                await sim.play(20)
            await sim.touch()
            for each in (client, elsewhere):
                await each.ends_as(sim)
                await _stayed(each)
                assert not each.trades.lost and each.trades.trades.gaps == 0
            for followed in client.books:
                assert RECOVERING in followed.states
            for followed in elsewhere.books:
                assert followed.states == []

    run(scenario())


def test_what_the_log_no_longer_holds_is_replaced_by_a_snapshot(
    run, nats_server, gateway, market, follower
) -> None:
    async def scenario() -> None:
        url = nats_server.url
        async with (
            await connect(url) as bus,
            market(url) as sim,
            gateway(url, bus) as node,
            follower(node.url, "msgpack") as client,
        ):
            await client.subscribe()
            await sim.play(50)
            with withheld(bus, "book"):
                await sim.play(50)
                await bus.flush()
            await bus.jetstream.purge_stream("MD_LOG")
            await sim.play(5)
            await _told(client, RECOVERING)
            sim.instrument.snap()
            await sim.touch()
            await client.ends_as(sim)
            for followed in client.books:
                assert followed.snapshots == 1
            await _stayed(client)

    run(scenario())
