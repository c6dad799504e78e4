"""Up to where each webhook was told a stream: the key-value bucket ``MD_WEBHOOKS``.

A place is stored before a batch is sent, and names the batch: so whoever goes on after a crash sends the same batch with the same id.
It is replaced by compare-and-set: of two senders one goes on.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec
from msgspec import Struct
from nats.js import api

from mdstream.bus import streams
from mdstream.errors import BusError

if TYPE_CHECKING:
    from mdstream.bus.connection import Bus

PLACES: Final = "MD_WEBHOOKS"
"""A key-value bucket; its stream has ``KV_`` before the name."""
PLACES_STREAM: Final = f"KV_{PLACES}"
PLACES_SUBJECT: Final = f"$KV.{PLACES}"
MAX_BYTES: Final = 16 * 1024 * 1024


class Place(Struct, frozen=True):
    """Numbers of a stream. ``epoch``: when that was created, in µs; another one has other numbers."""

    epoch: int
    done: int
    """All up to this number is told, or given up."""
    until: int
    """What is after ``done`` and up to here is the batch that is being sent; there is none where both are equal."""
    gave_up: tuple[int, int] | None = None
    """Numbers that were given up, which the next batch is to tell."""


_decode = msgspec.json.Decoder(Place).decode
_encode = msgspec.json.Encoder().encode


class PlaceKeeper:
    """The place of one webhook in one stream."""

    def __init__(self, bus: Bus, hook: str, stream: str) -> None:
        self._bus = bus
        self._subject = f"{PLACES_SUBJECT}.{hook}.{stream}"
        self._seq = 0

    async def read(self) -> Place | None:
        """None: it was never stored. Raises BusError, BusUnavailable."""
        stored = await self._bus.newest_stored(PLACES_STREAM, self._subject)
        if stored is None:
            self._seq = 0
            return None
        self._seq = stored.stream_seq
        if not stored.payload:  # somebody has removed it
            return None
        try:
            return _decode(stored.payload)
        except msgspec.MsgspecError:
            raise BusError(
                f"what {PLACES} holds on {self._subject} cannot be read; `nats kv del {PLACES} "
                f"{self._subject.removeprefix(PLACES_SUBJECT + '.')}` removes it, and what is new then is told"
            ) from None

    async def store(self, place: Place) -> None:
        """Raises BusConflict if another sender has stored one since, BusError, BusUnavailable."""
        self._seq = await self._bus.publish_acked(self._subject, _encode(place), expected_seq=self._seq)


async def ensure_places(bus: Bus) -> None:
    """Creates ``MD_WEBHOOKS`` if it does not exist, as clients of NATS create a key-value bucket. Raises BusError, BusUnavailable."""
    config = api.StreamConfig(
        name=PLACES_STREAM,
        description="mdstream: up to where webhooks were told",
        subjects=[f"{PLACES_SUBJECT}.>"],
        max_msgs_per_subject=1,
        max_bytes=MAX_BYTES,
        discard=api.DiscardPolicy.NEW,
        deny_delete=True,
        allow_rollup_hdrs=True,
        storage=api.StorageType.FILE,
        num_replicas=bus.options.streams.replicas,
        allow_direct=True,
    )
    await streams.ensure(bus.jetstream, config, f"the key-value bucket {PLACES}")
