"""What was published comes in order, and when it is due: streams without a server, and a clock that is moved by hand."""

from __future__ import annotations

import asyncio
from collections import deque

from mdstream.bus.past_clock import MARGIN_US, PastClock
from mdstream.bus.past_stream import PastMessage
from mdstream.bus.past_subscription import PastSubscription


class Stream:
    """As a ``PastStream``; the test fills it."""

    def __init__(self) -> None:
        self.messages: deque[PastMessage] = deque()
        self.is_blind = False
        self.closed = False
        self.since_us = 0

    async def start(self, since_us: int) -> None:
        self.since_us = since_us

    async def close(self) -> None:
        self.closed = True

    def pop(self) -> PastMessage:
        return self.messages.popleft()

    def put(self, *stored_us: int, digits: int = 1) -> None:
        self.messages += [PastMessage(us, b"md.X.Y.book", b"%0*d" % (digits, us)) for us in stored_us]


class Past:
    """A subscription to two streams, ``delay_s`` of 10; ``now`` is what the clock shows, on the server and here."""

    def __init__(self) -> None:
        self.now_s = 1000.0
        self.came: list[int] = []
        self.ended: list[PastSubscription] = []
        self.clock = PastClock(10, lambda: self.now_s)
        self.clock.note(self.us())
        self.subscription = PastSubscription(self.clock, self._take, self.ended.append)
        self.one, self.other = Stream(), Stream()

    async def start(self) -> None:
        await self.subscription.start([self.one, self.other], self.clock.now_us())  # type: ignore[list-item]

    def us(self, ago_s: float = 0) -> int:
        return int((self.now_s - ago_s) * 1e6)

    def _take(self, subject: bytes, reply: bytes, payload: bytes, headers: bytes | None) -> None:
        assert (subject, reply, headers) == (b"md.X.Y.book", b"", None)
        self.came.append(int(payload))
        if payload == b"13":
            raise ValueError("a fault of the handler")

    async def settle(self) -> list[int]:
        self.subscription.changed()
        while self.subscription._timer is not None and self.clock.wait_s(self.subscription._due_us) <= 0:
            await asyncio.sleep(0.001)
        came, self.came = self.came, []
        return came


def test_messages_of_all_streams_come_in_the_order_in_which_they_were_stored(run) -> None:
    async def scenario() -> None:
        past = Past()
        await past.start()
        due = [past.us(30), past.us(20), past.us(15), past.us(11)]
        past.one.put(due[0], due[3])
        past.other.put(due[1], due[2])
        assert await past.settle() == due
        await past.subscription.close()

    run(scenario())


def test_nothing_comes_before_it_is_as_old_as_the_delay(run) -> None:
    async def scenario() -> None:
        past = Past()
        await past.start()
        young = past.us(9.5)
        past.one.put(young)
        assert await past.settle() == []
        past.now_s += 0.5
        assert await past.settle() == []
        past.now_s += MARGIN_US / 1e6 + 0.001
        assert await past.settle() == [young]
        await past.subscription.close()

    run(scenario())


def test_a_stream_that_may_have_an_older_message_is_waited_for(run) -> None:
    async def scenario() -> None:
        past = Past()
        await past.start()
        past.one.put(past.us(20))
        past.other.is_blind = True
        assert await past.settle() == []
        past.other.is_blind = False
        past.other.put(past.us(25))
        assert await past.settle() == [past.us(25), past.us(20)]
        await past.subscription.close()

    run(scenario())


def test_a_fault_of_the_handler_ends_nothing(run, caplog) -> None:
    async def scenario() -> None:
        past = Past()
        await past.start()
        past.one.put(13, past.us(20))
        assert await past.settle() == [13, past.us(20)]
        await past.subscription.close()

    run(scenario())
    assert [record.getMessage() for record in caplog.records] == [
        "md.X.Y.book: a stored message could not be handled"
    ]


def test_others_have_their_turn_in_a_long_row(run) -> None:
    async def scenario() -> None:
        past = Past()
        await past.start()
        past.one.put(*range(1000, 2000))
        past.subscription._deliver()
        assert len(past.came) == 256
        assert len(await past.settle()) == 1000
        past.one.put(*range(2000, 2040), digits=4_000)
        past.subscription._deliver()
        assert len(past.came) == 17, "large ones take long: 64 KiB are enough"
        assert len(await past.settle()) == 40
        await past.subscription.close()

    run(scenario())


def test_after_the_end_nothing_comes(run) -> None:
    async def scenario() -> None:
        past = Past()
        await past.start()
        past.one.put(past.us(20))
        past.subscription.changed()
        await past.subscription.close()
        past.subscription.changed()
        assert past.subscription._timer is None
        past.subscription._deliver()
        assert past.came == []
        assert past.one.closed and past.other.closed
        assert past.ended == [past.subscription]

    run(scenario())
