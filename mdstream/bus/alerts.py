"""Alerts on the bus: the stream ``MD_ALERTS``, which remembers what became of each alert, and how an event is stored exactly once.

``alert.state.<hash>`` holds one message, ``Record``: the state of an alert, and the events of its newest crossings. They are published
after it is stored, and again by whoever reads it and does not find them. ``alert.place.<venue>.<symbol>.<stream>`` holds ``Place``: up
to where the log of an instrument was read, and its book there. Each is replaced by compare-and-set, so of two watchers one goes on.
"""

from __future__ import annotations

import hashlib
import logging
import re
from typing import TYPE_CHECKING, Annotated, Any, Final

import msgspec
import nats.errors
import nats.js.errors
from nats.js import api

from mdstream.alert import EVENT, SENDER
from mdstream.bus import streams
from mdstream.bus.direct import DirectReader
from mdstream.bus.events import (
    Event,
    check_event,
    decode_event,
    encode_event,
    event_subject,
    message_id,
)
from mdstream.bus.map_streams import MD_MAPS, purge
from mdstream.bus.options import StreamOptions
from mdstream.bus.stored_message import Numbered
from mdstream.bus.subjects import encode_token
from mdstream.bus.topic_streams import MD_EVENTS
from mdstream.errors import BusUnavailable, PayloadError
from mdstream.maps import MAX_KEY
from mdstream.model import MAX_EXPONENT, MAX_NUMBER, InstrumentId
from mdstream.topics import ALERTS, OWN, check_topic, is_of_alerts

if TYPE_CHECKING:
    from mdstream.bus.connection import Bus

logger = logging.getLogger("mdstream.bus.alerts")

MD_ALERTS: Final = "MD_ALERTS"
STATES: Final = "alert.state.*"
MAX_BYTES: Final = 1024 * 1024 * 1024
_EXPECTED: Final = "Nats-Expected-Last-Subject-Sequence"
_ROOM: Final = 4_096
"""Of a message, for its headers."""
_TRIES: Final = 20
"""How often an event is tried that others are faster than, on the topic of its user."""


Number = Annotated[int, msgspec.Meta(ge=0, le=MAX_NUMBER)]
Signed = Annotated[int, msgspec.Meta(ge=-MAX_NUMBER, le=MAX_NUMBER)]
Exponent = Annotated[int, msgspec.Meta(ge=-MAX_EXPONENT, le=MAX_EXPONENT)]
_NAME: Final = re.compile(rb"alert\.state\.[0-9a-f]{32}")


class Waiting(msgspec.Struct, array_like=True):
    """An event that is to be stored once, after the number ``after`` of its topic."""

    data: dict[str, Any]
    after: Number


class Record(msgspec.Struct, array_like=True):
    """What is remembered of an alert. ``rev`` is that of the change by which its user set it; see ``alert.AlertState`` for the others."""

    topic: str
    key: str
    rev: Number
    epoch: Number
    seq: Number
    side: Annotated[int, msgspec.Meta(ge=-1, le=1)]
    count: Number
    minute: Signed
    in_minute: Number
    paused: bool
    price: str
    ts_us: Signed
    """At which price it fired last, and when by the market."""
    events: list[Waiting]
    """Of its newest crossings; they may be published already."""


class Place(msgspec.Struct, array_like=True):
    """Up to where the book or the trades of an instrument were read: the number ``at`` of ``MD_LOG``, which was created at ``log_us``, and
    the instrument's own."""

    log_us: Number
    us: Number
    """When the server stored what was read last."""
    at: Number
    epoch: Number
    seq: Number
    price_exp: Exponent
    ts_us: Signed
    ticks: Signed | None = None
    """Of the last trade."""
    bids: list[Signed] = []
    asks: list[Signed] = []
    is_whole: bool = True
    """Whether the book is there; one that is too large for a message is not."""


_encode = msgspec.msgpack.Encoder().encode
_read_record = msgspec.msgpack.Decoder(Record).decode
_read_place = msgspec.msgpack.Decoder(Place).decode


# ---- names


def alerts_topic(part: str) -> str:
    """Where the alerts of a user are; ``part`` is his subject as a part of a topic."""
    return f"{ALERTS}.{part}"


def events_topic(alerts: str) -> str:
    """Where the events of these alerts go: the own topic of their user."""
    return f"{OWN}.{alerts.removeprefix(f'{ALERTS}.')}"


def record_subject(topic: str, key: str) -> str:
    name = hashlib.sha256(f"{topic}\n{key}".encode()).hexdigest()[:32]
    return f"alert.state.{name}"


def place_subject(instrument: InstrumentId, stream: str) -> str:
    """``stream``: book or trade."""
    tokens = encode_token(instrument.venue, "venue"), encode_token(instrument.symbol, "symbol")
    return f"alert.place.{tokens[0]}.{tokens[1]}.{stream}"


# ---- the stream


async def ensure_alerts(bus: Bus) -> None:
    """Creates ``MD_ALERTS`` if it does not exist. Raises BusError, BusUnavailable."""
    await streams.ensure(bus.jetstream, _config(bus.options.streams))


def _config(options: StreamOptions) -> api.StreamConfig:
    return api.StreamConfig(
        name=MD_ALERTS,
        description="mdstream: what became of alerts, and up to where their instruments were read",
        subjects=[STATES, "alert.place.*.*.*"],
        max_msgs_per_subject=1,
        max_bytes=MAX_BYTES,
        discard=api.DiscardPolicy.NEW,
        storage=api.StorageType.FILE,
        num_replicas=options.replicas,
        allow_direct=True,
    )


async def put_record(bus: Bus, record: Record, *, expected_seq: int) -> int:
    """Stores it in place of the one with the number ``expected_seq`` (0: there is none); returns its own.

    Raises BusConflict if another one is there, BusError, BusUnavailable.
    """
    return await _put(bus, record_subject(record.topic, record.key), _encode(record), expected_seq)


async def put_place(bus: Bus, subject: str, place: Place, *, expected_seq: int) -> int:
    """As ``put_record``; a book that is too large is left out."""
    payload = _encode(place)
    if len(payload) > bus.max_payload_bytes - _ROOM:
        payload = _encode(msgspec.structs.replace(place, bids=[], asks=[], is_whole=False))
    return await _put(bus, subject, payload, expected_seq)


async def _put(bus: Bus, subject: str, payload: bytes, expected_seq: int) -> int:
    try:
        stored = await bus.jetstream.publish(
            subject, payload, headers={_EXPECTED: str(expected_seq)}, stream=MD_ALERTS
        )
    except (nats.errors.Error, TimeoutError) as error:
        streams.explain(error, f"{subject} cannot be stored in {MD_ALERTS}")
    return stored.seq


async def read_records(bus: Bus, reader: DirectReader) -> list[tuple[int, Record]]:
    """All that are stored, each with its number. What is none is removed, as it would be in the way of the record that belongs there.
    Raises BusError, BusUnavailable."""
    found: list[tuple[int, Record]] = []
    wrong: list[str] = []
    after, has_more = 0, True
    while has_more:
        batch = await reader.read(STATES, after + 1)
        for message in batch.messages:
            if (record := _record_of(message)) is not None:
                found.append((message.seq, record))
            elif _NAME.fullmatch(message.subject):
                wrong.append(message.subject.decode())
        after = batch.messages[-1].seq if batch.messages else after
        has_more = batch.has_more and bool(batch.messages)
    if wrong:
        logger.warning(
            "%d messages of %s, such as %s, are no records: removed", len(wrong), MD_ALERTS, wrong[0]
        )
    for subject in wrong:
        await forget(bus, subject)
    return found


def _record_of(message: Numbered) -> Record | None:
    """None for what no watcher has stored there."""
    try:
        record = _read_record(message.payload)
        check_topic(record.topic)
    except (msgspec.MsgspecError, ValueError):
        return None
    is_alert = is_of_alerts(record.topic) and 1 <= len(record.key) <= MAX_KEY
    if not is_alert or message.subject != record_subject(record.topic, record.key).encode():
        return None
    return record if all(map(_is_of_crossing, record.events)) else None


def _is_of_crossing(waiting: Waiting) -> bool:
    try:
        check_event(EVENT, waiting.data)
    except ValueError:
        return False
    return all(isinstance(waiting.data.get(name), str) for name in ("alert", "id"))


async def read_place(bus: Bus, subject: str) -> tuple[int, Place | None]:
    """What is stored, and its number (0: nothing is). Raises BusError, BusUnavailable."""
    stored = await bus.last_stored(MD_ALERTS, subject)
    if stored is None:
        return 0, None
    try:
        return stored.stream_seq, _read_place(stored.payload)
    except msgspec.MsgspecError:
        return stored.stream_seq, None


async def forget(bus: Bus, subject: str) -> None:
    """Removes what is stored on a subject. Raises BusError, BusUnavailable."""
    try:
        await purge(bus.jetstream, MD_ALERTS, {"filter": subject})
    except (nats.errors.Error, TimeoutError) as error:
        streams.explain(error, f"{subject} cannot be removed from {MD_ALERTS}")


async def alert_topics(bus: Bus) -> set[str]:
    """The maps of alerts that there are. Raises BusError, BusUnavailable."""
    found: set[str] = set()
    for start in ("map.", "mapsnap.head."):
        try:
            info = await bus.jetstream.stream_info(MD_MAPS, subjects_filter=f"{start}{ALERTS}.*")
        except nats.js.errors.NotFoundError:
            return found  # nobody has set any yet
        except (nats.errors.Error, TimeoutError) as error:
            streams.explain(error, f"{MD_MAPS} does not tell what it holds")
        found.update(name.removeprefix(start) for name in info.state.subjects or {})
    return found


# ---- an event, once


async def publish_once(bus: Bus, reader: DirectReader, topic: str, waiting: Waiting, last: int) -> int:
    """Stores the event of a crossing on the topic of its user, unless it is there; returns its number in the stream.

    ``reader`` is of ``MD_EVENTS``. Nobody else publishes with this id before a record names it, and ``after`` was the newest number of the
    topic then: so it is enough to look behind that. Also two watchers at once store it once, however long one of them was stopped,
    because it is stored only as the next message after ``last``, the last that was looked at: ``after``, or what was stored here since.
    Raises BusError, BusUnavailable.
    """
    payload = encode_event(Event(EVENT, waiting.data, SENDER))
    id = message_id(SENDER, topic, f"{waiting.data['alert']}\n{waiting.data['id']}")
    for left in reversed(range(_TRIES)):
        headers = {"Nats-Msg-Id": id}
        if left:  # else others publish there all the time, and the server still knows the id for two minutes
            headers[_EXPECTED] = str(last)
        try:
            stored = await bus.jetstream.publish(
                event_subject(topic), payload, stream=MD_EVENTS, headers=headers
            )
            return stored.seq
        except nats.js.errors.APIError as error:
            if error.err_code != streams.WRONG_LAST_SEQUENCE:
                streams.explain(error, f"an alert cannot be told on {topic}")
        except (nats.errors.Error, TimeoutError) as error:
            streams.explain(error, f"an alert cannot be told on {topic}")
        found, last = await _look_for(reader, event_subject(topic), waiting)
        if found:
            return found
    raise BusUnavailable(f"an alert cannot be told on {topic}")


async def _look_for(reader: DirectReader, subject: str, waiting: Waiting) -> tuple[int, int]:
    """The number of the event if it is stored, else 0; and the newest number of the topic."""
    newest = await reader.last(subject)
    last = 0 if newest is None else newest.seq
    after = waiting.after if waiting.after <= last else 0  # 0: the stream is another one
    has_more = True
    while has_more:
        batch = await reader.read(subject, after + 1)
        for message in batch.messages:
            if _is_it(message, waiting):
                return message.seq, message.seq
            after = message.seq
        has_more = batch.has_more and bool(batch.messages)
    return 0, max(after, last)


def _is_it(message: Numbered, waiting: Waiting) -> bool:
    try:
        event = decode_event(message.payload)
    except PayloadError:
        return False
    if event.sender != SENDER or not isinstance(event.data, dict):
        return False
    return all(event.data.get(name) == waiting.data[name] for name in ("alert", "id"))
