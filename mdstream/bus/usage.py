"""Who used what: records in ``MD_USAGE``, from each gateway about each minute. How they look, how to store and how to read them.

A message is JSON: ``{"version": 1, "node": "gw1", "minute": "2026-11-29T16:05:00Z", "uses": [["alice", "SIM:BTC-USD", 20, 0], …]}``.
A use is subject, instrument, greatest depth (0: the full book; null: trades alone) and delay in ms. Of a minute there may be several
messages.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable
from contextlib import aclosing
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Final, NamedTuple

import msgspec
import nats.errors
from msgspec import Meta, Struct

from mdstream.bus import streams
from mdstream.bus.log import Since, replay
from mdstream.bus.streams import MD_USAGE, USAGE_SUBJECT
from mdstream.bus.subjects import encode_token
from mdstream.model import MAX_NUMBER

if TYPE_CHECKING:
    from mdstream.bus.connection import Bus

VERSION: Final = 1
MINUTE_US: Final = 60_000_000
_ID = "Nats-Msg-Id"

Depth = Annotated[int, Meta(ge=0, le=MAX_NUMBER)]


class Use(NamedTuple):
    """What a user had of an instrument in a minute; ``depth`` is the greatest: 0 the full book, None trades alone."""

    subject: str
    instrument: str
    depth: Depth | None
    delay_ms: Depth


class UsageRecord(Struct, frozen=True):
    """A message. ``minute`` is when it begins."""

    node: str
    minute: datetime
    uses: list[Use]
    version: int = VERSION


def encode_use(use: Use) -> bytes:
    return msgspec.json.encode(use)


def encode_record(node: str, minute: int, uses: Iterable[bytes]) -> bytes:
    """A message of what ``encode_use`` made; ``minute`` counts from the Unix epoch."""
    begins = datetime.fromtimestamp(minute * 60, UTC)
    head = msgspec.json.encode({"version": VERSION, "node": node, "minute": begins})
    return b'%b,"uses":[%b]}' % (head[:-1], b",".join(uses))


def decode_record(payload: bytes) -> UsageRecord:
    """Raises ValueError for what is no record, or one of another version."""
    record = msgspec.json.decode(payload, type=UsageRecord)  # its errors are ValueErrors
    if record.version != VERSION:
        raise ValueError(f"version {record.version} is not known")
    if record.minute.tzinfo is None:
        raise ValueError("minute has no time zone")
    return record


async def ensure_usage(bus: Bus, *, keep_s: float, max_bytes: int) -> None:
    """Creates ``MD_USAGE`` if it does not exist. Raises BusError, BusUnavailable."""
    options = bus.options.streams
    try:
        await streams.ensure_usage_stream(bus.jetstream, options, keep_s=keep_s, max_bytes=max_bytes)
    except (nats.errors.Error, TimeoutError) as error:
        streams.explain(error, f"stream {MD_USAGE} does not exist and cannot be created")


async def put_usage(bus: Bus, node: str, id: str, payload: bytes) -> None:
    """Stores a message, once however often it is sent with this ``id``. Raises BusError, BusUnavailable."""
    try:
        await bus.jetstream.publish(
            f"{USAGE_SUBJECT}.{encode_token(node, 'node')}", payload, headers={_ID: id}
        )
    except (nats.errors.Error, TimeoutError) as error:
        streams.explain(error, f"usage cannot be stored in {MD_USAGE}")


async def read_usage(bus: Bus, since: datetime) -> AsyncGenerator[bytes, None]:
    """The messages stored since then, oldest first; close it if you leave early. Raises BusError, BusUnavailable."""
    epoch = datetime.fromtimestamp(0, UTC)
    since_us = (since - epoch) // timedelta(microseconds=1)
    stored = replay(
        bus.client,
        bus.jetstream,
        f"{USAGE_SUBJECT}.*",
        Since(us=since_us),
        bus.options.replay_silence_s,
        stream=MD_USAGE,
    )
    async with aclosing(stored):
        async for payload in stored:
            yield payload
