"""Replays what a stream holds of a subject, ``MD_LOG`` as a rule: each message once and in order."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

import nats.errors
from nats.js import JetStreamContext, api

from mdstream.bus._client import TapClient
from mdstream.bus.streams import MD_LOG, explain
from mdstream.errors import BusUnavailable

HEARTBEAT_S = 0.5
CONTROL = b"NATS/1.0 100"
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Since:
    """Where a replay starts: at a number of the stream, else at a time of the server (µs), else at the log's start."""

    us: int | None = None
    stream_seq: int | None = None


class PastMessage(NamedTuple):
    """A stored message; ``stored_us`` is never before the time at which the server stored it."""

    stored_us: int
    subject: bytes
    payload: bytes


class _Inbox:
    """Messages that the server has sent and the replay has not yielded yet; flow control bounds them."""

    def __init__(self) -> None:
        self.messages: deque[tuple[bytes, bytes, bytes, bytes | None]] = deque()
        self._arrived = asyncio.Event()

    def receive(self, subject: bytes, reply: bytes, payload: bytes, headers: bytes | None) -> None:
        self.messages.append((subject, reply, payload, headers))
        self._arrived.set()

    async def wait(self, deadline_s: float) -> None:
        self._arrived.clear()
        async with asyncio.timeout(deadline_s):
            await self._arrived.wait()


async def replay(
    client: TapClient,
    js: JetStreamContext,
    subject: str,
    since: Since,
    silence_s: float,
    *,
    stream: str = MD_LOG,
    is_due: Callable[[int], bool] = lambda stored_us: True,
    may_read: Callable[[int], bool] = lambda count: True,
) -> AsyncGenerator[bytes, None]:
    """Yields the payloads stored on ``subject`` since then, oldest first.

    Ends with the last message that was stored when it started, or before the first that is not due by its time; it yields nothing where
    ``may_read`` says no to the count of messages. It uses an
    ephemeral push consumer with flow control: the server sends at most one window ahead of the reader. Raises BusUnavailable if
    the server is silent for ``silence_s`` or a message is missing, BusError if the log cannot be read.
    """
    async with aclosing(
        _read(client, js, stream, _consumer(client.new_inbox(), subject, since), silence_s, may_read)
    ) as stored:
        async for each in stored:
            if not is_due(each.stored_us):
                return
            yield each.payload


async def newest(
    client: TapClient,
    js: JetStreamContext,
    stream: str,
    subject: str,
    silence_s: float,
    may_read: Callable[[int], bool] = lambda count: True,
) -> AsyncGenerator[PastMessage, None]:
    """Yields the newest message of each subject that matches and that a stream keeps; else as ``replay``."""
    config = _consumer(client.new_inbox(), subject, Since())
    config.deliver_policy = api.DeliverPolicy.LAST_PER_SUBJECT
    async with aclosing(_read(client, js, stream, config, silence_s, may_read)) as stored:
        async for each in stored:
            yield each


async def _read(
    client: TapClient,
    js: JetStreamContext,
    stream: str,
    config: api.ConsumerConfig,
    silence_s: float,
    may_read: Callable[[int], bool],
) -> AsyncGenerator[PastMessage, None]:
    inbox = _Inbox()
    what = f"{stream} for {config.filter_subject}"
    try:
        subscription = await client.tap(str(config.deliver_subject), inbox.receive)
        try:
            info = await js.add_consumer(stream, config)
            try:
                count = _stored_then(info)
                if may_read(count):
                    async for each in _ordered(client, inbox, count, what, silence_s):
                        yield each
            finally:
                if client.is_connected:  # else the server soon deletes the consumer by itself
                    await client.publish(f"{js._prefix}.CONSUMER.DELETE.{stream}.{info.name}")
        finally:
            await client.untap(subscription)
    except (nats.errors.Error, TimeoutError) as error:
        explain(error, f"{stream} cannot be read for {config.filter_subject}")


async def _ordered(
    client: TapClient, inbox: _Inbox, expected: int, what: str, silence_s: float
) -> AsyncIterator[PastMessage]:
    received = 0
    while received < expected:
        if not inbox.messages:
            try:
                await inbox.wait(silence_s)
            except TimeoutError:
                raise BusUnavailable(f"{what}: the server fell silent in the replay") from None
            continue
        subject, reply, payload, headers = inbox.messages.popleft()
        if headers is not None and headers.startswith(CONTROL):
            if await _answer_control(client, reply, headers) == received:
                return  # idle, and nothing is on the way: the other messages have left the log
            continue
        number, stored_us, pending = _position(reply)
        received += 1
        if number != received:
            raise BusUnavailable(f"{what}: message {received} of the replay was lost on the way")
        yield PastMessage(stored_us, subject, payload)
        if pending == 0:
            return


def _stored_then(info: api.ConsumerInfo) -> int:
    """How many messages matched when the consumer was made; some of them may have been sent already."""
    return (info.delivered.consumer_seq if info.delivered else 0) + (info.num_pending or 0)


async def _answer_control(client: TapClient, reply: bytes, headers: bytes) -> int | None:
    """Answers flow control; for an idle heartbeat, returns the number of the last message that was sent."""
    if reply:
        await client.publish(reply.decode())
        return None
    fields = {
        name.lower(): value for name, _, value in (line.partition(b": ") for line in headers.split(b"\r\n"))
    }
    stalled = fields.get(b"nats-consumer-stalled")
    if stalled:
        await client.publish(stalled.decode())
        return None
    return int(fields.get(b"nats-last-consumer", b"0"))


def _position(reply: bytes) -> tuple[int, int, int]:
    """Number in the consumer, when it was stored in µs, and how many follow.

    The reply reads ``$JS.ACK.[domain.account.]stream.consumer.n.sseq.cseq.time.pending``.
    """
    tokens = reply.split(b".")
    at = 6 if len(tokens) == 9 else 8
    return int(tokens[at]), -(-int(tokens[at + 1]) // 1000), int(tokens[at + 2])


def _consumer(inbox: str, subject: str, since: Since) -> api.ConsumerConfig:
    policy, time, number = api.DeliverPolicy.ALL, None, None
    if since.stream_seq is not None:
        policy, number = api.DeliverPolicy.BY_START_SEQUENCE, max(since.stream_seq, 1)
    elif since.us is not None:
        policy, time = api.DeliverPolicy.BY_START_TIME, EPOCH + timedelta(microseconds=max(since.us, 0))
    return api.ConsumerConfig(
        deliver_subject=inbox,
        filter_subject=subject,
        deliver_policy=policy,
        opt_start_time=time,
        opt_start_seq=number,
        ack_policy=api.AckPolicy.NONE,
        max_deliver=1,
        flow_control=True,
        idle_heartbeat=HEARTBEAT_S,
        inactive_threshold=5.0,
        mem_storage=True,
        num_replicas=1,
    )
