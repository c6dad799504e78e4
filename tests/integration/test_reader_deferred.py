"""Where nobody waits for each message the socket to NATS is paused, and read before a tick."""

from __future__ import annotations

import asyncio

from support.unread import unread


def test_what_lies_in_a_paused_socket_is_read_before_a_tick(run, market, parser) -> None:
    async def scenario() -> None:
        async with market(coalesce_s=600) as m:
            writer = m.writer()
            await writer.announce()
            await writer.update()
            await writer.snap()
            await writer.stored()
            _, model = await m.open()
            await m.equal(writer, model)
            m.hub.allow_defer(600_000_000)
            if parser == "plain":
                await writer.update()
                await m.equal(writer, model)
                assert m.scheduler.state != "deferred", "nats-py's own stream reads the socket"
                return
            while True:
                while m.scheduler.state != "deferred":
                    await writer.update()
                    await writer.bus.flush()
                known = model.book_position()
                ticks: list[tuple[int, int]] = []
                ticked = asyncio.Event()

                def look(ticks: list[tuple[int, int]] = ticks, ticked: asyncio.Event = ticked) -> None:
                    ticks.append(model.book_position())
                    ticked.set()

                m.on_tick = look
                payload = writer.change()
                await writer.raw("book", payload)
                while not ticks and payload not in unread(m.reading):
                    await asyncio.sleep(0.001)
                if not ticks:
                    break  # else a tick came before: once more
            assert model.book_position() == known
            await ticked.wait()
            assert ticks[0] == (writer.epoch, writer.seq)

    run(scenario())
