"""Where nobody waits for each message the socket to NATS rests, and is read when somebody wants what is newest."""

from __future__ import annotations

import asyncio

from support.unread import unread


def test_what_lies_in_a_resting_socket_is_read_first(run, market, parser) -> None:
    async def scenario() -> None:
        async with market(coalesce_s=600) as m:
            writer = m.writer()
            await writer.announce()
            await writer.update()
            await writer.snap()
            await writer.stored()
            _, model = await m.open()
            await m.equal(writer, model)
            m.patience.us = 600_000_000
            seen: list[tuple[int, int]] = []
            done = asyncio.Event()

            def look() -> None:
                seen.append(model.book_position())
                done.set()

            m.readers.read_first(look)
            assert seen == [(writer.epoch, writer.seq)], "at once, if nothing rests"
            if parser == "plain":
                return
            while not m.reading.client.after_read.resting:
                await writer.update()
                await writer.bus.flush()
            known = model.book_position()
            payload = writer.change()
            await writer.raw("book", payload)
            while payload not in unread(m.reading):
                await asyncio.sleep(0.001)
            assert model.book_position() == known
            done.clear()
            m.readers.read_first(look)
            assert len(seen) == 1
            await done.wait()
            assert seen[1] == (writer.epoch, writer.seq)

    run(scenario())
