"""The data that an earlier writer of an instrument stored on the bus."""

from __future__ import annotations

import logging

from mdstream.bus import MD_STATE, Bus, subject
from mdstream.bus.payloads import snap_number
from mdstream.errors import PayloadError
from mdstream.model import InstrumentId

log = logging.getLogger("mdstream.feed")


async def stored_epoch(bus: Bus, instrument: InstrumentId) -> int:
    """The epoch of the stored ``snap``; 0 if there is none or it cannot be read. Raises BusError."""
    payload = await bus.last(MD_STATE, subject(instrument, "snap"))
    if payload is None:
        return 0
    try:
        return snap_number(payload)[0]
    except PayloadError as error:
        log.warning("%s: the stored snap is replaced: %s", instrument, error)
        return 0
