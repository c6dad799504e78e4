"""What happens at gateways, in the stream ``MD_ACTIVITY``: sessions, subscriptions, who is present. How records look, and how they
are stored.

A message on ``mdstream.activity.<node>`` is JSON, ``{"version": 1, "records": […]}``. A record is ``{"type": "session.opened",
"timestamp": "2026-11-30T12:00:00.000123Z", "data": {…}}``. Those of one gateway come in the order in which things happened.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final

import msgspec
import nats.errors
from msgspec import Struct
from nats.js import api

from mdstream._core.codec.duplicate_keys import is_deep_json
from mdstream.bus import streams
from mdstream.bus.subjects import encode_token
from mdstream.errors import PayloadError

if TYPE_CHECKING:
    from mdstream.bus.connection import Bus

MD_ACTIVITY: Final = "MD_ACTIVITY"
ACTIVITY_SUBJECT: Final = "mdstream.activity"
VERSION: Final = 1
MOST_RECORDS: Final = 100
"""In one message."""
MOST_BYTES: Final = 65_536
"""Of one message."""
KEEP_S: Final = 7 * 86_400.0
MAX_BYTES: Final = 256 * 1024 * 1024
DUPLICATES_S: Final = 600.0
"""How long the server recognises a message that is sent again, because its confirmation was lost."""
_ID: Final = "Nats-Msg-Id"
_ROOM: Final = 64
"""Of a message, for what is not records."""


class What(StrEnum):
    """The types of records."""

    STARTED = "gateway.started"
    STOPPED = "gateway.stopped"
    OPENED = "session.opened"
    CLOSED = "session.closed"
    BEGUN = "subscription.begun"
    ENDED = "subscription.ended"
    JOINED = "presence.joined"
    LEFT = "presence.left"
    LOST = "webhook.lost"
    """What could not be told."""


class Happening(Struct, frozen=True):
    """A record."""

    type: str
    timestamp: str
    data: dict[str, Any]


class _Records(Struct, frozen=True):
    """A message."""

    records: list[Happening]
    version: int = VERSION


_decode = msgspec.json.Decoder(_Records).decode
_encode = msgspec.json.Encoder().encode


def utc(us: int) -> str:
    """A time in µs since the Unix epoch as RFC 3339 has it, with all its digits."""
    seconds, micros = divmod(us, 1_000_000)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{micros:06d}Z"


def encode_happening(type: str, us: int, data: dict[str, Any]) -> bytes:
    return _encode({"type": type, "timestamp": utc(us), "data": data})


def encode_activity(happenings: Iterable[bytes]) -> bytes:
    """A message of what ``encode_happening`` made."""
    return b'{"version":%d,"records":[%b]}' % (VERSION, b",".join(happenings))


def fits(size: int, count: int, more: int) -> bool:
    """Whether a message of ``count`` records with ``size`` bytes in all has room for one more, with so many bytes."""
    return count < MOST_RECORDS and size + count + more + _ROOM <= MOST_BYTES


def decode_activity(payload: bytes) -> list[Happening]:
    """Raises PayloadError for what is no such message, or too large."""
    if len(payload) > MOST_BYTES:
        raise PayloadError(f"a message of {MD_ACTIVITY} has at most {MOST_BYTES} bytes, not {len(payload)}")
    try:
        if is_deep_json(payload):
            raise ValueError("it is nested too deep")
        found = _decode(payload)
    except (msgspec.MsgspecError, RecursionError, ValueError) as error:
        raise PayloadError(f"this is no record of activity: {error}") from None
    if found.version != VERSION or len(found.records) > MOST_RECORDS:
        raise PayloadError(f"version {found.version} with {len(found.records)} records is not known")
    return found.records


async def ensure_activity(bus: Bus, *, keep_s: float = KEEP_S, max_bytes: int = MAX_BYTES) -> None:
    """Creates ``MD_ACTIVITY`` if it does not exist. Raises BusError, BusUnavailable."""
    config = api.StreamConfig(
        name=MD_ACTIVITY,
        description="mdstream: what happens at gateways, for webhooks",
        subjects=[f"{ACTIVITY_SUBJECT}.*"],
        discard=api.DiscardPolicy.OLD,
        max_age=keep_s,
        max_bytes=max_bytes,
        duplicate_window=min(DUPLICATES_S, keep_s),
        storage=api.StorageType.FILE,
        num_replicas=bus.options.streams.replicas,
        allow_direct=True,
    )
    await streams.ensure(bus.jetstream, config)


async def put_activity(bus: Bus, node: str, id: str, payload: bytes) -> None:
    """Stores a message, once however often it is sent with this ``id``. Raises BusError, BusUnavailable."""
    subject = f"{ACTIVITY_SUBJECT}.{encode_token(node, 'node')}"
    try:
        await bus.jetstream.publish(subject, payload, stream=MD_ACTIVITY, headers={_ID: id})
    except (nats.errors.Error, TimeoutError) as error:
        streams.explain(error, f"activity cannot be stored in {MD_ACTIVITY}")
