"""Subjects that are nearly right: over-encoded or not encoded, a lower-case venue, another separator in the symbol."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from typing import NamedTuple
from urllib.parse import quote, unquote

import nats.errors
from nats.js import JetStreamContext

from mdstream.bus.streams import MD_STATE
from mdstream.bus.subjects import STREAMS, subject
from mdstream.model import InstrumentId
from mdstream.printable import printable

COLON = "%3A"
"""How a colon within a symbol is written: an instrument has one, between venue and symbol."""
SHOWN = 3
"""Most names in a hint."""
MOST_MESSAGES = 30_000
"""In ``MD_STATE``, which has three of each instrument: beyond it there are no hints. The answers are read in one go."""
SLICE = 50
"""Names that are compared before others have their turn of the loop."""

_SUBSCRIBABLE = re.compile(r"[^\x00-\x20*>]+")
_NOT_ALIKE = re.compile(r"[\W_]+")


class Meant(NamedTuple):
    """What a subject is about; ``said`` says what is wrong with it, "" where it is right."""

    instrument: InstrumentId
    stream: str
    said: str


def meant(name: str) -> Meant | None:
    """The instrument and stream that a subject was meant for; None if nobody can tell."""
    tokens = name.split(".")
    if len(tokens) < 4 or tokens[0].lower() != "md" or not all(tokens):
        return None
    symbol = unquote(".".join(tokens[2:-1]))
    instrument = InstrumentId(unquote(tokens[1]).upper(), symbol.replace(":", COLON))
    stream = tokens[-1].lower()
    if stream not in STREAMS:
        return Meant(instrument, "", f"stream {tokens[-1]!r} is none of {', '.join(STREAMS)}")
    try:
        InstrumentId.parse(str(instrument))
    except ValueError as error:
        return Meant(instrument, stream, str(error))
    right = subject(instrument, stream)
    why = f": a colon in a symbol is written {COLON}" if ":" in symbol else ""
    return Meant(instrument, stream, "" if name == right else f"the right subject is {right}{why}")


def wrong_spellings(instrument: InstrumentId) -> list[str]:
    """Wildcards of subjects on which this instrument may come by mistake."""
    venue, symbol = instrument.venue, instrument.symbol
    encoded = quote(symbol, safe="")
    lower_hex = re.sub("%[0-9A-F]{2}", lambda found: found[0].lower(), subject(instrument, "*").split(".")[2])
    right = subject(instrument, "*").split(".")[2]
    symbols = dict.fromkeys((right, symbol, encoded, lower_hex, symbol.replace(COLON, ":")))
    names = [f"md.{v}.{s}.*" for v in (venue, venue.lower()) for s in symbols if _SUBSCRIBABLE.fullmatch(s)]
    return [name for name in dict.fromkeys(names) if name != subject(instrument, "*")]


async def near(
    jetstream: JetStreamContext,
    instrument: InstrumentId,
    deadline_s: float,
    may_see: Callable[[str], bool] = lambda _: True,
) -> str:
    """A hint from the subjects that ``MD_STATE`` has of this venue and of this symbol; "" if they are too many, or it does not answer in
    time. What else runs in this loop has its turns meanwhile, however many instruments the venue has."""
    try:
        async with asyncio.timeout(deadline_s):
            subjects = await _subjects_near(jetstream, instrument)
    except (nats.errors.Error, TimeoutError):
        return ""
    names: set[str] = set()
    for number, each in enumerate(subjects, 1):
        names.add(_alike(instrument, each, may_see))
        if number % SLICE == 0:
            await asyncio.sleep(0)
    found = sorted(names - {""})
    return f"; nearly the same on the bus: {printable(', '.join(found[:SHOWN]))}" if found else ""


async def _subjects_near(jetstream: JetStreamContext, instrument: InstrumentId) -> list[str]:
    _, venue, symbol, _ = subject(instrument, "ref").split(".")
    state = (await jetstream.stream_info(MD_STATE)).state
    if state.messages > MOST_MESSAGES:
        return []
    filters = (f"md.{venue}.*.ref", f"md.*.{symbol}.ref")
    answers = [await jetstream.stream_info(MD_STATE, subjects_filter=each) for each in filters]
    return [name for answer in answers for name in answer.state.subjects or {}]


def _alike(instrument: InstrumentId, name: str, may_see: Callable[[str], bool]) -> str:
    """How to name the instrument of this subject, if it is nearly the same."""
    other = meant(name)
    if other is None or (other.instrument == instrument and not other.said):
        return ""
    if not may_see(str(other.instrument)):
        return ""
    venues = _letters(instrument.venue), _letters(other.instrument.venue)
    symbol = _letters(instrument.symbol)
    if not symbol or symbol != _letters(other.instrument.symbol):
        return ""
    if not venues[0].startswith(venues[1]) and not venues[1].startswith(venues[0]):
        return ""
    return str(other.instrument) if not other.said else f"{name} ({other.said})"


def _letters(text: str) -> str:
    return _NOT_ALIKE.sub("", text).lower()
