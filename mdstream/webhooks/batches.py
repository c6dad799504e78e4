"""Batches for one webhook, from the messages of one stream; without I/O.

What a batch holds, and so its id, follows from the messages alone: whoever makes it again makes the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Final, NamedTuple

import msgspec

from mdstream.alert import EVENT as ALERT_EVENT
from mdstream.alert import SENDER
from mdstream.bus.activity import What, decode_activity, utc
from mdstream.bus.events import decode_event
from mdstream.bus.stored_message import Numbered
from mdstream.bus.topic_streams import EVENT_SUBJECT, MD_EVENTS
from mdstream.bus.webhook_places import Place
from mdstream.errors import PayloadError
from mdstream.printable import printable_json
from mdstream.webhooks.hooks import ALERT, EVENT, Hook

MOST_RECORDS: Final = 100
MOST_BYTES: Final = 262_144
"""Of a body. One message fits always: it has at most 64 KiB, and its data is bounded as JSON."""
TYPE: Final = "mdstream.batch"
_encode = msgspec.json.Encoder().encode


class Batch(NamedTuple):
    """Some records, after ``done`` of the stream and up to ``until``. ``lost``: how many numbers it tells as lost, ``refused``: messages
    that cannot be read."""

    id: str
    body: bytes
    until: int
    records: int
    lost: int
    refused: int


class _Made(NamedTuple):
    """The records of one message."""

    records: list[tuple[str, bytes]]
    """Each with its id."""
    lost: int
    is_refused: bool

    @property
    def size(self) -> int:
        return sum(len(each) + 1 for _, each in self.records)


@dataclass(frozen=True, slots=True)
class BatchMaker:
    """Of one webhook and one stream."""

    hook: Hook
    stream: str

    def make(self, place: Place, messages: Sequence[Numbered]) -> Batch:
        """Of messages after ``place.done``, in order. Where ``place`` names a batch, that one. A batch without records is not sent."""
        made: list[_Made] = []
        until, count, size, at_us, refused = place.done, 0, 0, 0, 0
        if place.gave_up is not None:
            made.append(self._gave_up(place.epoch, place.gave_up, messages))
            count, size = 1, made[0].size
        for message in messages:
            if place.done < place.until < message.seq:
                break
            each = self._made(place.epoch, until, message)
            if until > place.done and (
                count + len(each.records) > MOST_RECORDS or size + each.size > MOST_BYTES
            ):
                break
            made.append(each)
            until, at_us = message.seq, message.stored_us
            count += len(each.records)
            size += each.size
            refused += each.is_refused
        if until == place.done or count == (place.gave_up is not None):
            made = []  # nothing to tell yet
        return self._batch(made, until, at_us, refused)

    def _batch(self, made: list[_Made], until: int, at_us: int, refused: int) -> Batch:
        records = [record for each in made for record in each.records]
        ids = "\n".join([self.hook.name, *(id for id, _ in records)])
        head = _encode({"type": TYPE, "timestamp": utc(at_us)})
        body = b'%b,"data":{"records":[%b]}}' % (head[:-1], b",".join(text for _, text in records))
        return Batch(
            f"msg_{sha256(ids.encode()).hexdigest()[:32]}",
            body,
            until,
            len(records),
            sum(each.lost for each in made),
            refused,
        )

    # ---- records

    def _made(self, epoch: int, after: int, message: Numbered) -> _Made:
        records, lost = [], message.seq - after - 1
        if lost:
            records.append(self._lost(epoch, (after + 1, message.seq - 1), "expired", message.stored_us))
        try:
            records.extend(self._records(epoch, message))
        except PayloadError:
            return _Made(records, lost, True)
        return _Made(records, lost, False)

    def _records(self, epoch: int, message: Numbered) -> Iterator[tuple[str, bytes]]:
        """Raises PayloadError."""
        if self.stream == MD_EVENTS:
            yield from self._event(epoch, message)
            return
        for number, each in enumerate(decode_activity(message.payload)):
            if self.hook.wants(each.type, each.data):
                id = f"{self.stream}.{epoch}.{message.seq}.{number}"
                yield _record(id, each.type, each.timestamp, each.data)

    def _event(self, epoch: int, message: Numbered) -> Iterator[tuple[str, bytes]]:
        topic = message.subject.decode("utf-8", "replace").removeprefix(f"{EVENT_SUBJECT}.")
        if not self.hook.wants_topic(topic):
            return
        event = decode_event(message.payload)
        type = ALERT if (event.type, event.sender) == (ALERT_EVENT, SENDER) else EVENT
        if type in self.hook.types:
            id = f"{self.stream}.{epoch}.{message.seq}"
            data = {
                "topic": topic,
                "seq": message.seq,
                "event": event.type,
                "data": event.data,
                "sender": event.sender,
            }
            yield _record(id, type, utc(message.stored_us), data)

    def _gave_up(self, epoch: int, numbers: tuple[int, int], messages: Sequence[Numbered]) -> _Made:
        at_us = messages[0].stored_us if messages else 0
        return _Made([self._lost(epoch, numbers, "given_up", at_us)], 0, False)

    def _lost(self, epoch: int, numbers: tuple[int, int], reason: str, at_us: int) -> tuple[str, bytes]:
        first, last = numbers
        data = {"stream": self.stream, "reason": reason, "first": first, "last": last}
        return _record(f"{self.stream}.{epoch}.{first}-{last}.{reason}", What.LOST, utc(at_us), data)


def _record(id: str, type: str, timestamp: str, data: dict[str, Any]) -> tuple[str, bytes]:
    """No character in it moves a cursor or hides text: who shows a body as it came is safe."""
    text = _encode({"id": id, "type": type, "timestamp": timestamp, "data": data}).decode()
    return id, printable_json(text).encode()
