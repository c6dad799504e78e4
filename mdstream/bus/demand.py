"""Which instruments each gateway serves, in the stream ``MD_DEMAND``: one that starts opens them before it takes clients.

A message is JSON: ``{"version": 1, "instruments": ["SIM:BTC-USD", …]}``, those with most subscribers first. Each process has a subject of
its own, of which the stream keeps the newest message for an hour. What comes is untrusted, and read within bounds.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import aclosing, suppress
from itertools import zip_longest
from typing import TYPE_CHECKING, Final

import msgspec
import nats.errors
import nats.js.errors
from msgspec import Struct

from mdstream.bus import streams
from mdstream.bus.log import Since, replay
from mdstream.bus.streams import DEMAND_SUBJECT, MD_DEMAND, MD_STATE
from mdstream.bus.subjects import parse_subject
from mdstream.model import InstrumentId

if TYPE_CHECKING:
    from mdstream.bus.connection import Bus

VERSION: Final = 1
MOST_INSTRUMENTS: Final = 1_000
"""In one message."""
MOST_BYTES: Final = 131_072
MOST_MESSAGES: Final = 256


class Demand(Struct, frozen=True):
    """A message."""

    instruments: list[str]
    version: int = VERSION


def encode_demand(instruments: Iterable[str]) -> bytes:
    """The first so many of them as fit."""
    names: list[str] = []
    room = MOST_BYTES - 64
    for name in instruments:
        room -= len(name.encode()) + 3
        if room < 0 or len(names) == MOST_INSTRUMENTS:
            break
        names.append(name)
    return msgspec.json.encode(Demand(names))


def decode_demand(payload: bytes) -> list[str]:
    """Names of instruments; none of what is no such message."""
    if len(payload) > MOST_BYTES:
        return []
    try:
        found = msgspec.json.decode(payload, type=Demand)
    except (msgspec.DecodeError, RecursionError):
        return []
    names = found.instruments[:MOST_INSTRUMENTS] if found.version == VERSION else []
    return [name for name in names if _is_instrument(name)]


async def put_demand(bus: Bus, process: str, payload: bytes) -> None:
    """Stores a message; the stream is made by the first. Raises BusError, BusUnavailable."""
    try:
        await streams.ensure_demand_stream(bus.jetstream, bus.options.streams)
        await bus.jetstream.publish(f"{DEMAND_SUBJECT}.{process}", payload)
    except (nats.errors.Error, TimeoutError) as error:
        streams.explain(error, f"what is served cannot be stored in {MD_DEMAND}")


async def read_demand(bus: Bus) -> list[str]:
    """The instruments that gateways served lately, each once: the first of each message, then the second of each, and so on.

    Nothing where there is no stream. Raises BusError, BusUnavailable.
    """
    lists: list[list[str]] = []
    try:
        if not await _exists(bus):
            return []
    except (nats.errors.Error, TimeoutError) as error:
        streams.explain(error, f"{MD_DEMAND} cannot be read")
    stored = replay(
        bus.client,
        bus.jetstream,
        f"{DEMAND_SUBJECT}.*",
        Since(),
        bus.options.replay_silence_s,
        stream=MD_DEMAND,
    )
    async with aclosing(stored):
        async for payload in stored:
            lists.append(decode_demand(payload))
            if len(lists) > MOST_MESSAGES:
                del lists[0]
    return list(dict.fromkeys(name for rank in zip_longest(*lists) for name in rank if name))


async def announced(bus: Bus) -> list[str]:
    """Every instrument that has a stored ``ref``. Raises BusError, BusUnavailable."""
    try:
        info = await bus.jetstream.stream_info(MD_STATE, subjects_filter="md.*.*.ref")
    except (nats.errors.Error, TimeoutError) as error:
        streams.explain(error, f"{MD_STATE} does not tell what is announced")
    names: list[str] = []
    for each in info.state.subjects or {}:
        with suppress(ValueError):
            names.append(str(parse_subject(each)[0]))
    return sorted(names)


async def _exists(bus: Bus) -> bool:
    with suppress(nats.js.errors.NotFoundError):
        await bus.jetstream.stream_info(MD_DEMAND)
        return True
    return False


def _is_instrument(name: str) -> bool:
    try:
        InstrumentId.parse(name)
    except ValueError:
        return False
    return True
