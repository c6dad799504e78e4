"""For any bytes, the decoder gives the same result as the msgpack library and the contract, or PayloadError."""

from __future__ import annotations

import io
import math
from typing import Any

import msgpack
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mdstream._core.codec.feed_decoder import decode_payload
from mdstream._core.fanout.instrument import Instrument
from mdstream.errors import BookError, PayloadError
from mdstream.model import MAX_NUMBER, Ref, VenueState

STREAMS = ("book", "snap", "trade", "status", "ref")
TEXT_MAX = 1024


# ---- the oracle: the msgpack library, then the rules of the contract


class Refused(Exception):
    pass


def need(condition: bool) -> None:
    if not condition:
        raise Refused


def integer(value: Any, low: int, high: int) -> int:
    need(type(value) is int and low <= value <= high)
    return int(value)


def text(value: Any, longest: int) -> str:
    need(type(value) is str and len(value.encode()) <= longest)
    return str(value)


def array(value: Any, size: int) -> list[Any]:
    need(type(value) is list and len(value) == size)
    return list(value)


def levels(value: Any, least_lots: int) -> list[int]:
    need(type(value) is list and len(value) % 2 == 0)
    lows = (-MAX_NUMBER, least_lots)
    return [integer(number, lows[i % 2], MAX_NUMBER) for i, number in enumerate(value)]


def read_book(value: Any) -> tuple[Any, ...]:
    kind, epoch, first, last, ts, bids, asks = array(value, 7)
    integer(kind, 1, 1)
    need(integer(first, 1, MAX_NUMBER) <= integer(last, 1, MAX_NUMBER))
    return (
        integer(epoch, 1, MAX_NUMBER),
        first,
        last,
        integer(ts, 0, MAX_NUMBER),
        levels(bids, 0),
        levels(asks, 0),
    )


def read_snap(value: Any) -> tuple[Any, ...]:
    kind, epoch, seq, ts, bids, asks = array(value, 6)
    integer(kind, 2, 2)
    head = integer(epoch, 1, MAX_NUMBER), integer(seq, 0, MAX_NUMBER), integer(ts, 0, MAX_NUMBER)
    return *head, levels(bids, 1), levels(asks, 1)


def read_trade(value: Any) -> tuple[Any, ...]:
    kind, epoch, seq, ts, price, size, side, trade_id = array(value, 8)
    integer(kind, 3, 3)
    head = integer(epoch, 1, MAX_NUMBER), integer(seq, 1, MAX_NUMBER), integer(ts, 0, MAX_NUMBER)
    trade = integer(price, -MAX_NUMBER, MAX_NUMBER), integer(size, 0, MAX_NUMBER), integer(side, 0, 2)
    return *head, *trade, trade_id if type(trade_id) is int else text(trade_id, 126)


def read_status(value: Any) -> tuple[Any, ...]:
    need(type(value) is list and len(value) in (5, 8))
    kind, epoch, ts, state, reason, *rest = value
    integer(kind, 5, 5)
    need(text(state, TEXT_MAX) in list(VenueState))
    reason = "" if reason is None else text(reason, TEXT_MAX)
    head = integer(epoch, 1, MAX_NUMBER), integer(ts, 0, MAX_NUMBER), VenueState(state), reason
    if not rest:
        return *head, None, None, None
    book_seq, trade_seq, heard = rest
    return *head, integer(book_seq, 0, MAX_NUMBER), integer(trade_seq, 0, MAX_NUMBER), integer(heard, 0, ts)


def check_passable(value: Any, depth: int) -> None:
    """A value that JSON can carry, and that is not too deep."""
    if type(value) is float:
        need(math.isfinite(value))
    elif type(value) in (list, dict):
        need(depth <= 8)
        for key in value if type(value) is dict else ():
            text(key, TEXT_MAX)
        for item in value.values() if type(value) is dict else value:
            check_passable(item, depth + 1)
    else:
        need(value is None or type(value) in (bool, int, str))


def read_ref(value: Any) -> Ref:
    need(type(value) is dict and {"epoch", "price_exp", "size_exp"} <= value.keys())
    known: dict[str, Any] = {name: integer(value[name], -18, 18) for name in ("price_exp", "size_exp")}
    known |= {name: integer(value[name], 1, MAX_NUMBER) for name in ("epoch", "tick", "lot") if name in value}
    known |= {"depth": integer(value["depth"], 0, MAX_NUMBER)} if "depth" in value else {}
    known |= {"name": text(value["name"], TEXT_MAX)} if "name" in value else {}
    for key in value:
        text(key, TEXT_MAX)
    extra = {
        key: item
        for key, item in value.items()
        if key not in ("epoch", "price_exp", "size_exp", "tick", "lot", "depth", "name")
    }
    check_passable(list(extra.values()), 0)
    return Ref(**known, extra=extra)


READERS = {"book": read_book, "snap": read_snap, "trade": read_trade, "status": read_status, "ref": read_ref}


def unique(items: list[tuple[Any, Any]]) -> dict[Any, Any]:
    keys = [key for key, _ in items]
    need(all(type(key) is str for key in keys) and len(set(keys)) == len(keys))
    return dict(items)


def oracle(stream: str, payload: bytes) -> list[Any] | None:
    """The values, or None if the bytes must be refused."""
    if not payload or (stream == "ref" and len(payload) > 65_536):
        return None
    unpacker = msgpack.Unpacker(
        io.BytesIO(payload), raw=False, strict_map_key=False, object_pairs_hook=unique
    )
    values = []
    try:
        while unpacker.tell() < len(payload):
            values.append(READERS[stream](unpacker.unpack()))
    except (Refused, ValueError, msgpack.OutOfData, msgpack.StackError):
        return None
    return values


def check(stream: str, payload: bytes) -> None:
    expected = oracle(stream, payload)
    try:
        got = decode_payload(stream, payload)
    except PayloadError as error:
        assert expected is None, f"refused what is allowed: {error}"
        assert 0 <= error.offset <= len(payload)
        assert error.value >= 0
        assert f"value {error.value}, " in str(error)
        assert f"byte {error.offset}: " in str(error)
    else:
        assert expected is not None, f"let pass {got}"
        assert got == expected


# ---- the input

numbers = st.one_of(
    st.integers(-3, 3),
    st.integers(-MAX_NUMBER, MAX_NUMBER),
    st.sampled_from(
        [2**53, -(2**53), 2**63 - 1, 2**63, 2**64 - 1, -(2**63), MAX_NUMBER, -MAX_NUMBER, 127, 128, -32, -33]
    ),
)
ids = st.one_of(st.integers(-(2**63), 2**64 - 1), st.text(max_size=130))
flats = st.lists(
    st.tuples(st.integers(-MAX_NUMBER, MAX_NUMBER), st.integers(0, MAX_NUMBER)), max_size=20
).map(lambda items: [number for item in items for number in item])
positive = st.integers(1, MAX_NUMBER)
stamps = st.integers(0, MAX_NUMBER)
span = st.tuples(positive, positive).map(sorted)
anything = st.recursive(
    st.one_of(st.none(), st.booleans(), numbers, st.floats(), st.text(max_size=40), st.binary(max_size=5)),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=12,
)
refs = st.fixed_dictionaries(
    {"epoch": positive, "price_exp": st.integers(-18, 18), "size_exp": st.integers(-18, 18)},
    optional={
        "tick": positive,
        "lot": positive,
        "depth": stamps,
        "name": st.text(max_size=20),
        "x": anything,
        "y": anything,
    },
)
valid: dict[str, st.SearchStrategy[Any]] = {
    "book": st.builds(lambda e, s, t, b, a: [1, e, *s, t, b, a], positive, span, stamps, flats, flats),
    "snap": st.builds(lambda e, s, t, b, a: [2, e, s, t, b, a], positive, stamps, stamps, flats, flats),
    "trade": st.builds(
        lambda e, s, t, p, z, d, i: [3, e, s, t, p, z, d, i],
        positive, positive, stamps, numbers, stamps, st.integers(0, 2), ids,
    ),
    "status": st.builds(
        lambda e, t, s, r, more: [5, e, t[1], s, r, *more, t[0]] if more else [5, e, t[1], s, r],
        positive, st.tuples(stamps, stamps).map(sorted), st.sampled_from(list(VenueState)).map(str), st.text(max_size=40) | st.none(),
        st.none() | st.tuples(stamps, stamps),
    ),
    "ref": refs,
}  # fmt: skip


@st.composite
def batches(draw: st.DrawFn) -> tuple[str, bytes]:
    stream = draw(st.sampled_from(STREAMS))
    values = draw(st.lists(valid[stream], min_size=1, max_size=3))
    return stream, b"".join(msgpack.packb(value) for value in values)


@st.composite
def near_misses(draw: st.DrawFn) -> tuple[str, bytes]:
    """A valid value with a wrong part in one place."""
    stream = draw(st.sampled_from(STREAMS[:4]))
    value: list[Any] = draw(valid[stream])
    value[draw(st.integers(0, len(value) - 1))] = draw(anything)
    return stream, msgpack.packb(value, use_bin_type=draw(st.booleans()))


@st.composite
def mutated(draw: st.DrawFn) -> tuple[str, bytes]:
    """Changes, removes, doubles or inserts bytes."""
    stream, payload = draw(batches())
    data = bytearray(payload)
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(data)))
        end = min(len(data), start + draw(st.integers(0, 3)))
        data[start:end] = draw(
            st.one_of(st.binary(max_size=3), st.just(bytes(data[start:end]) * 2), st.sampled_from(HEADS))
        )
    return stream, bytes(data)


EXAMPLES = settings().max_examples
"""Of the profile: 100, fewer in ``make test-quick``."""
HEADS = [bytes([head]) for head in range(0x80, 0x100)] + [
    b"\xdd\xff\xff\xff\xff",
    b"\xdb\x7f\xff\xff\xff",
    b"\xcf" + b"\xff" * 8,
]


@given(batches())
@settings(max_examples=3 * EXAMPLES, deadline=None)
def test_valid_batches(case: tuple[str, bytes]) -> None:
    check(*case)


@given(near_misses())
@settings(max_examples=5 * EXAMPLES, deadline=None)
def test_near_misses(case: tuple[str, bytes]) -> None:
    check(*case)


@given(mutated())
@settings(max_examples=15 * EXAMPLES, deadline=None)
def test_mutations(case: tuple[str, bytes]) -> None:
    check(*case)


@given(st.sampled_from(STREAMS), st.binary(max_size=60))
@settings(max_examples=5 * EXAMPLES, deadline=None)
@example("ref", b"\x80")
@example("book", b"\xc1")
def test_any_bytes(stream: str, payload: bytes) -> None:
    check(stream, payload)


@given(st.lists(st.one_of(mutated(), batches()), min_size=1, max_size=6))
@settings(max_examples=3 * EXAMPLES, deadline=None)
def test_an_instrument_survives_anything(cases: list[tuple[str, bytes]]) -> None:
    """For any bytes, an instrument raises only documented errors, and its book stays valid."""
    instrument = Instrument("SIM:X", -2, -8, log_capacity=8, max_levels=15)
    for stream, payload in cases:
        try:
            if stream == "snap":
                instrument.load_snap(payload)
            elif stream == "trade":
                instrument.take_trades(payload)
            else:
                instrument.take_book(payload)
        except (PayloadError, BookError) as error:
            assert str(error).startswith("SIM:X ")
        bids, asks = instrument.book.view() or ([], [])
        assert bids[::2] == sorted(set(bids[::2]), reverse=True)
        assert asks[::2] == sorted(set(asks[::2]))
        assert not bids or not asks or bids[0] < asks[0]
        assert all(lots > 0 for lots in bids[1::2] + asks[1::2])
        assert max(len(bids), len(asks)) <= 30
