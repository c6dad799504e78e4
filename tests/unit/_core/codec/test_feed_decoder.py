"""The decoder of feed payloads: every form the contract allows is read, everything else refused with its place."""

from __future__ import annotations

import tracemalloc
from typing import Any

import msgpack
import pytest

from mdstream._core.codec.feed_decoder import BookValue, SnapValue, StatusValue, TradeValue, decode_payload
from mdstream.errors import PayloadError
from mdstream.model import MAX_NUMBER, Ref, VenueState

TS = 1_723_075_200_000_000


def pack(*values: Any) -> bytes:
    return b"".join(msgpack.packb(value) for value in values)


def refusal(stream: str, payload: bytes) -> PayloadError:
    with pytest.raises(PayloadError) as caught:
        decode_payload(stream, payload)
    return caught.value


# ---- what is allowed


def test_book_updates_of_a_batch_come_in_order() -> None:
    payload = pack([1, 7, 1, 3, TS, [100, 5, -99, 0], []], [1, 7, 4, 4, TS + 1, [], [MAX_NUMBER, MAX_NUMBER]])
    assert decode_payload("book", payload) == [
        BookValue(epoch=7, first=1, last=3, ts_us=TS, bids=[100, 5, -99, 0], asks=[]),
        BookValue(epoch=7, first=4, last=4, ts_us=TS + 1, bids=[], asks=[MAX_NUMBER, MAX_NUMBER]),
    ]


def test_snapshot() -> None:
    assert decode_payload("snap", pack([2, 7, 0, TS, [], []], [2, 7, 9, TS, [5, 1], [-MAX_NUMBER, 2]])) == [
        SnapValue(epoch=7, seq=0, ts_us=TS, bids=[], asks=[]),
        SnapValue(epoch=7, seq=9, ts_us=TS, bids=[5, 1], asks=[-MAX_NUMBER, 2]),
    ]


@pytest.mark.parametrize("trade_id", [0, -1, 127, 128, 2**64 - 1, -(2**63), "", "a-1", "é" * 63])
def test_trade(trade_id: int | str) -> None:
    assert decode_payload("trade", pack([3, 7, 1, TS, -5, 0, 2, trade_id])) == [
        TradeValue(epoch=7, seq=1, ts_us=TS, price_ticks=-5, size_lots=0, side=2, trade_id=trade_id)
    ]


def test_status() -> None:
    payload = pack([5, 7, TS, "halted", "news"], [5, 7, TS, "trading", ""], [5, 7, TS, "closed", None])
    assert decode_payload("status", payload) == [
        StatusValue(7, TS, VenueState.HALTED, "news"),
        StatusValue(7, TS, VenueState.TRADING, ""),
        StatusValue(7, TS, VenueState.CLOSED, ""),
    ]


def test_status_with_the_newest_numbers_and_when_the_venue_was_heard() -> None:
    payload = pack(
        [5, 7, TS, "trading", None, 12, 0, TS],
        [5, 7, TS, "closed", ""],
        [5, 7, TS, "halted", "news", 0, 3, 0],
    )
    first, second, third = decode_payload("status", payload)
    assert first == StatusValue(7, TS, VenueState.TRADING, "", book_seq=12, trade_seq=0, heard_us=TS)
    assert second[4:] == (None, None, None)
    assert third == StatusValue(7, TS, VenueState.HALTED, "news", 0, 3, 0)


def test_ref_keeps_what_it_does_not_know() -> None:
    extra = {"isin": "X", "tiers": [1, -2.5, None, True, {"a": {}}], "big": 2**64 - 1, "low": -(2**63)}
    known = {"epoch": 7, "price_exp": -2, "size_exp": 18, "tick": 5, "lot": MAX_NUMBER, "depth": 100}
    ref = {**known, "name": "Bitcoin", **extra}
    assert decode_payload("ref", pack(ref)) == [Ref(-2, 18, 5, MAX_NUMBER, "Bitcoin", 7, 100, extra)]


def test_ref_needs_only_its_epoch_and_its_exponents() -> None:
    assert decode_payload("ref", pack({"size_exp": 0, "price_exp": -18, "epoch": 1})) == [
        Ref(-18, 0, epoch=1)
    ]


def integer_forms(value: int) -> list[bytes]:
    """Every MessagePack form that holds an integer."""
    forms = []
    for head, size, signed in (
        (0xCC, 1, False), (0xCD, 2, False), (0xCE, 4, False), (0xCF, 8, False),
        (0xD0, 1, True), (0xD1, 2, True), (0xD2, 4, True), (0xD3, 8, True),
    ):  # fmt: skip
        try:
            forms.append(bytes([head]) + value.to_bytes(size, "big", signed=signed))
        except OverflowError:
            continue
    return [*forms, msgpack.packb(value)]


@pytest.mark.parametrize(
    "ticks",
    [0, 1, -1, 127, 128, -32, -33, -128, 255, 256, 32767, 65535, 2**31, -(2**31), MAX_NUMBER, -MAX_NUMBER],
)
def test_every_form_of_an_integer_is_read(ticks: int) -> None:
    for form in integer_forms(ticks):
        middle = pack([1, 7, 1, 1, TS])[1:] + b"\x92" + form + b"\x05" + b"\x90"
        assert decode_payload("book", b"\x97" + middle)[0].bids == [ticks, 5]
        trade = pack([3, 7, 1, TS, 1, 1, 0])[1:] + form
        assert decode_payload("trade", b"\x98" + trade)[0].trade_id == ticks


@pytest.mark.parametrize("head", [b"\x97", b"\xdc\x00\x07", b"\xdd\x00\x00\x00\x07"])
@pytest.mark.parametrize("side", [b"\x92", b"\xdc\x00\x02", b"\xdd\x00\x00\x00\x02"])
def test_every_form_of_an_array_is_read(head: bytes, side: bytes) -> None:
    payload = head + pack([1, 7, 1, 1, TS])[1:] + side + b"\x03\x04" + b"\x90"
    assert decode_payload("book", payload)[0].bids == [3, 4]


@pytest.mark.parametrize("head", [b"\xa2", b"\xd9\x02", b"\xda\x00\x02", b"\xdb\x00\x00\x00\x02"])
def test_every_form_of_a_string_is_read(head: bytes) -> None:
    payload = b"\x98" + pack([3, 7, 1, TS, 1, 1, 0])[1:] + head + b"ab"
    assert decode_payload("trade", payload)[0].trade_id == "ab"


def test_many_levels() -> None:
    flat = [number for ticks in range(70_000) for number in (-ticks, ticks * 1_000_003)]
    assert decode_payload("book", pack([1, 7, 1, 1, TS, flat, flat[:40]])) == [
        BookValue(7, 1, 1, TS, flat, flat[:40])
    ]


# ---- what is refused

BOOK = [1, 7, 1, 1, TS, [], []]
SNAP = [2, 7, 1, TS, [], []]
TRADE = [3, 7, 1, TS, 100, 5, 1, "id"]
STATUS = [5, 7, TS, "trading", ""]
LONG_STATUS = [*STATUS, 1, 2, TS]
REF = {"epoch": 7, "price_exp": -2, "size_exp": -8}


def with_field(value: list[Any], index: int, field: Any) -> bytes:
    return pack([*value[:index], field, *value[index + 1 :]])


@pytest.mark.parametrize(
    ("stream", "payload", "place", "why"),
    [
        ("book", with_field(BOOK, 0, 2), "type", "must be 1, not 2"),
        ("book", with_field(BOOK, 1, 0), "epoch", f"must be 1 to {MAX_NUMBER}, not 0"),
        ("book", with_field(BOOK, 1, 2**53), "epoch", f"not {2**53}"),
        ("book", with_field(BOOK, 2, 0), "first", "not 0"),
        ("book", with_field(BOOK, 2, 2), "last", "1 is less than first, 2"),
        ("book", with_field(BOOK, 3, 2**64 - 1), "last", f"not {2**64 - 1}"),
        ("book", with_field(BOOK, 4, -1), "ts", f"must be 0 to {MAX_NUMBER}, not -1"),
        ("book", with_field(BOOK, 4, 2**53), "ts", f"not {2**53}"),
        ("book", with_field(BOOK, 4, 1.0), "ts", "must be an integer, not a float"),
        ("book", with_field(BOOK, 5, [1]), "bids", "1 numbers are no pairs of ticks and lots"),
        ("book", with_field(BOOK, 5, None), "bids", "must be an array, not nil"),
        ("book", with_field(BOOK, 5, {}), "bids", "must be an array, not a map"),
        ("book", with_field(BOOK, 6, [[1, 2]]), "asks", "1 numbers are no pairs"),
        ("book", with_field(BOOK, 6, [1, 2, [3], 4]), "asks, ticks of level 1", "must be an integer, not an array"),
        ("book", with_field(BOOK, 6, [1, True]), "asks, lots of level 0", "must be an integer, not a boolean"),
        ("book", with_field(BOOK, 5, [1, 2, 3, -1]), "bids, lots of level 1", f"must be 0 to {MAX_NUMBER}, not -1"),
        ("book", with_field(BOOK, 5, [-(2**53), 1]), "bids, ticks of level 0", f"not -{2**53}"),
        ("book", with_field(BOOK, 5, [2**63, 1]), "bids, ticks of level 0", f"not {2**63}"),
        ("book", with_field(BOOK, 5, [2**64 - 1, 1]), "bids, ticks of level 0", f"not {2**64 - 1}"),
        ("trade", with_field(TRADE, 4, 2**64 - 5), "price_ticks", f"not {2**64 - 5}"),
        ("book", with_field(BOOK, 5, [1, 2**63]), "bids, lots of level 0", f"not {2**63}"),
        ("book", pack(BOOK[:6]), "the value", "has 6 fields, not 7"),
        ("book", pack([*BOOK, 0]), "the value", "has 8 fields, not 7"),
        ("book", pack({}), "the value", "must be an array, not a map"),
        ("book", pack(SNAP), "the value", "has 6 fields, not 7"),
        ("snap", with_field(SNAP, 0, 1), "type", "must be 2, not 1"),
        ("snap", with_field(SNAP, 2, -1), "seq", "not -1"),
        ("snap", with_field(SNAP, 4, [1, 0]), "bids, lots of level 0", f"must be 1 to {MAX_NUMBER}, not 0"),
        ("trade", with_field(TRADE, 0, 1), "type", "must be 3, not 1"),
        ("trade", with_field(TRADE, 2, 0), "seq", "not 0"),
        ("trade", with_field(TRADE, 4, 2**53), "price_ticks", f"not {2**53}"),
        ("trade", with_field(TRADE, 5, -1), "size_lots", "not -1"),
        ("trade", with_field(TRADE, 6, 3), "side", "must be 0 to 2, not 3"),
        ("trade", with_field(TRADE, 6, "buy"), "side", "must be an integer, not a string"),
        ("trade", with_field(TRADE, 7, None), "trade_id", "must be a string or an integer, not nil"),
        ("trade", with_field(TRADE, 7, b"id"), "trade_id", "must be a string or an integer, not binary"),
        ("trade", with_field(TRADE, 7, "é" * 64), "trade_id", "is 128 bytes long, more than 126"),
        ("status", with_field(STATUS, 3, "open"), "state", "'open' is none of trading, halted, closed, feed_down"),
        ("status", with_field(STATUS, 3, 1), "state", "must be a string, not an integer"),
        ("status", with_field(STATUS, 4, 1), "reason", "must be a string, not an integer"),
        ("status", with_field(STATUS, 4, "x" * 1025), "reason", "is 1025 bytes long, more than 1024"),
        ("status", pack(STATUS[:4]), "the value", "has 4 fields, not 5 or 8"),
        ("status", pack(LONG_STATUS[:6]), "the value", "has 6 fields, not 5 or 8"),
        ("status", pack([*LONG_STATUS, 0]), "the value", "has 9 fields, not 5 or 8"),
        ("status", with_field(LONG_STATUS, 0, 1), "type", "must be 5, not 1"),
        ("status", with_field(LONG_STATUS, 5, -1), "book_seq", f"must be 0 to {MAX_NUMBER}, not -1"),
        ("status", with_field(LONG_STATUS, 5, None), "book_seq", "must be an integer, not nil"),
        ("status", with_field(LONG_STATUS, 6, 2.0), "trade_seq", "must be an integer, not a float"),
        ("status", with_field(LONG_STATUS, 7, TS + 1), "heard", f"{TS + 1} is later than ts, {TS}"),
        ("status", with_field(LONG_STATUS, 7, -1), "heard", "not -1"),
        ("ref", pack([]), "the value", "must be a map, not an array"),
        ("ref", pack({"epoch": 1, "price_exp": 1}), "size_exp", "is missing"),
        ("ref", pack({"price_exp": 1, "size_exp": 1}), "epoch", "is missing"),
        ("ref", pack({**REF, "epoch": 0}), "epoch", f"must be 1 to {MAX_NUMBER}, not 0"),
        ("ref", pack({**REF, "epoch": None}), "epoch", "must be an integer, not nil"),
        ("ref", pack({**REF, "depth": -1}), "depth", f"must be 0 to {MAX_NUMBER}, not -1"),
        ("ref", pack({**REF, "price_exp": -19}), "price_exp", "must be -18 to 18, not -19"),
        ("ref", pack({**REF, "size_exp": None}), "size_exp", "must be an integer, not nil"),
        ("ref", pack({**REF, "tick": 0}), "tick", f"must be 1 to {MAX_NUMBER}, not 0"),
        ("ref", pack({**REF, "lot": -1}), "lot", "not -1"),
        ("ref", pack({**REF, "name": 5}), "name", "must be a string, not an integer"),
        ("ref", pack({**REF, 5: 5}), "a key of the value", "must be a string, not an integer"),
        ("ref", pack({**REF, "x": b"y"}), "x", "not binary"),
        ("ref", pack({**REF, "x": msgpack.ExtType(5, b"y")}), "x", "not an extension"),
        ("ref", pack({**REF, "x": {"y": float("inf")}}), "y", "inf is no finite number"),
        ("ref", pack({**REF, "x": [[[[[[[[[]]]]]]]]]}), "x", "lies more than 8 deep"),
        ("ref", pack({**REF, "x": "y" * 65_536}), "the value", "bytes are more than 65536"),
        ("ref", b"\x82\xa1a\x01\xa1a\x01", "a key of the value", "'a' stands twice"),
    ],
)  # fmt: skip
def test_refusal_names_the_field_and_why(stream: str, payload: bytes, place: str, why: str) -> None:
    error = refusal(stream, payload)
    assert f"{stream} payload, value 0, {place}, byte {error.offset}: " in str(error)
    assert why in str(error)
    assert error.value == 0


def test_refusal_names_the_value_and_the_byte() -> None:
    payload = pack(BOOK, [1, 7, 2, 2, 5, [], [1, 2, 3, -4]])
    error = refusal("book", payload)
    assert (error.value, error.offset) == (1, len(payload) - 1)
    assert payload[error.offset : error.offset + 1] == b"\xfc"


@pytest.mark.parametrize(
    ("stream", "payload"),
    [
        ("book", pack([1, 7, 1, 1, TS, [100, 70_000, 5, 0], [2**40, 300]])),
        ("snap", pack([2, 7, 1, TS, [100, 70_000], [2**40, 300]])),
        ("trade", pack([3, 7, 1, TS, 100, 70_000, 1, "an id of more than 31 bytes, after its head"])),
        ("trade", pack([3, 7, 1, TS, -40_000, 5, 0, 2**63])),
        ("status", pack([5, 7, TS, "feed_down", "why"])),
        ("status", pack([5, 7, TS, "feed_down", "why", 70_000, 300, TS - 1])),
        ("ref", pack({**REF, "name": "x" * 40, "y": [1.5, "z", {"k": -70_000}]})),
    ],
)
def test_every_shorter_payload_is_refused_at_its_end(stream: str, payload: bytes) -> None:
    assert len(decode_payload(stream, payload)) == 1
    for size in range(len(payload)):
        error = refusal(stream, payload[:size])
        assert 0 <= error.offset <= size
        error = refusal(stream, payload + payload[:size]) if size else error
        assert error.value == (1 if size else 0)
    assert refusal(stream, payload + b"\xc1").value == 1


@pytest.mark.parametrize(
    ("text", "bad_at"),
    [
        (b"\xff", 0),
        (b"ab\x80", 2),
        (b"\xc0\x80", 0),
        (b"\xed\xa0\x80", 0),
        (b"\xf4\x90\x80\x80", 0),
        (b"a\xe2\x82", 1),
    ],
)
def test_text_that_is_not_utf8_is_refused(text: bytes, bad_at: int) -> None:
    trade = b"\x98" + pack([3, 7, 1, TS, 1, 1, 0])[1:] + bytes([0xA0 | len(text)]) + text
    error = refusal("trade", trade)
    assert "trade_id" in str(error)
    assert "is not UTF-8" in str(error)
    assert error.offset == len(trade) - len(text) + bad_at
    assert "is not UTF-8" in str(refusal("ref", b"\x81" + bytes([0xA0 | len(text)]) + text + b"\x01"))


@pytest.mark.parametrize(
    ("stream", "payload"),
    [
        ("book", b"\x97" + pack([1, 7, 1, 1, TS])[1:] + b"\xdd\xff\xff\xff\xfe" + bytes(100)),
        ("book", b"\xdd\xff\xff\xff\xff"),
        ("trade", b"\x98" + pack([3, 7, 1, TS, 1, 1, 0])[1:] + b"\xdb\xff\xff\xff\xff"),
        ("ref", b"\xdf\xff\xff\xff\xff"),
        ("ref", b"\x81\xa1x\xdd\xff\xff\xff\xff"),
    ],
)
def test_announced_sizes_are_not_believed(stream: str, payload: bytes) -> None:
    tracemalloc.start()
    try:
        refusal(stream, payload)
        assert tracemalloc.get_traced_memory()[1] < 100_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("stream", ["book", "snap", "trade", "status", "ref"])
def test_empty_payload_is_refused(stream: str) -> None:
    error = refusal(stream, b"")
    assert str(error) == f"{stream} payload, value 0, the value, byte 0: the payload ends here"


def test_unknown_stream_is_refused() -> None:
    with pytest.raises(ValueError, match="stream 'books' is none of book, trade, snap, ref, status"):
        decode_payload("books", pack(BOOK))
