"""Values that wait to be sent, in order and bounded. Values of one subject are joined into messages. No I/O."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

StateValue = bytes | Callable[[], bytes]
"""A value, or what makes it at the moment when it is sent."""

MADE_BYTES = 128
"""What a value that is made later is taken for."""


@dataclass(slots=True)
class Batch:
    """One NATS message: values of one subject back to back. ``acked`` if JetStream must confirm it."""

    subject: str
    acked: bool
    size: int = 0
    values: list[bytes] = field(default_factory=list)
    make: Callable[[], bytes] | None = None

    def payload(self) -> bytes:
        if self.make is not None:
            return self.make()
        return self.values[0] if len(self.values) == 1 else b"".join(self.values)


class PublishQueue:
    """Batches in the order of their first value.

    ``batch_bytes`` bounds a message of several values, ``backlog_bytes`` the whole queue.
    """

    def __init__(self, *, batch_bytes: int, backlog_bytes: int) -> None:
        self.bytes = 0
        self.dropped_values = 0
        self.dropped_bytes = 0
        self._batch_bytes = batch_bytes
        self._backlog_bytes = backlog_bytes
        self._queue: deque[Batch] = deque()
        self._open: dict[str, Batch] = {}

    def __bool__(self) -> bool:
        return bool(self._queue)

    def add(self, subject: str, value: bytes) -> list[str]:
        """Adds a value. Drops the oldest batches to keep the bound, and returns their subjects."""
        batch = self._open.get(subject)
        if batch is None or batch.size + len(value) > self._batch_bytes:
            batch = self._open[subject] = Batch(subject, acked=False)
            self._queue.append(batch)
        batch.values.append(value)
        batch.size += len(value)
        self.bytes += len(value)
        return self._bound() if self.bytes > self._backlog_bytes else []

    def add_state(self, subject: str, value: StateValue, *, after: Iterable[str] = ()) -> None:
        """Adds a state message. Values that are added to the subjects ``after`` later are sent after it."""
        for open_subject in after:
            self._open.pop(open_subject, None)
        if isinstance(value, bytes):
            batch = Batch(subject, acked=True, size=len(value), values=[value])
        else:
            batch = Batch(subject, acked=True, size=MADE_BYTES, make=value)
        self._queue.append(batch)
        self.bytes += batch.size

    def take(self) -> Batch:
        """Removes the oldest batch."""
        batch = self._queue.popleft()
        if self._open.get(batch.subject) is batch:
            del self._open[batch.subject]
        self.bytes -= batch.size
        return batch

    def put_back(self, batch: Batch) -> None:
        """Puts back a batch that could not be sent: it is the oldest again."""
        self._queue.appendleft(batch)
        self.bytes += batch.size

    def clear(self) -> None:
        """Nothing of this is to be sent any more."""
        self._queue.clear()
        self._open.clear()
        self.bytes = 0

    def _bound(self) -> list[str]:
        dropped: list[str] = []
        # The newest batch stays: values are still added to it.
        while self.bytes > self._backlog_bytes and len(self._queue) > 1:
            batch = self.take()
            dropped.append(batch.subject)
            self.dropped_values += len(batch.values)
            self.dropped_bytes += batch.size
        return dropped
