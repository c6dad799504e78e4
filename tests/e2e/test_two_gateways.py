"""A client that moves from one gateway to another goes on where it was: no snapshot, no number missing or twice."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from mdstream.client import ConnectionState


async def _moved(client: Any) -> None:
    opened = asyncio.Event()
    client.on_state(lambda state: state is ConnectionState.OPEN and opened.set())
    await opened.wait()


async def _begun(sim: Any, *followers: Any) -> None:
    """Returns when each has been sent a trade: before its first, a client has no number to go on from."""
    while not sim.trades:
        await sim.play(10)
    for follower in followers:
        await follower.trades.reach(sim.trades[0][0])


@pytest.mark.parametrize("format", ["json", "msgpack"])
@pytest.mark.parametrize("how", ["drained", "cut"])
def test_a_client_moves_and_resumes(how, format, run, nats_server, gateway, market, follower) -> None:
    async def scenario() -> None:
        url = nats_server.url
        async with (
            market(url) as sim,
            gateway(url) as here,
            gateway(url) as there,
            follower(there.url, format) as resident,
            follower(here.url, format) as mover,
        ):
            await resident.subscribe()
            await mover.subscribe()
            await _begun(sim, mover)
            await sim.play(100)
            mover.dial.url = there.url
            moved = asyncio.ensure_future(_moved(mover.client))
            if how == "cut":
                mover.dial.transport.abort()
                leaving = asyncio.ensure_future(asyncio.sleep(0))
            else:
                leaving = asyncio.ensure_future(here.drain())
            await sim.play(100)
            await moved
            await leaving
            await sim.play(100)
            seq = await sim.touch()
            for each in (mover, resident):
                await each.ends_as(sim)
            assert mover.client.stats.reconnects == 1
            for followed in mover.books:
                assert followed.snapshots == 0, followed.book.request
                assert followed.updates[-1].last == seq
            assert mover.client.stats.recoveries == mover.client.stats.gaps == 0
            assert not mover.trades.lost

    run(scenario())


def test_a_client_moves_back_and_forth(run, nats_server, gateway, market, follower) -> None:
    """Gateways flush at other moments, so a number that one sent lies within what the other sends next."""

    async def scenario() -> None:
        url = nats_server.url
        async with (
            market(url) as sim,
            gateway(url) as here,
            gateway(url) as there,
            follower(there.url, "msgpack") as resident,
            follower(here.url, "msgpack") as mover,
        ):
            await resident.subscribe()
            await mover.subscribe()
            await _begun(sim, mover)
            for move in range(8):
                mover.dial.url = (there.url, here.url)[move % 2]
                moved = asyncio.ensure_future(_moved(mover.client))
                playing = asyncio.ensure_future(sim.play(40))
                mover.dial.transport.abort()
                await moved
                await playing
            await sim.touch()
            await mover.ends_as(sim)
            assert mover.client.stats.reconnects == 8
            assert [followed.snapshots for followed in mover.books] == [0] * len(mover.books)
            assert not mover.trades.lost

    run(scenario())


def test_a_client_moves_to_a_gateway_that_never_had_the_instrument(
    run, nats_server, gateway, market, follower
) -> None:
    """It reads back in the log, though meanwhile the publisher wrote a snapshot beyond the client's number."""

    async def scenario() -> None:
        url = nats_server.url
        async with (
            market(url) as sim,
            gateway(url) as here,
            gateway(url) as there,
            follower(here.url, "msgpack") as mover,
        ):
            await mover.subscribe()
            await _begun(sim, mover)
            await sim.play(50)
            mover.dial.connected.clear()
            moved = asyncio.ensure_future(_moved(mover.client))
            mover.dial.transport.abort()
            await sim.play(100)
            sim.instrument.snap()
            await sim.play(20)
            mover.dial.url = there.url
            mover.dial.connected.set()
            await moved
            await sim.touch()
            await mover.ends_as(sim)
            for followed in mover.books:
                assert followed.snapshots == 0, followed.book.request
            assert not mover.trades.lost

    run(scenario())
