"""What a stream stored of a subject from some time on, read a few messages ahead: a pull consumer without acknowledgements."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections import deque
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import nats.errors
from nats.aio.subscription import Subscription
from nats.js import JetStreamContext, api

from mdstream.bus._client import TapClient
from mdstream.bus.log import EPOCH, PastMessage
from mdstream.bus.streams import explain
from mdstream.errors import BusError

logger = logging.getLogger(__name__)

AHEAD = 64
"""Messages read ahead at most; when half of them are taken, more are asked for."""
AHEAD_BYTES = 4 * 1024 * 1024
ASK_S = 30.0
"""How long a question waits at the server for messages; then it is asked again."""
LATE_S = 5.0
RETRY_S = 1.0
KEPT_S = 300.0
"""How long the server keeps a consumer that asks for nothing, because it has read far enough ahead."""


class PastStream:
    """The messages of one stream and subject, oldest first, from a time of the server on, without an end."""

    def __init__(
        self,
        client: TapClient,
        js: JetStreamContext,
        stream: str,
        subject: str,
        changed: Callable[[], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """``changed`` is called whenever ``messages`` or ``is_blind`` may have changed."""
        self.messages: deque[PastMessage] = deque()
        self._client = client
        self._js = js
        self._stream = stream
        self._subject = subject
        self._changed = changed
        self._clock = clock
        self._inbox: Subscription | None = None
        self._consumer = ""
        self._since_us = 0
        self._last_seq = 0
        """Number in the stream of the newest message that was read."""
        self._read = 0
        """Messages read from this consumer."""
        self._pending = 0
        """Messages that the server had beyond those, when it sent the newest."""
        self._expected = 0
        """Messages that were asked for and have not come."""
        self._word_s = 0.0
        self._tasks: set[asyncio.Task[None]] = set()
        self._closed = False

    @property
    def is_blind(self) -> bool:
        """Whether the server may have a message before all that will come of other streams."""
        return not self.messages and (not self._consumer or self._pending > 0)

    async def start(self, since_us: int) -> None:
        """Begins with what was stored at ``since_us``, the server's time. Raises BusError, BusUnavailable."""
        self._since_us = since_us
        inbox = self._client.new_inbox()
        self._inbox = await self._client.tap(inbox, self._receive)
        await self._begin()

    async def close(self) -> None:
        """Ends it, also where the connection is lost."""
        self._closed = True
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._inbox is not None:
            await self._client.untap(self._inbox)
        if self._consumer and self._client.is_connected:  # else the server deletes it by itself
            await self._client.publish(f"{self._js._prefix}.CONSUMER.DELETE.{self._stream}.{self._consumer}")

    def pop(self) -> PastMessage:
        """Takes the next message."""
        message = self.messages.popleft()
        self._ask_ahead()
        return message

    def lost(self) -> None:
        """The consumer, or an answer, is gone: goes on behind the newest message that was read, as soon as that is possible."""
        if not self._closed and self._consumer:
            self._consumer = ""
            self._run(self._begin_again())

    def check(self) -> None:
        """Call about once a second: notices a server that does not answer."""
        if self._expected and self._clock() - self._word_s > ASK_S + LATE_S:
            self.lost()

    # ---- the consumer

    async def _begin(self) -> None:
        try:
            info = await self._js.add_consumer(self._stream, self._config())
        except (nats.errors.Error, TimeoutError) as error:
            explain(error, f"{self._stream} cannot be read for {self._subject}")
        self._read = self._expected = 0
        self._pending = info.num_pending or 0
        self._consumer = info.name
        self._ask_ahead()
        self._changed()

    async def _begin_again(self) -> None:
        while True:
            try:
                await self._begin()
                return
            except BusError as error:
                logger.debug("%s", error)
            await asyncio.sleep(RETRY_S)

    def _config(self) -> api.ConsumerConfig:
        start: datetime | None = EPOCH + timedelta(microseconds=self._since_us)
        policy, number = api.DeliverPolicy.BY_START_TIME, None
        if self._last_seq:
            start, policy, number = None, api.DeliverPolicy.BY_START_SEQUENCE, self._last_seq + 1
        return api.ConsumerConfig(
            filter_subject=self._subject,
            deliver_policy=policy,
            opt_start_time=start,
            opt_start_seq=number,
            ack_policy=api.AckPolicy.NONE,
            max_deliver=1,
            inactive_threshold=KEPT_S,
            mem_storage=True,
            num_replicas=1,
        )

    def _ask_ahead(self) -> None:
        wanted = AHEAD - len(self.messages)
        if self._expected or wanted < AHEAD // 2 or not self._consumer or self._closed:
            return
        self._expected = wanted
        self._word_s = self._clock()
        question = {"batch": wanted, "max_bytes": AHEAD_BYTES, "expires": int(ASK_S * 1e9)}
        self._run(self._ask(self._consumer, json.dumps(question).encode()))

    async def _ask(self, consumer: str, question: bytes) -> None:
        assert self._inbox is not None
        subject = f"{self._js._prefix}.CONSUMER.MSG.NEXT.{self._stream}.{consumer}"
        try:
            await self._client.publish(subject, question, self._inbox.subject)
        except nats.errors.Error as error:
            logger.debug("%s cannot be asked for more: %s", self._stream, error)
            self.lost()

    def _run(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # ---- what comes

    def _receive(self, subject: bytes, reply: bytes, payload: bytes, headers: bytes | None) -> None:
        self._word_s = self._clock()
        if headers is not None and headers[8:9] == b" ":
            self._take_status(headers)
            return
        position = _Position.parse(reply)
        if position is None or position.consumer.decode() != self._consumer:
            return  # late, of a consumer that was given up
        if position.number != self._read + 1:
            self.lost()
            return
        self._read += 1
        self._expected -= 1
        self._last_seq, self._pending = position.stream_seq, position.pending
        self.messages.append(PastMessage(position.stored_us, subject, payload))
        self._ask_ahead()
        self._changed()

    def _take_status(self, headers: bytes) -> None:
        """The server ends a question: its time is up, or the bytes are enough. Or there is no consumer."""
        line = headers.partition(b"\r\n")[0]
        if line[9:12] in (b"404", b"408") or b"Bytes" in line or b"Completed" in line:
            self._expected = 0
            self._ask_ahead()
        elif line[9:12] != b"100":
            logger.debug(
                "%s for %s: %s; it is read on", self._stream, self._subject, line.decode("ascii", "replace")
            )
            self.lost()


class _Position(NamedTuple):
    """What the reply subject of a message says: ``$JS.ACK.[domain.account.]stream.consumer.n.sseq.cseq.time.pending``."""

    consumer: bytes
    stream_seq: int
    number: int
    stored_us: int
    pending: int

    @classmethod
    def parse(cls, reply: bytes) -> _Position | None:
        tokens = reply.split(b".")
        at = 3 if len(tokens) == 9 else 5
        try:
            stream_seq, number, stored_ns, pending = (int(token) for token in tokens[at + 2 : at + 6])
        except ValueError:
            return None
        return cls(tokens[at], stream_seq, number, -(-stored_ns // 1000), pending)


def stored_at(text: str) -> int:
    """µs since the Unix epoch of a time as the server writes it; what is beyond a µs is rounded up."""
    moment = datetime.fromisoformat(text)
    return round((moment.astimezone(UTC) - EPOCH) / timedelta(microseconds=1)) + 1
