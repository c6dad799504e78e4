"""What leaves, byte by byte, and what becomes of it."""

from __future__ import annotations

import asyncio
from typing import Any

from mdstream.bus.stream_publisher import MOST_WAITING, Outcome, StreamPublisher


class FakeBus:
    """Keeps what is sent, and hands answers to whoever subscribed."""

    connected = True
    max_payload_bytes = 1_000

    def __init__(self) -> None:
        self.sent: list[tuple[bytes, int]] = []
        self.hear: Any = None

    def new_inbox(self) -> str:
        return "_INBOX.a"

    async def subscribe(self, subject: str, hear: Any) -> str:
        assert subject == "_INBOX.a.*"
        self.hear = hear
        return subject

    async def unsubscribe(self, subscription: str) -> None: ...

    def send(self, message: bytes, payload_size: int) -> None:
        self.sent.append((message, payload_size))


async def publisher(**more: Any) -> tuple[FakeBus, StreamPublisher, list[Outcome]]:
    bus = FakeBus()
    made = StreamPublisher(bus, "MD_EVENTS", **more)  # type: ignore[arg-type]
    await made.begin()
    return bus, made, []


def test_each_message_leaves_at_once_and_is_told_its_own_answer(run) -> None:
    async def scenario() -> None:
        bus, made, told = await publisher()
        made.publish("ev.a", b"xyz", "k1", told.append)
        made.publish("ev.b", b"", None, told.append)
        expect = b"NATS/1.0\r\nNats-Expected-Stream: MD_EVENTS\r\n"
        keyed = expect + b"Nats-Msg-Id: k1\r\n\r\n"
        plain = expect + b"\r\n"
        assert bus.sent == [
            (b"HPUB ev.a _INBOX.a.1 %d %d\r\n%sxyz\r\n" % (len(keyed), len(keyed) + 3, keyed), 3),
            (b"HPUB ev.b _INBOX.a.2 %d %d\r\n%s\r\n" % (len(plain), len(plain), plain), 0),
        ]
        bus.hear(b"_INBOX.a.2", b"", b'{"stream":"MD_EVENTS","seq":8}', None)
        bus.hear(b"_INBOX.a.1", b"", b'{"stream":"MD_EVENTS","seq":7,"duplicate":true}', None)
        bus.hear(b"_INBOX.a.1", b"", b'{"stream":"MD_EVENTS","seq":9}', None)  # it has its answer
        assert told == [Outcome(8, False, None), Outcome(7, True, None)]

    run(scenario())


def test_what_cannot_be_stored_is_told_later(run) -> None:
    async def scenario() -> None:
        missing: list[int] = []
        bus, made, told = await publisher(missing=lambda: missing.append(1))
        made.publish("ev.a", 990 * b"x", None, told.append)
        bus.connected = False
        made.publish("ev.a", b"x", None, told.append)
        assert (bus.sent, told) == ([], [])
        await asyncio.sleep(0)
        assert [each.failed for each in told] == [
            "NATS takes messages of at most 1000 bytes",
            "NATS is not connected",
        ]
        bus.connected = True
        for answer in (b'{"error":{"description":"full"}}', b"?", b""):
            made.publish("ev.a", b"x", None, told.append)
            number = len(bus.sent)
            bus.hear(b"_INBOX.a.%d" % number, b"", answer, None if answer else b"NATS/1.0 503\r\n\r\n")
        assert [each.failed for each in told[2:]] == [
            "MD_EVENTS: full",
            "MD_EVENTS: its answer cannot be read",
            "there is no stream MD_EVENTS",
        ]
        assert missing == [1]

    run(scenario())


def test_what_is_not_answered_in_time_is_given_up_and_few_may_wait(run) -> None:
    async def scenario() -> None:
        _bus, made, told = await publisher(deadline_s=0.0)
        for _ in range(MOST_WAITING + 1):
            made.publish("ev.a", b"x", None, told.append)
        await asyncio.sleep(0)
        assert [each.failed for each in told] == ["too many messages wait to be stored in MD_EVENTS"]
        made.tick()
        assert len(told) == MOST_WAITING + 1 and "did not answer within 0 s" in str(told[-1].failed)

    run(scenario())
