"""Keyed state on the bus: the log of changes of each map, and whole maps from time to time, so that a reader need not read all changes.

``map.<topic>`` of ``MD_MAPS`` is the log; a message is one change, see ``mdstream.maps``. A whole map is stored as pages: the first on
``mapsnap.head.<topic>``, where it replaces the one before it, the others before that on ``mapsnap.page.<seq>.<page>.<topic>``. So a
reader that has a head finds its pages, unless the next head has come meanwhile. Presence is the same in ``MD_PRESENCE``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

import nats.errors

from mdstream.bus import map_streams, streams
from mdstream.bus.map_streams import MAPS, PRESENCE, Found, MapKind
from mdstream.errors import BusConflict, BusError, BusUnavailable
from mdstream.maps import Change, MapState, encode_change, pages_of

if TYPE_CHECKING:
    from mdstream.bus.connection import Bus

__all__ = [
    "MAPS",
    "NO_WHOLE",
    "PRESENCE",
    "MapKind",
    "Put",
    "Whole",
    "ensure_maps",
    "forget_changes",
    "forget_pages",
    "put_change",
    "read_map",
    "whole_of",
    "write_map",
]

PAGE_BYTES: Final = 128 * 1024
"""Of a stored page; less where the server takes less."""
MOST_PAGES: Final = 1_024
_EXPECTED = "Nats-Expected-Last-Subject-Sequence"
_MSG_ID = "Nats-Msg-Id"
_ROLLUP = {"Nats-Rollup": "sub"}


class Whole(NamedTuple):
    """A stored whole map: the number of its head in the stream, up to which change it goes, how many pages it has. All 0 for none."""

    stream_seq: int
    seq: int
    pages: int


NO_WHOLE: Final = Whole(0, 0, 0)


class Put(NamedTuple):
    """A stored change: its number; and whether it had been stored before, under the same ``id``."""

    seq: int
    is_duplicate: bool


async def ensure_maps(bus: Bus, kind: MapKind) -> Found:
    """Creates the stream if it does not exist. Raises BusError, BusUnavailable."""
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


async def whole_of(bus: Bus, kind: MapKind, topic: str) -> Whole:
    """The newest whole map that is stored. Raises BusError, BusUnavailable."""
    head = await bus.last_stored(kind.stream, kind.head(topic))
    return NO_WHOLE if head is None else Whole(head.stream_seq, *_pages_of(kind, topic, head.payload))


async def read_map(bus: Bus, kind: MapKind, topic: str, state: MapState) -> Whole:
    """Loads the newest whole map into ``state``, which stays empty if there is none. Raises BusError, BusUnavailable; also where pages
    are missing because a newer one has come: try again."""
    head = await bus.last_stored(kind.stream, kind.head(topic))
    if head is None:  # a replica may lag behind, and the log no longer has what came before the whole map
        head = await bus.newest_stored(kind.stream, kind.head(topic))
    if head is None:
        return NO_WHOLE
    seq, pages = _pages_of(kind, topic, head.payload)
    try:
        state.load(head.payload, 0)
        for number in range(1, pages):
            page = await bus.last_stored(kind.stream, kind.page(topic, seq, number))
            if page is None:
                raise BusUnavailable(f"a page of {kind.head(topic)} is gone; a newer one has come")
            state.load(page.payload, number)
    except ValueError as error:
        raise _unreadable(kind, topic, error) from None
    return Whole(head.stream_seq, seq, pages)


def _pages_of(kind: MapKind, topic: str, head: bytes) -> tuple[int, int]:
    try:
        seq, pages = pages_of(head)
        if not 1 <= pages <= MOST_PAGES:
            raise ValueError(f"it has {pages} pages")
    except ValueError as error:
        raise _unreadable(kind, topic, error) from None
    return seq, pages


def _unreadable(kind: MapKind, topic: str, error: ValueError) -> BusError:
    return BusError(
        f"what {kind.stream} holds on {kind.head(topic)} cannot be read ({error}); `nats stream purge {kind.stream} --subject "
        f"{kind.head(topic)}` removes it, and the log is read instead"
    )


async def write_map(bus: Bus, kind: MapKind, topic: str, state: MapState, *, expected_seq: int) -> Whole:
    """Stores the whole map as it is now in place of the head with the number ``expected_seq``.

    Raises BusConflict if another one is there, BusError, BusUnavailable.
    """
    whole = state.whole(min(PAGE_BYTES, bus.max_payload_bytes // 2))
    for number in range(1, len(whole)):
        await _store(bus, kind, kind.page(topic, whole.seq, number), whole.page(number), dict(_ROLLUP))
    headers = {_EXPECTED: str(expected_seq), **_ROLLUP}
    try:
        head_seq = await _store(bus, kind, kind.head(topic), whole.page(0), headers)
    except BusConflict:
        if len(whole) > 1:
            await _purge(bus, kind, {"filter": kind.pages(topic, whole.seq)})
        raise
    return Whole(head_seq, whole.seq, len(whole))


async def forget_changes(bus: Bus, kind: MapKind, topic: str, before_seq: int) -> None:
    """Removes the changes before a number: a whole map has them in. Raises BusError, BusUnavailable."""
    await _purge(bus, kind, {"filter": kind.log(topic), "seq": before_seq})


async def forget_pages(bus: Bus, kind: MapKind, topic: str, whole: Whole) -> None:
    """Removes the pages of a whole map that was replaced. Raises BusError, BusUnavailable."""
    if whole.pages > 1:
        await _purge(bus, kind, {"filter": kind.pages(topic, whole.seq)})


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
