"""Keyed state on the bus: the log of changes of each map, and whole maps from time to time, so that a reader need not read all changes.

``map.<topic>`` of ``MD_MAPS`` is the log; a message is one change, see ``mdstream.maps``. A whole map is stored as pages: the first on
``mapsnap.head.<topic>``, where it replaces the one before it, the others before that on ``mapsnap.page.<seq>.<page>.<topic>``. So a reader that has
a head finds its pages, until some time after the next head. Presence is the same in ``MD_PRESENCE``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

import nats.errors
import nats.js.errors

from mdstream.bus import map_streams, streams
from mdstream.bus.map_streams import MAPS, PRESENCE, MapKind
from mdstream.errors import BusConflict, BusError, BusUnavailable
from mdstream.maps import Change, MapState, encode_change, pages_of

if TYPE_CHECKING:
    from mdstream.bus.connection import Bus

__all__ = [
    "MAPS",
    "PRESENCE",
    "MapKind",
    "Put",
    "ensure_maps",
    "forget_changes",
    "put_change",
    "read_map",
    "write_map",
]

PAGE_BYTES: Final = 512 * 1024
"""Of a stored page; less where the server takes less."""
MOST_PAGES: Final = 1_024
_EXPECTED = "Nats-Expected-Last-Subject-Sequence"
_MSG_ID = "Nats-Msg-Id"
_ROLLUP = {"Nats-Rollup": "sub"}


class Put(NamedTuple):
    """A stored change: its number; and whether it had been stored before, under the same ``id``."""

    seq: int
    is_duplicate: bool


async def ensure_maps(bus: Bus, kind: MapKind) -> int:
    """Creates the stream if it does not exist; returns its epoch: when it was created, in µs. Raises BusError, BusUnavailable."""
    try:
        return await map_streams.ensure(bus.jetstream, bus.options.streams, kind)
    except (nats.errors.Error, TimeoutError) as error:
        streams.explain(error, f"stream {kind.stream} does not exist and cannot be created")


async def put_change(
    bus: Bus, kind: MapKind, topic: str, change: Change, *, id: str | None = None, timeout_s: float
) -> Put:
    """Stores a change. It is in the log then, which says nothing of what it does. Raises BusError, BusUnavailable."""
    headers = None if id is None else {_MSG_ID: id}
    subject = kind.log(topic)
    try:
        stored = await bus.jetstream.publish(
            subject, encode_change(change), timeout=timeout_s, stream=kind.stream, headers=headers
        )
    except (nats.errors.Error, TimeoutError) as error:
        streams.explain(error, f"{subject} cannot be stored in {kind.stream}")
    return Put(stored.seq, bool(stored.duplicate))


# ---- whole maps


async def read_map(bus: Bus, kind: MapKind, topic: str, state: MapState) -> int:
    """Loads the newest whole map into ``state``, which stays empty if there is none. Returns the number in the stream of its head, 0 for
    none. Raises BusError, BusUnavailable; also where pages are missing because a newer one has come: try again."""
    head = await bus.last_stored(kind.stream, kind.head(topic))
    if head is None:
        return 0
    try:
        seq, pages = pages_of(head.payload)
        if not 1 <= pages <= MOST_PAGES:
            raise ValueError(f"it has {pages} pages")
        found = [head.payload]
        for number in range(1, pages):
            page = await bus.last_stored(kind.stream, kind.page(topic, seq, number))
            if page is None:
                raise BusUnavailable(f"a page of {kind.head(topic)} is gone; a newer one has come")
            found.append(page.payload)
        state.load(found)
    except ValueError as error:
        raise BusError(
            f"what {kind.stream} holds on {kind.head(topic)} cannot be read ({error}); `nats stream purge {kind.stream} --subject "
            f"{kind.head(topic)}` removes it, and the log is read instead"
        ) from None
    return head.stream_seq


async def write_map(bus: Bus, kind: MapKind, topic: str, state: MapState, *, expected_seq: int) -> int:
    """Stores the whole map in place of the head with the number ``expected_seq``; returns the number of its own.

    Raises BusConflict if another one is there, BusError, BusUnavailable.
    """
    seq = state.seq
    head, *others = state.pages(min(PAGE_BYTES, bus.max_payload_bytes // 2))
    for number, page in enumerate(others, 1):
        await _store(bus, kind, kind.page(topic, seq, number), page, dict(_ROLLUP))
    try:
        return await _store(bus, kind, kind.head(topic), head, {_EXPECTED: str(expected_seq), **_ROLLUP})
    except BusConflict:
        if others:
            await _purge(bus, kind, {"filter": kind.pages(topic, seq)})
        raise


async def forget_changes(bus: Bus, kind: MapKind, topic: str, before_seq: int, pages_of_seq: int) -> None:
    """Removes the changes before a number, and the pages of an old map: newer ones have them in. Raises BusError, BusUnavailable."""
    await _purge(bus, kind, {"filter": kind.log(topic), "seq": before_seq})
    if pages_of_seq:
        await _purge(bus, kind, {"filter": kind.pages(topic, pages_of_seq)})


async def _store(bus: Bus, kind: MapKind, subject: str, payload: bytes, headers: dict[str, str]) -> int:
    try:
        stored = await bus.jetstream.publish(subject, payload, stream=kind.stream, headers=headers)
    except (nats.errors.Error, TimeoutError) as error:
        streams.explain(error, f"{subject} cannot be stored in {kind.stream}")
    return stored.seq


async def _purge(bus: Bus, kind: MapKind, what: dict[str, object]) -> None:
    try:
        await map_streams.purge(bus.jetstream, kind.stream, what)
    except (nats.errors.Error, TimeoutError) as error:
        streams.explain(error, f"old messages of {kind.stream} cannot be removed")
