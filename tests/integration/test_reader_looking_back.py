"""A new reader begins before the newest snapshot, so that clients of a gateway that died can resume at what came since."""

from __future__ import annotations

from typing import Any

import msgpack
import pytest

from mdstream.bus.looking_back import LookBackOptions


def kept(model: Any) -> set[int]:
    """The numbers that a client may resume at."""
    if hasattr(model, "past"):
        return {seq for epoch, seq in model.past if epoch == model.epoch and seq}
    return {seq for seq in range(1, 100) if model._core.book.keeps(seq)}


async def aged(m: Any) -> Any:
    """A writer that has stored three snapshots, ten updates apart, at 10, 20 and 30."""
    writer = m.writer()
    await writer.announce()
    for _ in range(3):
        await writer.update(10)
        await writer.snap()
    await writer.update(5)
    await writer.stored()
    return writer


def test_a_book_begins_at_the_oldest_snapshot_that_is_kept(run, market) -> None:
    async def scenario() -> None:
        async with market() as m:
            writer = await aged(m)
            _, model = await m.open()
            await m.equal(writer, model)
            assert model.loads == 1
            assert kept(model) == set(range(10, 36))

    run(scenario())


def test_a_live_snapshot_meanwhile_does_not_take_its_place(run, market) -> None:
    async def scenario() -> None:
        async with market() as m:
            writer = await aged(m)
            read = m.reading.log
            snaps = 0

            async def slowly(subject: str, **how: Any) -> Any:
                nonlocal snaps
                async for payload in read(subject, **how):
                    if subject.endswith(".book") and not snaps:
                        snaps += 1
                        await writer.update(5)
                        await writer.snap()
                        await m.in_step()
                    yield payload

            m.reading.log = slowly
            _, model = await m.open()
            await m.equal(writer, model)
            assert snaps == 1 and model.loads == 1
            assert kept(model) == set(range(10, 41))

    run(scenario())


def test_where_the_log_does_not_lead_on_the_newest_snapshot_counts(run, market) -> None:
    async def scenario() -> None:
        async with market() as m:
            writer = m.writer()
            await writer.announce()
            await writer.update(10)
            await writer.snap()
            await writer.update(10)
            await writer.stored()
            await m.writing.jetstream.purge_stream("MD_LOG")
            await writer.snap()
            await writer.update(5)
            await writer.stored()
            _, model = await m.open()
            await m.equal(writer, model)
            assert model.loads == 2 and model.book_position() == (1, 25)

    run(scenario())


def test_a_log_that_is_too_long_is_not_read(run, market) -> None:
    async def scenario() -> None:
        async with market(recent=1, look_back=LookBackOptions(messages=20)) as m:
            writer = await aged(m)
            _, model = await m.open()
            await m.equal(writer, model)
            assert kept(model) - {10} == set(
                range(30, 36)
            )  # the model remembers what it was loaded with first

    run(scenario())


def test_a_snapshot_of_an_epoch_before_is_passed_over(run, market) -> None:
    async def scenario() -> None:
        async with market() as m:
            await aged(m)
            later = m.writer(epoch=2)
            await later.announce()
            for _ in range(2):
                await later.update(10)
                await later.snap()
            await later.stored()
            _, model = await m.open()
            await m.equal(later, model)
            assert kept(model) == set(range(10, 21))

    run(scenario())


@pytest.mark.parametrize("strangers", [(500,), (500, 900), (500, 500)], ids=str)
@pytest.mark.parametrize("says_numbers", [True, False])
def test_an_old_snapshot_that_the_log_does_not_reach_is_passed_over(
    run, market, strangers: tuple[int, ...], says_numbers: bool
) -> None:
    """A stranger's: all that the writer has published since would count as known, and its book be shown."""

    async def scenario() -> None:
        async with market() as m:
            writer = m.writer()
            await writer.announce()
            await writer.update(10)
            await writer.stored()
            for number in strangers:
                await writer.raw("snap", msgpack.packb([2, writer.epoch, number, 0, [1, 7], [2, 7]]))
            for _ in range(2):
                await writer.update(10)
                await writer.snap()
            if says_numbers:
                await writer.status("trading", "", writer.seq, 0, 10**15)
            await writer.update(5)
            await writer.stored()
            _, model = await m.open()
            await m.equal(writer, model)
            assert model.book_position() == (1, 35)

    run(scenario())
