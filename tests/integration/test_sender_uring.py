"""io_uring, and going on without it."""

from __future__ import annotations

import logging
import threading

from mdstream._core.fanout.hub import Hub
from mdstream._core.net.sender_uring import UringSender
from support.uring import uring
from support.websocket import TEXT, serving

NOW = 1_000_000_000


def test_many_clients_are_written_to_by_few_calls(run):
    sender = uring()
    hub = Hub(sender=sender)
    hub.tick(NOW)

    async def scenario():
        async with serving(hub) as server:
            connected = [await server.connect() for _ in range(70)]
            calls, jobs = sender.calls, sender.jobs
            hub.cork()
            for i, (_, session) in enumerate(connected):
                session.send_control(b"%d" % i)
            hub.uncork()
            for i, (client, _) in enumerate(connected):
                assert await client.frame() == (TEXT, b"%d" % i)
            assert (sender.calls - calls, sender.jobs - jobs) == (3, 70)
            assert sender.alive

    run(scenario())


def test_a_ring_that_fails_is_done_without(run, caplog):
    """A ring serves the thread that made it; any other is refused by the kernel."""
    uring()
    made: list[UringSender] = []
    thread = threading.Thread(target=lambda: made.append(UringSender()))
    thread.start()
    thread.join()
    hub = Hub(sender=made[0])
    hub.tick(NOW)

    async def scenario():
        async with serving(hub) as server:
            client, session = await server.connect()
            for word in (b"one", b"two"):
                session.send_control(word)
                assert await client.frame() == (TEXT, word)

    with caplog.at_level(logging.WARNING, "mdstream.sender"):
        run(scenario())
    assert not made[0].alive
    (record,) = caplog.records
    assert record.getMessage().startswith("io_uring failed (")
