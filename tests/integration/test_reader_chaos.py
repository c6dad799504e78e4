"""Everything at once, at random but seeded: losses, crashes, starvation, purged logs, new writers; the end is the truth."""

from __future__ import annotations

import contextlib
import random

import pytest

from mdstream.model import State

ROUNDS = 12
STREAMS = ("book", "trade", "snap")


async def trouble(m, dice: random.Random, writer) -> None:
    """One misfortune; what is published in it may be lost."""
    kind = dice.choice(("crash", "pause", "cut", "purge"))
    if kind == "crash":
        m.server.kill()
        with contextlib.suppress(Exception):
            await writer.update(dice.randint(0, 5))
        await m.server.restart()
    elif kind == "pause":
        m.server.pause()
        await writer.update(dice.randint(0, 5))
        m.server.resume_process()
    elif kind == "cut":
        m.reading.client._transport.close()
        await writer.update(dice.randint(0, 5))
    else:
        await m.writing.jetstream.purge_stream("MD_LOG")
    await m.back()


@pytest.mark.parametrize("seed", range(3))
def test_whatever_happens_the_reader_ends_with_the_writers_book(run, market, seed: int) -> None:
    async def scenario() -> None:
        dice = random.Random(seed)
        async with market() as m:
            writer = m.writer(epoch=1)
            await writer.announce()
            await writer.snap()
            reader, model = await m.open()
            truth = {(0, 0): ({}, {})}
            for _ in range(ROUNDS):
                with m.withheld(reader, *dice.sample(STREAMS, dice.randint(0, 2))):
                    await writer.update(dice.randint(0, 20))
                    await writer.trade(dice.randint(0, 3))
                if dice.random() < 0.5:
                    await trouble(m, dice, writer)
                if dice.random() < 0.2:
                    fenced, writer = writer, m.writer(epoch=writer.epoch + 1)
                    truth |= writer.history
                    await fenced.update()
                    truth |= fenced.history
                await writer.update(dice.randint(0, 20))
                await m.back()
                await writer.announce()
                if dice.random() < 0.7:
                    await writer.snap()
                truth |= writer.history
                assert (model.bids, model.asks) == truth[model.book_position()], "a book that never was"
            await writer.update()
            await writer.trade()
            await writer.snap()
            await m.equal(writer, model)
            await m.until(lambda: model.trade_position() == (writer.epoch, writer.trade_seq))
            await m.until(lambda: reader.book_state is reader.trade_state is State.LIVE)
            assert model.trades == sorted(set(model.trades)), "trades in order, none twice"

    run(scenario(), 60)
