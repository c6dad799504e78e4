"""Reads stored messages of a subject by number, many with one question (nats-server 2.11), else one by one.

Any replica may answer, also one that lags behind: the end of what it has is not always the end of what is stored.
"""

from __future__ import annotations

import asyncio
import json
from contextlib import suppress
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from mdstream.bus._requests import NO_RESPONDERS
from mdstream.bus.stored_message import (
    NOT_FOUND,
    STATUS,
    UNIX_EPOCH,
    Numbered,
    header,
    numbered,
)
from mdstream.errors import BusError, BusUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable

    from nats.aio.subscription import Subscription

    from mdstream.bus.connection import Bus

MOST: Final = 256
"""Messages of one answer."""
MOST_BYTES: Final = 1_048_576
"""Bytes of one answer; a message that is larger comes alone."""

_END: Final = b"204"


class Batch(NamedTuple):
    """Some messages in order, and whether more are stored."""

    messages: list[Numbered]
    has_more: bool


class _Answer:
    """To one question, which may take several messages."""

    def __init__(self, subject: str) -> None:
        self.messages: list[Numbered] = []
        self.is_of_many = subject.endswith(("*", ">"))
        self.has_more = self.is_single = False
        """``is_single``: it is one message, and nothing is said of others."""
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def finish(self, error: BusError | None = None) -> None:
        if self.done.done():
            return
        if error is None:
            self.done.set_result(None)
        else:
            self.done.set_exception(error)


class DirectReader:
    """Asks one stream; ``begin`` first, ``close`` at the end."""

    def __init__(self, bus: Bus, stream: str) -> None:
        self._bus = bus
        self._stream = stream
        self._subject = f"{bus.options.api_prefix}.DIRECT.GET.{stream}"
        self._inbox = bus.new_inbox()
        self._subscription: Subscription | None = None
        self._answers: dict[int, _Answer] = {}
        self._number = 0
        self._unregister: Callable[[], None] | None = None

    async def begin(self) -> None:
        """Raises BusUnavailable."""
        if self._subscription is None:
            self._subscription = await self._bus.subscribe(f"{self._inbox}.*", self._hear)
            self._unregister = self._bus.on_disconnect(self._lost)

    async def close(self) -> None:
        if self._unregister is not None:
            self._unregister()
        self._lost()
        if self._subscription is not None:
            await self._bus.unsubscribe(self._subscription)

    async def read(
        self, subject: str, from_seq: int, *, most: int = MOST, most_bytes: int = MOST_BYTES
    ) -> Batch:
        """What is stored on a subject from this number on, oldest first, ``prev`` of each the one before it (of the first: 0). Raises
        BusError, BusUnavailable."""
        question = {"seq": max(from_seq, 1), "next_by_subj": subject, "batch": most, "max_bytes": most_bytes}
        answer = await self._ask(question, subject)
        found = answer.messages
        while answer.is_single and answer.messages and len(found) < most:  # the server knows no batches
            answer = await self._ask({"seq": found[-1].seq + 1, "next_by_subj": subject}, subject)
            found += answer.messages
        prevs = [0, *(message.seq for message in found)]
        messages = [message._replace(prev=prev) for message, prev in zip(found, prevs, strict=False)]
        return Batch(messages, answer.has_more)

    async def first_since(self, subject: str, us: int) -> Numbered | None:
        """The first message on a subject that was stored at a time or later. It needs nats-server 2.11. Raises as ``read``."""
        time = (UNIX_EPOCH + timedelta(microseconds=max(us, 0))).isoformat()
        question = {"start_time": time, "next_by_subj": subject, "batch": 1}
        answer = await self._ask(question, subject)
        return answer.messages[0]._replace(prev=0) if answer.messages else None

    async def last(self, subject: str) -> Numbered | None:
        """The newest message on a subject, or None; its ``prev`` is not known, and 0. Raises as ``read``."""
        answer = await self._ask({"last_by_subj": subject}, subject)
        return answer.messages[0]._replace(prev=0) if answer.messages else None

    async def at(self, seq: int) -> Numbered | None:
        """The message with this number, or None; its ``prev`` is not known, and 0. Raises as ``read``."""
        answer = await self._ask({"seq": seq}, f"its number {seq}")
        return answer.messages[0]._replace(prev=0) if answer.messages else None

    async def _ask(self, question: dict[str, Any], subject: str) -> _Answer:
        if not self._bus.connected:
            raise BusUnavailable(f"{self._stream} cannot be asked for {subject}: NATS is not connected")
        self._number += 1
        number, answer = self._number, _Answer(subject)
        self._answers[number] = answer
        try:
            async with asyncio.timeout(self._bus.options.request_timeout_s):
                await self._bus.publish(
                    self._subject, json.dumps(question).encode(), reply=f"{self._inbox}.{number}"
                )
                await answer.done
        except TimeoutError:
            raise BusUnavailable(f"{self._stream} cannot be asked for {subject}: no answer") from None
        finally:
            del self._answers[number]
        return answer

    def _hear(self, subject: bytes, _: bytes, payload: bytes, headers: bytes | None) -> None:
        with suppress(ValueError):
            answer = self._answers.get(int(subject.rpartition(b".")[2]))
            if answer is not None:
                self._take(answer, payload, headers or b"")

    def _take(self, answer: _Answer, payload: bytes, headers: bytes) -> None:
        pending = header(headers, b"Nats-Num-Pending")
        if headers.startswith(STATUS):
            self._end(answer, headers[len(STATUS) : len(STATUS) + 3], pending)
            return
        message = numbered(headers, payload)
        if message is None:
            answer.finish(BusError(f"{self._stream}: a stored message came without its number"))
            return
        if answer.is_of_many:
            message = message._replace(subject=header(headers, b"Nats-Subject") or b"")
        answer.messages.append(message)
        if pending is None:  # one message only: a server before 2.11, or a question for one
            answer.has_more = answer.is_single = True
            answer.finish()

    def _end(self, answer: _Answer, status: bytes, pending: bytes | None) -> None:
        if status == NO_RESPONDERS:
            answer.finish(
                BusUnavailable(
                    f"{self._stream} does not answer; it may not exist, or not allow direct questions"
                )
            )
        elif status in (NOT_FOUND, _END):
            answer.has_more = bool(pending) and int(pending or 0) > 0
            answer.finish()
        else:
            answer.finish(BusError(f"{self._stream} answered {status.decode('ascii', 'replace')}"))

    def _lost(self) -> None:
        for answer in self._answers.values():
            answer.finish(BusUnavailable(f"{self._stream} cannot be asked: the connection to NATS was lost"))
