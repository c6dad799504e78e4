"""Candles on the bus: the stream ``MD_CANDLES``, how its messages look, how to store and how to read them.

``candle.<venue>.<symbol>.<span>`` holds closed candles: MessagePack arrays in the order of ``Candle``, one or more in a message, oldest
first. A corrected candle is stored again, with a greater ``rev``. ``stats.<venue>.<symbol>`` holds one message, ``Stats``: statistics of
the last 24 hours, and where the writer of candles stands.

What the stream has stored it publishes again below ``LIVE``. Read there what comes live: two writers may race, and those who subscribe
to the subjects themselves also see what the stream refused.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from contextlib import aclosing, suppress
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeVar

import msgpack
import msgspec
import nats.errors
import nats.js.errors

from mdstream.bus import streams
from mdstream.bus.log import Since, replay
from mdstream.bus.streams import CANDLE_SUBJECT, LIVE_CANDLES_SUBJECT, MD_CANDLES, STATS_SUBJECT
from mdstream.bus.subjects import encode_token, parse_subject
from mdstream.candle import SPANS, Candle
from mdstream.errors import BusError
from mdstream.model import MAX_EXPONENT, MAX_NUMBER, InstrumentId
from mdstream.wording import explained, shown

if TYPE_CHECKING:
    from mdstream.bus.connection import Bus

T = TypeVar("T")

KIND: Final = 6
_EXPECTED = "Nats-Expected-Last-Subject-Sequence"
_ROLLUP = {"Nats-Rollup": "sub"}
_PREVIOUS: Final = b"nats-last-sequence:"
_FIELDS: Final = len(Candle._fields)
_SPANS: Final = len(SPANS)


class Summary(NamedTuple):
    """Statistics of the last 24 hours, in the scale that stands beside them.

    ``ts_us`` is when the window ends, ``since_us`` when the minute of its oldest trade begins (0: it has no trade, and no prices).
    ``flags`` are those of candles.
    """

    ts_us: int
    open: int | None
    high: int | None
    low: int | None
    volume: int
    count: int  # type: ignore[assignment]  # a tuple has a method of this name
    since_us: int
    price_exp: int
    size_exp: int
    flags: int


class Stats(NamedTuple):
    """A message on ``stats.<venue>.<symbol>``: all trades up to number ``seq`` of ``epoch`` are in it.

    ``traded_us`` is the time of that trade. ``newest`` has the newest candle of each span, None where there is none yet; ``changed``
    has the closed candles that this message changed, each with the index of its span. They are stored on their own subjects right after it.
    """

    epoch: int
    seq: int
    traded_us: int
    summary: Summary
    newest: tuple[Candle | None, ...]
    changed: tuple[tuple[int, Candle], ...]


class StoredStats(NamedTuple):
    """A ``Stats``, its number in the stream, and when the server stored it."""

    stats: Stats
    stream_seq: int
    stored_us: int


# ---- subjects


def candle_subject(instrument: InstrumentId, span: str) -> str:
    return f"{CANDLE_SUBJECT}.{_tokens(instrument)}.{span}"


def stats_subject(instrument: InstrumentId) -> str:
    return f"{STATS_SUBJECT}.{_tokens(instrument)}"


def live_stats_subject(instrument: InstrumentId) -> str:
    """Where ``Stats`` come once they are stored; ``LIVE_STATS`` is the wildcard for all instruments."""
    return f"{LIVE_CANDLES_SUBJECT}.{stats_subject(instrument)}"


LIVE_STATS: Final = f"{LIVE_CANDLES_SUBJECT}.{STATS_SUBJECT}.*.*"


def stats_instrument(name: str) -> InstrumentId:
    """The instrument of a subject of ``Stats``, live or stored. Raises ValueError."""
    venue, symbol = name.removeprefix(f"{LIVE_CANDLES_SUBJECT}.").removeprefix(f"{STATS_SUBJECT}.").split(".")
    return parse_subject(f"md.{venue}.{symbol}.trade")[0]


def _tokens(instrument: InstrumentId) -> str:
    return f"{encode_token(instrument.venue, 'venue')}.{encode_token(instrument.symbol, 'symbol')}"


def previous_seq(headers: bytes | None) -> int | None:
    """The number in the stream of the message on this subject before a live one."""
    for line in (headers or b"").split(b"\r\n"):
        if line.lower().startswith(_PREVIOUS):
            with suppress(ValueError):
                return int(line[len(_PREVIOUS) :])
    return None


def stream_seq(headers: bytes | None) -> int | None:
    """The number in the stream of a live message."""
    for line in (headers or b"").split(b"\r\n"):
        if line.lower().startswith(b"nats-sequence:"):
            with suppress(ValueError):
                return int(line[14:])
    return None


# ---- payloads


def encode_candles(candles: Iterable[Candle]) -> bytes:
    return b"".join(map(msgpack.packb, candles))


def decode_candles(payload: bytes) -> list[Candle]:
    """Raises ValueError for what is no message of candles."""
    return [_candle(row) for row in _values(payload)]


def encode_stats(stats: Stats) -> bytes:
    value: list[Any] = [KIND, stats.epoch, *stats.summary, stats.seq, stats.traded_us, stats.newest]
    value.append([[span, *candle] for span, candle in stats.changed])
    return bytes(msgpack.packb(value))


class _Told(msgspec.Struct, array_like=True, frozen=True):
    """A message of statistics; the candles in it are read only where they are wanted."""

    kind: int
    epoch: int
    ts_us: int
    open: int | None
    high: int | None
    low: int | None
    volume: int
    count: int
    since_us: int
    price_exp: int
    size_exp: int
    flags: int = 0
    seq: int = 0
    traded_us: int = 0
    newest: msgspec.Raw = msgspec.Raw()
    changed: msgspec.Raw = msgspec.Raw()


_decode = msgspec.msgpack.Decoder(_Told).decode
_decode_rows = msgspec.msgpack.Decoder(list[Any]).decode


def decode_summary(payload: bytes) -> Summary:
    """Raises ValueError for what is no such message; the candles in it are not looked at."""
    return _summary(_told(payload))


def decode_stats(payload: bytes) -> Stats:
    """Raises ValueError for what is no such message. Values beyond those that are known are left out."""
    told = _told(payload)
    _check_numbers(told.epoch, told.seq, told.traded_us)
    newest, changed = (_read(_decode_rows, rows) for rows in (told.newest, told.changed))
    if len(newest) != _SPANS or any(not 0 <= row[0] < _SPANS for row in changed):
        raise ValueError(f"a message of statistics has {_SPANS} newest candles")
    return Stats(
        told.epoch,
        told.seq,
        told.traded_us,
        _summary(told),
        tuple(None if row is None else _candle(row) for row in newest),
        tuple((row[0], _candle(row[1:])) for row in changed),
    )


def _told(payload: bytes) -> _Told:
    told = _read(_decode, payload)
    if told.kind != KIND:
        raise ValueError(f"a message of statistics begins with {KIND}")
    return told


def _read(decode: Callable[[bytes | msgspec.Raw], T], payload: bytes | msgspec.Raw) -> T:
    try:
        return decode(payload)
    except (msgspec.MsgspecError, RecursionError) as error:
        raise ValueError(f"this is no message of statistics: {explained(error)}") from None


def _summary(told: _Told) -> Summary:
    summary = Summary(*(getattr(told, name) for name in Summary._fields))
    _check_numbers(*(each for each in summary if each is not None))
    if max(abs(summary.price_exp), abs(summary.size_exp)) > MAX_EXPONENT:
        raise ValueError(f"an exponent is beyond {MAX_EXPONENT}")
    return summary


def _values(payload: bytes) -> list[list[Any]]:
    unpacker = msgpack.Unpacker(max_buffer_size=len(payload) or 1)
    unpacker.feed(payload)
    try:
        values = list(unpacker)
    except (msgpack.UnpackException, ValueError, RecursionError):
        raise ValueError("this is no MessagePack") from None
    if not values or not all(isinstance(value, list) for value in values):
        raise ValueError("a message on the subjects of candles holds arrays")
    return values


def _candle(row: Any) -> Candle:
    if not isinstance(row, list) or len(row) < _FIELDS:
        raise ValueError(f"a candle is an array of {_FIELDS} numbers")
    candle = Candle(*row[:_FIELDS])
    _check_numbers(*candle)
    if max(abs(candle.price_exp), abs(candle.size_exp)) > MAX_EXPONENT:
        raise ValueError(f"an exponent of a candle is beyond {MAX_EXPONENT}")
    return candle


def _check_numbers(*values: Any) -> None:
    for value in values:
        if type(value) is not int or abs(value) > MAX_NUMBER:
            raise ValueError(f"{shown(value)} is no whole number of at most {MAX_NUMBER}")


# ---- the stream


async def ensure_candles(bus: Bus, *, keep: int) -> None:
    """Creates ``MD_CANDLES`` if it does not exist, with ``keep`` messages of each subject at most. Raises BusError, BusUnavailable."""
    try:
        await streams.ensure_candle_stream(bus.jetstream, bus.options.streams, keep=keep)
    except (nats.errors.Error, TimeoutError) as error:
        streams.explain(error, f"stream {MD_CANDLES} does not exist and cannot be created")


async def has_candles(bus: Bus) -> bool:
    """Whether there is a stream of candles. Raises BusError, BusUnavailable."""
    try:
        await bus.jetstream.stream_info(MD_CANDLES)
    except nats.js.errors.NotFoundError:
        return False
    except (nats.errors.Error, TimeoutError) as error:
        streams.explain(error, f"{MD_CANDLES} cannot be asked for")
    return True


async def put_stats(bus: Bus, instrument: InstrumentId, stats: Stats, *, expected_seq: int) -> int:
    """Stores it in place of the one with the number ``expected_seq`` (0: there is none); returns its own.

    Raises BusConflict if another one is there, BusError, BusUnavailable.
    """
    return await _put(bus, stats_subject(instrument), encode_stats(stats), expected_seq, _ROLLUP)


async def put_candles(
    bus: Bus, instrument: InstrumentId, span: str, candles: Sequence[Candle], *, expected_seq: int
) -> int:
    """Stores closed candles after the message with the number ``expected_seq``; returns their own. Raises as ``put_stats``."""
    return await _put(bus, candle_subject(instrument, span), encode_candles(candles), expected_seq, {})


async def _put(bus: Bus, subject: str, payload: bytes, expected_seq: int, headers: dict[str, str]) -> int:
    try:
        stored = await bus.jetstream.publish(
            subject, payload, headers={_EXPECTED: str(expected_seq), **headers}, stream=MD_CANDLES
        )
    except (nats.errors.Error, TimeoutError) as error:
        streams.explain(error, f"{subject} cannot be stored in {MD_CANDLES}")
    return stored.seq


async def last_stats(bus: Bus, instrument: InstrumentId) -> StoredStats | None:
    """What is stored. Raises BusError, BusUnavailable; BusError also for what cannot be read."""
    stored = await bus.last_stored(MD_CANDLES, stats_subject(instrument))
    if stored is None:
        return None
    try:
        return StoredStats(decode_stats(stored.payload), stored.stream_seq, stored.stored_us)
    except (ValueError, TypeError) as error:
        raise BusError(
            f"what {MD_CANDLES} holds on {stats_subject(instrument)} cannot be read ({error}); "
            f"`nats stream purge {MD_CANDLES} --subject {stats_subject(instrument)}` removes it"
        ) from None


async def last_candles(bus: Bus, instrument: InstrumentId, span: str) -> tuple[int, bytes]:
    """The newest message on a subject of candles, and its number; 0 and nothing if there is none. Raises BusError, BusUnavailable."""
    stored = await bus.last_stored(MD_CANDLES, candle_subject(instrument, span))
    return (0, b"") if stored is None else (stored.stream_seq, stored.payload)


async def read_candles(bus: Bus, instrument: InstrumentId, span: str) -> dict[int, Candle]:
    """All closed candles that are stored, by their start, the newest revision of each. Raises BusError, BusUnavailable."""
    found: dict[int, Candle] = {}
    async with aclosing(_replay(bus, candle_subject(instrument, span))) as payloads:
        async for payload in payloads:
            with suppress(ValueError, TypeError):
                merge(found, decode_candles(payload))
    return found


def merge(found: dict[int, Candle], candles: Iterable[Candle]) -> None:
    """Puts candles in, where they are newer than what is there."""
    for candle in candles:
        known = found.get(candle.start_s)
        if known is None or known.rev < candle.rev:
            found[candle.start_s] = candle


def _replay(bus: Bus, subject: str) -> AsyncGenerator[bytes, None]:
    silence_s = bus.options.replay_silence_s
    return replay(bus.client, bus.jetstream, subject, Since(), silence_s, stream=MD_CANDLES)


async def stored_instruments(bus: Bus) -> list[InstrumentId]:
    """Those that have candles. Raises BusError, BusUnavailable."""
    return await _instruments(bus, MD_CANDLES, f"{STATS_SUBJECT}.*.*", stats_instrument)


async def traded_instruments(bus: Bus) -> list[InstrumentId]:
    """Those that have trades in the log. Raises BusError, BusUnavailable."""
    return await _instruments(bus, streams.MD_LOG, "md.*.*.trade", lambda name: parse_subject(name)[0])


async def _instruments(bus: Bus, stream: str, pattern: str, parse: Any) -> list[InstrumentId]:
    try:
        info = await bus.jetstream.stream_info(stream, subjects_filter=pattern)
    except (nats.errors.Error, TimeoutError) as error:
        streams.explain(error, f"{stream} does not tell what it holds")
    found: list[InstrumentId] = []
    for name in info.state.subjects or {}:
        with suppress(ValueError):
            found.append(parse(name))
    return sorted(found)
