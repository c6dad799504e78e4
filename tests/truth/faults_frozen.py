"""A: frozen, or another writer's, shown as live."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any

from mdstream.errors import FeedError
from truth.model import Truth
from truth.rig import Case
from truth.scenario import HOUR_US, TOLD_S, comes_back, fault, repeat, watched_raw
from truth.writers import RawWriter, now_us


@fault("A")
async def venue_answers_pings_only(case: Case) -> None:
    """The writer repeats its status, but ``heard`` stands still."""
    writer = await watched_raw(case)
    await repeat(writer.status, TOLD_S)
    await case.told("venue_silent", within_s=0.5)
    case.aged()
    await comes_back(case, writer)


@fault("A")
async def sdk_repeats_status_by_its_timer(case: Case) -> None:
    """The same with the SDK: its own timer must not move ``heard``; ``heard()`` does."""
    writer = await case.sdk()
    await writer.open()
    async with writer.pumping():
        await case.watch()
    await asyncio.sleep(TOLD_S)
    await case.told("venue_silent", within_s=0.5)
    for _ in range(10):
        writer.instrument.heard()
        case.truth.word()
        await asyncio.sleep(0.1)
    await case.current(within_s=1.0)


@fault("A")
async def total_silence(case: Case) -> None:
    writer = await watched_raw(case)
    await asyncio.sleep(TOLD_S)
    await case.told("silent", within_s=0.5)
    case.aged()
    await comes_back(case, writer)


@fault("A")
async def dead_writer_is_opened_late(case: Case) -> None:
    """Its last word was too long ago when the first reader comes, by the server's clock."""
    writer = await case.raw()
    await writer.begin()
    await writer.pump(0.3)
    await writer.status()
    await asyncio.sleep(TOLD_S)
    await case.watch(live=False)
    await asyncio.sleep(0.8)
    await case.told("silent", within_s=0.5)
    case.aged()
    await comes_back(case, writer)


@fault("A")
async def smaller_epoch_writer(case: Case) -> None:
    """A writer with a smaller epoch goes on where the greater one is silent."""
    writer = await watched_raw(case)
    fenced = await case.impostor(writer.epoch - 10 * HOUR_US)
    await fenced.begin()
    await fenced.pump(TOLD_S)
    async with fenced.pumping():
        await case.told("fenced", within_s=1.0)
    await comes_back(case, writer)


@fault("A")
async def smaller_epoch_next_to_the_greater(case: Case) -> None:
    """Both write: the greater one's book goes on, undisturbed."""
    writer = await watched_raw(case)
    fenced = await case.impostor(writer.epoch - 1)
    await fenced.begin()
    async with writer.pumping():
        await fenced.pump(1.0)
        await case.current()
    case.steady(0.0)


@fault("A")
async def two_writers_in_one_epoch(case: Case) -> None:
    writer = await watched_raw(case)
    case.truth.contested.add(writer.epoch)
    twin = await case.impostor(writer.epoch)
    twin.seq = writer.seq
    case.truth.doubt(trades=False)
    async with writer.pumping(), twin.pumping():
        await asyncio.sleep(1.5)
        await case.told("conflict", within_s=0.5)
    await writer.begin(max(writer.epoch + 1, now_us()))
    case.truth.settle()
    await comes_back(case, writer)


@fault("A")
async def snap_of_another_writer_in_one_epoch(case: Case) -> None:
    """A snapshot at the reader's number that differs from its book."""
    writer = await watched_raw(case)
    case.truth.contested.add(writer.epoch)
    twin = await case.impostor(writer.epoch)
    twin.market.change()
    twin.seq = writer.seq
    case.truth.doubt(trades=False)
    await repeat(lambda: twin.live("snap", twin.snap_of()), 1.5)
    await case.told("conflict", within_s=0.5)
    await writer.begin(max(writer.epoch + 1, now_us()))
    case.truth.settle()
    await comes_back(case, writer)


@fault("A")
async def two_sdk_writers_at_once(case: Case) -> None:
    """By the same clock, and yet their epochs differ; the greater one is right, the other one is told."""
    started_us = now_us()
    writers = [await case.sdk(clock_us=lambda: started_us) for _ in range(2)]
    for writer in writers:
        writer.truth = Truth(case.name)
    await asyncio.gather(*(writer.open() for writer in writers))
    lesser, greater = sorted(writers, key=lambda writer: writer.instrument.epoch)
    assert lesser.instrument.epoch < greater.instrument.epoch, "two writers took one epoch"
    case.truth = greater.truth
    async with greater.pumping():
        with suppress(FeedError):
            await lesser.pump(0.2)
        await case.watch()


@fault("A")
async def sdk_writer_whose_storage_is_gone(case: Case) -> None:
    """A running writer's clock is half an hour ahead, and storage does not know it: the next writer hears it first."""
    former = await case.raw()
    await former.begin(now_us() + HOUR_US // 2)
    async with former.pumping():
        await case.watch()
        token = f"md.{former.venue}.{former.symbol}"
        for stream in ("snap", "ref", "status"):
            await former.jetstream.purge_stream("MD_STATE", subject=f"{token}.{stream}")
        writer = await case.sdk()
        await writer.open()
    assert writer.instrument.epoch > former.epoch, "readers drop what it writes"
    await comes_back(case, writer)


@fault("A")
async def epoch_far_ahead(case: Case) -> None:
    """A stranger writes two hours ahead; the writer's book goes on."""
    writer = await watched_raw(case)
    stranger = await case.impostor(now_us() + 2 * HOUR_US)
    async with writer.pumping():
        await stranger.begin()
        await stranger.pump(1.2)
        await case.current()
    case.steady(0.5)


async def _goes_on(case: Case, writer: RawWriter, stream: str, value: Any, bound_s: float) -> None:
    """One value of a stranger does not stop the writer for longer than the bound."""
    async with writer.pumping():
        await writer.live(stream, value)
        await asyncio.sleep(bound_s)
        await case.current()
    case.steady(bound_s)


@fault("A")
async def number_far_ahead(case: Case) -> None:
    writer = await watched_raw(case)
    await _goes_on(case, writer, "book", writer.book_of(writer.epoch, writer.seq + 10**6), 2.2)


@fault("A")
async def snap_far_ahead(case: Case) -> None:
    writer = await watched_raw(case)
    value = [2, writer.epoch, writer.seq + 10**6, now_us(), [5_000, 7], [5_001, 7]]
    await _goes_on(case, writer, "snap", value, 2.2)


@fault("A")
async def status_far_ahead(case: Case) -> None:
    """It claims updates that never were; the next true status ends that."""
    writer = await watched_raw(case)
    await _goes_on(case, writer, "status", writer.status_of(book=writer.seq + 10**6), 2.2)


@fault("A")
async def tail_is_lost(case: Case) -> None:
    """The last update never came, and nothing follows: ``status`` names it."""
    writer = await watched_raw(case)
    writer.next()
    with case.truth.doubted(trades=False):
        await repeat(writer.status, 1.6)
        await case.told(within_s=0.5)
    await writer.snap()
    await comes_back(case, writer)
