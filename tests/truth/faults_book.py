"""B: another price than the venue's. C: empty or older, shown as live. S: what is no fault, or is told as what it is."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

from truth.model import Levels
from truth.rig import LINGER_S, Case
from truth.scenario import HOUR_US, TOLD_S, comes_back, fault, repeat, watched_raw
from truth.writers import MIDDLE, now_us

# ---- B: another price than the venue's


@fault("B")
async def change_of_decimals(case: Case) -> None:
    """In mid-stream, finer and back, with trades before and after: nothing is read by the other epoch's scale."""
    writer = await case.sdk()
    await writer.open()
    async with writer.pumping():
        await case.watch()
        writer.trade()
    for price_exp in (-4, -2):
        await writer.open(price_exp=price_exp)
        async with writer.pumping():
            await asyncio.sleep(0.3)
            writer.trade(ticks=MIDDLE + 7)
            await case.current(within_s=3)


@fault("B")
async def new_epoch_in_the_same_scale(case: Case) -> None:
    """What was traded in the epoch before is no last trade of this one."""
    writer = await watched_raw(case)
    await writer.trade(ticks=MIDDLE - 3)
    await writer.begin(max(writer.epoch + 1, now_us()))
    await comes_back(case, writer)
    await writer.trade(ticks=MIDDLE + 3)
    await comes_back(case, writer)
    trades = case.readers[3]
    assert await trades.until(lambda: trades.trade == (writer.epoch, 1), 2.0), trades.trade


@fault("B")
async def values_before_their_ref(case: Case) -> None:
    """Values of a new epoch in another scale wait for its ``ref``, which comes late."""
    case.bounds = replace(case.bounds, behind_s=2.0)
    writer = await watched_raw(case)
    writer.renew(max(writer.epoch + 1, now_us()), (-4, -2))
    async with writer.pumping():
        await asyncio.sleep(2.2)
        await case.told("no_ref", within_s=0.5)
        await writer.stored("ref", writer.ref_of())
        await writer.snap()
        await case.current(within_s=3)


async def _refused_ref(case: Case, changes: dict[str, Any], *without: str) -> None:
    case.bounds = replace(case.bounds, behind_s=2.0)
    writer = await watched_raw(case)
    writer.renew(max(writer.epoch + 1, now_us()), (-4, -2))
    ref = {key: value for key, value in writer.ref_of(**changes).items() if key not in without}
    await writer.stored("ref", ref)
    await writer.stored("status", writer.status_of())
    await writer.stored("snap", writer.snap_of())
    async with writer.pumping():
        await asyncio.sleep(2.2)
        await case.told("no_ref", "refused", within_s=0.5)
        await writer.stored("ref", writer.ref_of())
        await case.current(within_s=3)


@fault("B")
async def ref_with_a_name_too_long(case: Case) -> None:
    await _refused_ref(case, {"name": "n" * 1025})


@fault("B")
async def ref_without_an_epoch(case: Case) -> None:
    await _refused_ref(case, {}, "epoch")


@fault("B")
async def contradictory_ref(case: Case) -> None:
    """Other exponents in the same epoch, until the right ones come again."""
    writer = await watched_raw(case)
    async with writer.pumping():
        with case.truth.doubted():
            await writer.stored("ref", writer.ref_of(price_exp=-4))
            await asyncio.sleep(1.4)
            await case.told("refused", within_s=0.5)
        await writer.stored("ref", writer.ref_of())
        await case.current()


@fault("B")
async def tick_and_name_change(case: Case) -> None:
    """They may, within an epoch, and clients are told."""
    writer = await watched_raw(case)
    async with writer.pumping():
        await writer.stored("ref", writer.ref_of(tick=5, name="renamed", sector="x"))
        for reader in case.readers:
            told = await reader.until(lambda reader=reader: reader.refs[-1].get("tick") == 5, 2.0)
            assert told and reader.refs[-1]["name"] == "renamed" and reader.refs[-1]["sector"] == "x", (
                reader.refs
            )
    case.steady(0.0)


# ---- C: empty or older, shown as live


@fault("C")
async def ref_alone(case: Case) -> None:
    writer = await case.raw()
    await writer.stored("ref", writer.ref_of())
    await case.watch(live=False)
    await asyncio.sleep(1.4)
    await case.told("no_book", within_s=0.5)
    await writer.begin()
    await comes_back(case, writer)


@fault("C")
async def opening_snap_only(case: Case) -> None:
    writer = await case.raw()
    await writer.begin()
    await case.watch(live=False)
    await repeat(writer.status, 1.4)
    await case.told("no_book", within_s=0.5)
    await comes_back(case, writer)


@fault("C")
async def snapshot_was_never_stored(case: Case) -> None:
    """The log has aged, and storage has the opening snapshot only: a gateway that opens now has no book to show."""
    writer = await case.raw()
    writer.snap_every = 0
    await writer.begin()
    await writer.pump(0.5)
    await writer.jetstream.purge_stream("MD_LOG", subject=f"md.{writer.venue}.{writer.symbol}.book")
    late = await case.read(0)

    async def heard() -> None:
        writer.hear()
        await writer.status()

    await repeat(heard, 1.3)
    await late.told(within_s=0.5)
    async with writer.pumping():
        await asyncio.sleep(0.5)
        await late.told(within_s=0.5)
        await writer.snap()
        await late.current()


@fault("C")
async def older_snap_comes_again(case: Case) -> None:
    """Also as the stored one, while clients come and resume."""
    writer = await watched_raw(case)
    old = writer.snap_of()
    async with writer.pumping():
        await asyncio.sleep(0.3)
        for _ in range(5):
            await writer.stored("snap", old)
            for reader in case.readers:
                reader.hang_up()
            await asyncio.sleep(0.2)
        await case.current()


@fault("C")
async def openings_under_load(case: Case) -> None:
    """Readers come and go while updates and snapshots are many: no opening takes the book back."""
    writer = await case.raw()
    writer.snap_every = 3
    await writer.begin()
    async with writer.pumping(pause_s=0.003):
        for _ in range(8):
            readers = [await case.read(gateway) for gateway in range(len(case.gateways))]
            for reader in readers:
                await reader.current()
            await asyncio.sleep(0.05)
            await case.leave()
            await asyncio.sleep(LINGER_S)


# ---- S: what is no fault, or is told as it is


@fault("S")
async def quiet_market_with_a_venue_that_is_heard(case: Case) -> None:
    """Nothing changes, ``heard`` moves: live."""
    writer = await watched_raw(case)

    async def heard() -> None:
        writer.hear()
        await writer.status()

    await repeat(heard, TOLD_S)
    case.steady(0.0)


@fault("S")
async def writer_whose_clock_is_an_hour_behind(case: Case) -> None:
    """Clocks of two machines are never compared."""
    writer = await case.raw(now_us() - HOUR_US)
    writer.clock_us = lambda: now_us() - HOUR_US
    await writer.begin()
    async with writer.pumping():
        await case.watch()
        await asyncio.sleep(TOLD_S)
    case.steady(0.0)
    await repeat(writer.status, TOLD_S)
    await case.told("venue_silent", within_s=0.5)


@fault("S")
async def status_of_five_values(case: Case) -> None:
    """The old form is still read: a sign of life by itself."""
    writer = await watched_raw(case)

    async def status() -> None:
        writer.hear()
        await writer.live("status", writer.status_of()[:5])

    await repeat(status, TOLD_S)
    case.steady(0.0)


@fault("S")
async def book_that_is_truly_empty(case: Case) -> None:
    """Update 1 is empty, and that is the book."""
    writer = await case.raw()
    await writer.begin()
    writer.seq = 1
    case.truth.publish(writer.epoch, 1, writer.market.levels)
    await writer.live("book", [1, writer.epoch, 1, 1, now_us(), [], []])
    await case.watch()
    await comes_back(case, writer)


@fault("S")
async def halted_instrument_in_a_new_epoch(case: Case) -> None:
    """``ref``, ``status``, ``snap``: it never flashes live."""
    writer = await watched_raw(case)
    with case.truth.doubted():
        await writer.begin(max(writer.epoch + 1, now_us()), state="halted")
        await writer.live("book", writer.next())
        await asyncio.sleep(0.5)
        for reader in case.readers[:2]:
            assert await reader.until(lambda reader=reader: reader.state == "halted", 2.0), reader.state
            flashes = [
                each
                for each in reader.moments
                if each.live and each.position and each.position[0] == writer.epoch
            ]
            assert not flashes, flashes
    await writer.status()
    await comes_back(case, writer)


@fault("S")
async def number_that_another_gateway_has_shown_already(case: Case) -> None:
    """A client resumes ahead in the same epoch: it is told so until its number is reached."""
    writer = await case.raw()
    await writer.begin()
    await writer.pump(0.2)
    late = [writer.next() for _ in range(3)]
    seen = case.truth.newest, Levels(*writer.market.levels.flat())
    readers = [await case.read(gateway, seen=seen) for gateway in range(len(case.gateways))]
    for reader in readers:
        await reader.told("gap", within_s=2.0)
    for value in late:
        await writer.live("book", value)
    await comes_back(case, writer)
    for reader in readers:
        assert reader.connections == 1 and reader.codes[-1] == "gap", (reader.closes, reader.codes)


@fault("S")
async def number_that_never_was(case: Case) -> None:
    """A client resumes at a number that nothing bears out: it waits for two seconds, is told so, and has the book again."""
    writer = await case.raw()
    await writer.begin()
    await writer.pump(0.2)
    seen = (writer.epoch, writer.seq + 1000), Levels()
    reader = await case.read(seen=seen)
    await reader.told("gap", within_s=2.0)
    assert await reader.until(lambda: reader.position == case.truth.newest, 5.0), reader.position
    await comes_back(case, writer)


@fault("S")
async def epoch_that_nothing_bears_out(case: Case) -> None:
    """The instrument lingers for a shorter time than the client waits, who is not sent away."""
    writer = await case.raw()
    await writer.begin()
    await writer.pump(0.2)
    reader = await case.read(seen=((writer.epoch + 5, 3), Levels()))
    assert await reader.until(lambda: reader.position == case.truth.newest, 8.0), reader.position
    await comes_back(case, writer)
    assert reader.connections == 1, reader.closes


@fault("S")
async def trades_are_missing(case: Case) -> None:
    """The log does not have them either: told as lost."""
    writer = await watched_raw(case)
    trades = case.readers[3]
    await writer.trade()
    assert await trades.until(lambda: trades.trade == (writer.epoch, 1))
    writer.trade_seq += 3
    async with writer.pumping():
        await writer.trade()
        assert await trades.until(lambda: trades.lost >= {2, 3, 4}, 4.0), trades.lost
        assert await trades.until(lambda: trades.trade == (writer.epoch, 5), 4.0), trades.trade
