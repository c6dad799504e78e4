"""What an earlier writer of an instrument left on the bus."""

from __future__ import annotations

import logging

import msgpack

from mdstream.bus import Bus, subject
from mdstream.model import InstrumentId

log = logging.getLogger("mdstream.feed")


async def stored_epoch(bus: Bus, instrument: InstrumentId) -> int:
    """The epoch of the newest stored ``snap``; 0 if there is none."""
    payload = await bus.last("MD_STATE", subject(instrument, "snap"))
    return 0 if payload is None else epoch_of(instrument, payload)


def epoch_of(instrument: InstrumentId, snap: bytes) -> int:
    """The epoch that a ``snap`` payload names; 0, and a warning, if it is none."""
    try:
        kind, epoch, *_ = msgpack.unpackb(snap)
        if kind != 2 or not isinstance(epoch, int):
            raise ValueError(f"it begins with {kind!r}, {epoch!r}")
        return epoch
    except (ValueError, TypeError, msgpack.UnpackException) as error:
        log.warning("%s: the stored snap is no snapshot (%s); it is replaced", instrument, error)
        return 0
