"""What MD_STATE says of an instrument when it opens, and the epoch to begin with."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mdstream.bus.epochs import Epochs, scale
from mdstream.bus.streams import MD_STATE, Stored
from mdstream.bus.subjects import subject
from mdstream.bus.watcher import UnknownInstrument
from mdstream.errors import BusError, BusUnavailable
from mdstream.model import InstrumentId, Ref

if TYPE_CHECKING:
    from mdstream.bus.connection import Bus

logger = logging.getLogger(__name__)

STORING_S = 0.1
"""How long JetStream usually takes at most to store what was published. So long, up to twice as long, an opening waits until it asks again:
those that began together would ask together, and hold up the loop."""
ASK_S = 2.0
"""How long MD_STATE may take to answer."""


@dataclass(frozen=True, slots=True)
class Announced:
    """The newest ``ref`` and ``status`` that are stored; ``status_s``: how long ago the latter was."""

    ref: bytes | None = None
    status: bytes | None = None
    status_s: float = 0.0


async def check_known(
    bus: Bus,
    slots: asyncio.Semaphore,
    instrument: InstrumentId,
    known: Callable[[InstrumentId], Ref | None],
) -> None:
    """Raises UnknownInstrument if no ``ref`` is stored and none came live, BusError if that cannot be asked.

    Anybody may ask for names that are none: this costs two small questions, and nothing is subscribed to.
    """
    name, began_at = subject(instrument, "ref"), time.monotonic()
    for attempt in range(2):
        if known(instrument) is not None:
            return
        if attempt:
            # What was published a moment before our request may have been stored after it.
            await asyncio.sleep(STORING_S * random.uniform(1, 2))
        left_s = ASK_S - (time.monotonic() - began_at)
        async with slots, _in_time(name, max(left_s, STORING_S)):
            if await bus.last_stored(MD_STATE, name) is not None:
                return
    if known(instrument) is None:
        raise UnknownInstrument(f"{instrument} is not announced: there is no {name}")


async def ask(
    bus: Bus, slots: asyncio.Semaphore, instrument: InstrumentId, within_s: float = ASK_S
) -> Announced:
    """Raises BusError; BusUnavailable if there is no answer in time."""
    subjects = [subject(instrument, stream) for stream in ("ref", "status")]
    async with slots, _in_time(subjects[0], within_s):
        ref, status = await asyncio.gather(*(bus.last_stored(MD_STATE, name) for name in subjects))
        status_s = 0.0 if status is None else await bus.stored_s(MD_STATE, status)
    return Announced(_payload(ref), _payload(status), status_s)


@asynccontextmanager
async def _in_time(name: str, within_s: float = ASK_S) -> AsyncIterator[None]:
    try:
        async with asyncio.timeout(within_s):
            yield
    except TimeoutError:
        raise BusUnavailable(f"{MD_STATE} cannot be asked for {name}: no answer within {ASK_S:g} s") from None


def _payload(stored: Stored | None) -> bytes | None:
    return None if stored is None else stored.payload


async def announced(
    bus: Bus,
    slots: asyncio.Semaphore,
    instrument: InstrumentId,
    known: Callable[[InstrumentId], Ref | None],
) -> Announced:
    """As ``ask``, twice if need be. Nothing, where it fails and a ``ref`` came live (``known``)."""
    began_at = time.monotonic()
    try:
        stored = await ask(bus, slots, instrument)
        if stored.ref is None and known(instrument) is None:
            # What was published a moment before our request may have been stored after it.
            await asyncio.sleep(STORING_S)
            left_s = ASK_S - (time.monotonic() - began_at)
            stored = await ask(bus, slots, instrument, max(left_s, STORING_S))
    except BusError as error:
        if known(instrument) is None:
            raise
        logger.warning("%s is opened without what is stored: %s", instrument, error)
        return Announced()
    return stored


def first_epoch(
    instrument: InstrumentId, stored: Ref | None, known: Ref | None, wall_clock_us: Callable[[], int]
) -> Epochs:
    """The epoch to begin with: the smaller of the stored ``ref`` and the one that came live; the other follows once values of it come.

    Raises UnknownInstrument if there is neither, FeedError if the epoch is not plausible.
    """
    refs = [ref for ref in (known, stored) if ref is not None]
    if not refs:
        raise UnknownInstrument(f"{instrument} is not announced: there is no {subject(instrument, 'ref')}")
    # Of one epoch, the scale that was announced first is the known one, and comes first.
    refs.sort(key=lambda ref: ref.epoch)
    if refs[-1] is stored and stored.epoch > refs[0].epoch and scale(stored) != scale(refs[0]):
        del refs[0]
    epochs = Epochs(refs[0], wall_clock_us)
    for ref in refs[1:]:
        epochs.announce(ref)
    return epochs
