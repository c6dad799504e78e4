"""Encoders, packers, checksum and decimals against the public libraries, for any numbers and texts."""

from __future__ import annotations

import json
import runpy
import zlib
from decimal import Decimal, localcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgpack
from hypothesis import given, settings
from hypothesis import strategies as st

from mdstream._core.base.decimals import format_decimal, parse_levels, ticks_of, to_integer
from mdstream._core.codec import encode
from mdstream._core.codec.feed_encoder import pack_book, pack_snap, pack_trade
from mdstream._core.orderbook.checksum import crc32_of, crc_of
from mdstream.model import MAX_EXPONENT, MAX_NUMBER

REFERENCE = SimpleNamespace(**runpy.run_path(str(Path(__file__).parents[1] / "vectors" / "reference.py")))

settings.register_profile("no-deadline", deadline=None)
settings.load_profile("no-deadline")


def integers(low: int, high: int) -> st.SearchStrategy[int]:
    """Numbers with an even spread of lengths, in bits and in decimal digits, not of values."""
    bits = st.integers(0, 64).flatmap(lambda n: st.integers(0, 2**n))
    digits = st.builds(lambda n, near: 10**n + near, st.integers(0, 19), st.integers(-1, 1))
    either = st.one_of(bits, digits)
    signed = (
        st.builds(lambda number, sign: number * sign, either, st.sampled_from((1, -1))) if low < 0 else either
    )
    return signed.map(lambda number: min(max(number, low), high))


INT64 = integers(-(2**63), 2**63 - 1)
UINT64 = integers(0, 2**64 - 1)
UINT32 = integers(0, 2**32 - 1)
NUMBERS = integers(-MAX_NUMBER, MAX_NUMBER)
EXPONENTS = st.one_of(st.sampled_from((-2, -8, 0)), st.integers(-MAX_EXPONENT, MAX_EXPONENT))
SCALES = st.tuples(EXPONENTS, EXPONENTS)
LEVELS = st.lists(st.tuples(INT64, INT64), max_size=20).map(lambda pairs: [n for pair in pairs for n in pair])
TEXT_IDS = st.text(max_size=31).filter(lambda text: len(text.encode()) <= 126)
IDS = st.one_of(integers(-(2**63), 2**64 - 1), TEXT_IDS)
QUOTES = st.one_of(st.none(), st.tuples(INT64, INT64.filter(bool)))


def assert_both(kind: str, fields: dict[str, Any], scale: tuple[int, int], make: Any) -> None:
    text, packed = REFERENCE.DATA[kind](fields, *scale)
    expected = json.dumps(text, separators=(",", ":"), ensure_ascii=False)
    assert make(encode.JSON) == expected.encode()
    assert make(encode.MSGPACK) == msgpack.packb(packed)


@given(UINT32, UINT64, UINT64, UINT64, LEVELS, LEVELS, UINT32, SCALES)
def test_delta(
    sub: int, first: int, last: int, ts: int, bids: list[int], asks: list[int], crc: int, scale: Any
) -> None:
    fields = {"sub": sub, "first": first, "last": last, "ts": ts, "bids": bids, "asks": asks, "crc": crc}
    assert_both("delta", fields, scale, lambda form: encode.delta(form, *fields.values(), *scale))


@given(UINT32, UINT64, UINT64, UINT64, LEVELS, LEVELS, UINT32, st.data(), SCALES)
def test_snapshot(
    sub: int,
    epoch: int,
    seq: int,
    ts: int,
    bids: list[int],
    asks: list[int],
    crc: int,
    data: st.DataObject,
    scale: Any,
) -> None:
    reason = data.draw(st.sampled_from(("subscribe", "recover", "epoch", "slow", "reload")))
    fields = {
        "sub": sub,
        "epoch": epoch,
        "seq": seq,
        "ts": ts,
        "bids": bids,
        "asks": asks,
        "crc": crc,
        "reason": reason,
    }
    assert_both("snapshot", fields, scale, lambda form: encode.snapshot(form, *fields.values(), *scale))


TRADES = st.lists(st.tuples(UINT64, INT64, INT64, st.sampled_from((0, 1, 2)), IDS), min_size=1, max_size=20)


@given(UINT32, UINT64, integers(1, 2**63), TRADES, SCALES)
def test_trades(sub: int, epoch: int, first: int, trades: list[Any], scale: Any) -> None:
    sides = (None, "buy", "sell")
    numbered = [[first + i, *trade] for i, trade in enumerate(trades)]
    fields = {"sub": sub, "epoch": epoch, "first": first, "last": first + len(trades) - 1, "trades": numbered}
    entries = [(ts, ticks, lots, sides[side], id) for ts, ticks, lots, side, id in trades]
    assert_both("trades", fields, scale, lambda form: encode.trades(form, sub, epoch, first, entries, *scale))


@given(UINT32, UINT64, UINT64, UINT64, QUOTES, QUOTES, QUOTES, SCALES)
def test_ticker(sub: int, epoch: int, seq: int, ts: int, bid: Any, ask: Any, last: Any, scale: Any) -> None:
    fields = {"sub": sub, "epoch": epoch, "seq": seq, "ts": ts, "bid": bid, "ask": ask, "last": last}
    assert_both("ticker", fields, scale, lambda form: encode.ticker(form, *fields.values(), *scale))


@given(UINT64, st.lists(st.tuples(UINT32, integers(0, MAX_NUMBER)), max_size=20))
def test_heartbeat(time: int, seqs: list[tuple[int, int]]) -> None:
    fields = {"time": time, "seqs": seqs}
    assert_both("heartbeat", fields, (0, 0), lambda form: encode.heartbeat(form, time, seqs))


@given(UINT64, UINT64, UINT64, UINT64, LEVELS, LEVELS)
def test_pack_book_and_snap(
    epoch: int, first: int, last: int, ts: int, bids: list[int], asks: list[int]
) -> None:
    assert pack_book(epoch, first, last, ts, bids, asks) == msgpack.packb(
        [1, epoch, first, last, ts, bids, asks]
    )
    assert pack_snap(epoch, last, ts, bids, asks) == msgpack.packb([2, epoch, last, ts, bids, asks])


@given(UINT64, UINT64, UINT64, INT64, INT64, st.sampled_from((0, 1, 2)), IDS)
def test_pack_trade(epoch: int, seq: int, ts: int, ticks: int, lots: int, side: int, id: int | str) -> None:
    assert pack_trade(epoch, seq, ts, ticks, lots, side, id) == msgpack.packb(
        [3, epoch, seq, ts, ticks, lots, side, id]
    )


@given(LEVELS, LEVELS)
def test_checksum(bids: list[int], asks: list[int]) -> None:
    assert crc_of(bids, asks) == zlib.crc32(REFERENCE.checksum_text(bids, asks).encode())


@given(st.binary(max_size=400), st.booleans())
def test_crc32(data: bytes, tables: bool) -> None:
    assert crc32_of(data, tables) == zlib.crc32(data)


@given(NUMBERS, EXPONENTS, st.integers(0, 4))
def test_decimal_text_goes_both_ways(value: int, exp: int, zeros: int) -> None:
    text = format_decimal(value, exp)
    assert text == REFERENCE.decimal_text(value, exp)
    more = text + "0" * zeros if "." in text else text
    assert ticks_of(more, exp) == to_integer(Decimal(more), exp) == value


def exact_integer(value: Decimal, exp: int) -> int | None:
    """value ÷ 10^exp; None if that is not an integer or is out of range. The decimal context is precise enough not to round."""
    with localcontext(prec=200, Emax=10**6, Emin=-(10**6)):
        scaled = value.scaleb(-exp)
        return int(scaled) if scaled == scaled.to_integral_value() and abs(scaled) <= MAX_NUMBER else None


DECIMALS = st.builds(lambda number, exp: Decimal(number).scaleb(exp), NUMBERS, st.integers(-30, 30))
TEXTS = st.from_regex(r"-?[0-9]{1,20}(\.[0-9]{1,20})?", fullmatch=True)


@given(st.one_of(DECIMALS, TEXTS.map(Decimal)), EXPONENTS)
def test_a_decimal_is_converted_exactly_or_refused(value: Decimal, exp: int) -> None:
    expected = exact_integer(value, exp)
    for take, form in ((to_integer, value), (ticks_of, f"{value:f}")):
        try:
            converted = take(form, exp)
        except ValueError:
            converted = None
        assert converted == expected, (take, form)


@given(st.text(alphabet="0123456789.-+eE_ nNaAiIfF\u0663\x00", max_size=12), EXPONENTS)
def test_a_text_is_a_decimal_or_refused(text: str, exp: int) -> None:
    try:
        converted = ticks_of(text, exp)
    except ValueError:
        return
    assert set(text) <= set("0123456789.-")
    assert converted == exact_integer(Decimal(text), exp)


@given(st.integers(), EXPONENTS)
def test_an_integer_is_converted_exactly_or_refused(value: int, exp: int) -> None:
    expected = exact_integer(Decimal(value), exp) if abs(value) < 10**60 else None
    try:
        converted = to_integer(value, exp)
    except ValueError:
        converted = None
    assert converted == expected


@given(st.lists(st.tuples(NUMBERS, NUMBERS), max_size=20), SCALES)
def test_levels_of_text_are_their_integers(pairs: list[tuple[int, int]], scale: tuple[int, int]) -> None:
    texts = [[format_decimal(number, exp) for number, exp in zip(pair, scale, strict=True)] for pair in pairs]
    assert parse_levels(texts, *scale).tolist() == [number for pair in pairs for number in pair]
