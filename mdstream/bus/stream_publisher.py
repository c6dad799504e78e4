"""Publishes into a stream in the order of the calls. No message waits for the answer to the one before it.

Each leaves in the turn of the loop in which it is published, without a task, and all answers come to one subscription.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec

from mdstream.bus._requests import NO_RESPONDERS
from mdstream.bus.stored_message import STATUS

if TYPE_CHECKING:
    from nats.aio.subscription import Subscription

    from mdstream.bus.connection import Bus

DEADLINE_S: Final = 2.0
"""How long JetStream may take to store a message."""
MOST_WAITING: Final = 20_000
"""Messages that wait for their numbers."""
_ROOM: Final = 256
"""Of a message, for its headers."""


class _Failure(msgspec.Struct):
    description: str = ""


class _Stored(msgspec.Struct):
    """The server's answer to a published message."""

    seq: int = 0
    duplicate: bool = False
    error: _Failure | None = None


_read_stored = msgspec.json.Decoder(_Stored).decode


class Outcome(NamedTuple):
    """What became of a message: its number in the stream, or why it is not known to be stored."""

    seq: int
    duplicate: bool
    failed: str | None


Done = Callable[[Outcome], object]


class _Waiting(NamedTuple):
    until_s: float
    done: Done


class StreamPublisher:
    """``begin`` first; ``tick`` at least once a second; ``close`` at the end."""

    def __init__(
        self,
        bus: Bus,
        stream: str,
        *,
        deadline_s: float = DEADLINE_S,
        missing: Callable[[], object] = lambda: None,
    ) -> None:
        """``missing`` is called where there is no stream."""
        self._bus = bus
        self._stream = stream
        self._missing = missing
        self._deadline_s = deadline_s
        self._inbox = bus.new_inbox()
        self._headers = f"NATS/1.0\r\nNats-Expected-Stream: {stream}\r\n"
        self._subscription: Subscription | None = None
        self._number = 0
        self._waiting: dict[int, _Waiting] = {}
        """In the order of time."""

    async def begin(self) -> None:
        """Again as often as you like. Raises BusUnavailable."""
        if self._subscription is None:
            self._subscription = await self._bus.subscribe(f"{self._inbox}.*", self._hear)

    async def close(self) -> None:
        for number in list(self._waiting):
            self._finish(number, Outcome(0, False, "the gateway is stopping"))
        if self._subscription is not None:
            await self._bus.unsubscribe(self._subscription)

    def publish(self, subject: str, payload: bytes, id: str | None, done: Done) -> None:
        """``subject`` is a valid one. ``done`` is called once, later. ``id``: what comes again with the same one within two minutes is
        stored once."""
        loop = asyncio.get_running_loop()
        why = self._why_not(payload)
        if why is not None:
            loop.call_soon(done, Outcome(0, False, why))
            return
        self._number += 1
        self._waiting[self._number] = _Waiting(loop.time() + self._deadline_s, done)
        self._bus.send(self._message(subject, payload, id), len(payload))

    def _why_not(self, payload: bytes) -> str | None:
        """Why nothing can be published now."""
        if not self._bus.connected:
            return "NATS is not connected"
        if len(self._waiting) >= MOST_WAITING:
            return f"too many messages wait to be stored in {self._stream}"
        if len(payload) + _ROOM > self._bus.max_payload_bytes:
            return f"NATS takes messages of at most {self._bus.max_payload_bytes} bytes"
        return None

    def _message(self, subject: str, payload: bytes, id: str | None) -> bytes:
        """As NATS reads it; the answer is to come with the number of now."""
        headers = f"{self._headers}\r\n" if id is None else f"{self._headers}Nats-Msg-Id: {id}\r\n\r\n"
        size = len(headers)
        head = f"HPUB {subject} {self._inbox}.{self._number} {size} {size + len(payload)}\r\n{headers}"
        return b"".join((head.encode(), payload, b"\r\n"))

    def tick(self) -> None:
        now_s = asyncio.get_running_loop().time()
        while self._waiting:
            number, waiting = next(iter(self._waiting.items()))
            if waiting.until_s > now_s:
                return
            self._finish(number, Outcome(0, False, f"JetStream did not answer within {self._deadline_s:g} s"))

    def _hear(self, subject: bytes, _: bytes, payload: bytes, headers: bytes | None) -> None:
        number = int(subject.rpartition(b".")[2])
        if headers is not None and headers.startswith(STATUS + NO_RESPONDERS):
            self._finish(number, Outcome(0, False, f"there is no stream {self._stream}"))
            self._missing()
            return
        try:
            stored = _read_stored(payload)
        except msgspec.MsgspecError:
            stored = _Stored(error=_Failure("its answer cannot be read"))
        if stored.error is not None:
            self._finish(number, Outcome(0, False, f"{self._stream}: {stored.error.description}"))
        else:
            self._finish(number, Outcome(stored.seq, stored.duplicate, None))

    def _finish(self, number: int, outcome: Outcome) -> None:
        waiting = self._waiting.pop(number, None)
        if waiting is not None:
            waiting.done(outcome)
