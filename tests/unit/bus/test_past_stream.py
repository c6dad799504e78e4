"""Reading ahead from a stream, with a server that is played by the test."""

from __future__ import annotations

import asyncio
import json
from types import SimpleNamespace
from typing import Any

import nats.errors
import pytest

from mdstream.bus.past_stream import AHEAD, ASK_S, LATE_S, PastStream, stored_at
from mdstream.errors import BusUnavailable


class Server:
    """The client, JetStream and the server behind them."""

    def __init__(self, pending: int = 0) -> None:
        self.is_connected = True
        self._prefix = "$JS.API"
        self.pending = pending
        self.consumers: list[Any] = []
        self.questions: list[dict[str, Any]] = []
        self.published: list[str] = []
        self.error: Exception | None = None
        self.changes = 0
        self.now_s = 100.0
        self.stream = PastStream(
            self, self, "MD_LOG", "md.X.Y.*", self._changed, lambda: self.now_s  # type: ignore[arg-type]
        )  # fmt: skip

    def _changed(self) -> None:
        self.changes += 1

    # ---- as a client and as JetStream

    def new_inbox(self) -> str:
        return "_INBOX.1"

    async def tap(self, subject: str, handler: Any) -> Any:
        self.handler = handler
        return SimpleNamespace(subject=subject)

    async def untap(self, subscription: Any) -> None:
        self.handler = None

    async def add_consumer(self, stream: str, config: Any) -> Any:
        if self.error is not None:
            raise self.error
        self.consumers.append(config)
        return SimpleNamespace(name=f"c{len(self.consumers)}", num_pending=self.pending)

    async def publish(self, subject: str, payload: bytes = b"", reply: str = "") -> None:
        self.published.append(subject)
        if payload:
            assert reply == "_INBOX.1"
            self.questions.append(json.loads(payload))

    # ---- what it sends

    def send(self, number: int, stored_ns: int, pending: int, *, seq: int = 0, consumer: str = "") -> None:
        name = consumer or f"c{len(self.consumers)}"
        reply = f"$JS.ACK.MD_LOG.{name}.1.{seq or number}.{number}.{stored_ns}.{pending}"
        self.handler(b"md.X.Y.book", reply.encode(), b"payload %d" % number, None)

    def status(self, line: str) -> None:
        self.handler(b"_INBOX.1", b"", b"", f"NATS/1.0 {line}\r\n\r\n".encode())


async def turns(count: int = 3) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


def started(scenario):
    """Runs ``scenario(server)`` with a stream that has started."""

    async def whole() -> None:
        server = Server(pending=1000)
        await server.stream.start(1_700_000_000_000_000)
        await turns()
        await scenario(server)
        await server.stream.close()

    return whole()


def test_it_asks_for_a_bounded_number_and_for_more_when_half_of_them_are_taken(run) -> None:
    async def scenario(server: Server) -> None:
        assert server.questions[0]["batch"] == AHEAD
        assert server.questions[0]["max_bytes"] > 0
        for number in range(1, AHEAD + 1):
            server.send(number, 5_000 * number, 1000 - number)
        await turns()
        assert len(server.stream.messages) == AHEAD
        assert len(server.questions) == 1, "it is full"
        for _ in range(AHEAD // 2):
            server.stream.pop()
        await turns()
        assert server.questions[1]["batch"] == AHEAD // 2

    run(started(scenario))


def test_it_is_blind_while_the_server_has_more_than_it_has_sent(run) -> None:
    async def scenario(server: Server) -> None:
        assert server.stream.is_blind
        server.send(1, 5_000, 1)
        assert not server.stream.is_blind
        server.stream.pop()
        assert server.stream.is_blind
        server.send(2, 6_000, 0)
        server.stream.pop()
        assert not server.stream.is_blind, "whatever comes now was stored later"

    run(started(scenario))


def test_a_message_is_never_said_to_be_older_than_it_is(run) -> None:
    async def scenario(server: Server) -> None:
        server.send(1, 1_795_972_729_775_254_261, 0)
        assert server.stream.pop().stored_us == 1_795_972_729_775_255

    run(started(scenario))
    assert stored_at("2026-11-29T17:18:48.850776626Z") >= 1_795_972_728_850_777
    assert stored_at("2026-11-29T17:18:48Z") >= 1_795_972_728_000_000


@pytest.mark.parametrize(
    "line", ["404 No Messages", "408 Request Timeout", "409 Message Size Exceeds MaxBytes"]
)
def test_a_question_that_ends_is_asked_again(run, line) -> None:
    async def scenario(server: Server) -> None:
        server.status(line)
        await turns()
        assert len(server.questions) == 2
        assert len(server.consumers) == 1

    run(started(scenario))


@pytest.mark.parametrize("line", ["503", "409 Consumer Deleted", "409 Leadership Change"])
def test_a_consumer_that_is_gone_is_made_again_behind_what_was_read(run, line) -> None:
    async def scenario(server: Server) -> None:
        server.send(1, 5_000, 10, seq=41)
        server.status(line)
        await turns(6)
        assert len(server.consumers) == 2
        assert server.consumers[0].opt_start_time.timestamp() == 1_700_000_000
        assert server.consumers[1].opt_start_seq == 42
        assert server.consumers[1].opt_start_time is None
        server.send(2, 6_000, 9, consumer="c1")
        assert len(server.stream.messages) == 1, "the old one is not listened to"
        server.send(1, 6_000, 9, seq=42)
        assert len(server.stream.messages) == 2

    run(started(scenario))


def test_a_message_that_was_lost_on_the_way_is_read_again(run) -> None:
    async def scenario(server: Server) -> None:
        server.send(1, 5_000, 10, seq=41)
        server.send(3, 7_000, 8, seq=43)
        await turns(6)
        assert [message.payload for message in server.stream.messages] == [b"payload 1"]
        assert server.consumers[1].opt_start_seq == 42

    run(started(scenario))


def test_a_server_that_does_not_answer_is_noticed(run) -> None:
    async def scenario(server: Server) -> None:
        server.now_s += ASK_S + LATE_S
        server.stream.check()
        await turns(6)
        assert len(server.consumers) == 1
        server.now_s += 0.1
        server.stream.check()
        await turns(6)
        assert len(server.consumers) == 2

    run(started(scenario))


def test_a_stream_that_cannot_be_read_says_so(run) -> None:
    async def scenario() -> None:
        server = Server()
        server.error = nats.errors.TimeoutError()
        with pytest.raises(BusUnavailable, match=r"MD_LOG cannot be read for md\.X\.Y\.\*"):
            await server.stream.start(1)
        await server.stream.close()

    run(scenario())


def test_at_its_end_the_consumer_is_deleted(run) -> None:
    async def scenario(server: Server) -> None:
        await server.stream.close()
        assert server.published[-1] == "$JS.API.CONSUMER.DELETE.MD_LOG.c1"
        assert server.handler is None
        server.stream.lost()
        await turns()
        assert len(server.consumers) == 1

    run(started(scenario))
