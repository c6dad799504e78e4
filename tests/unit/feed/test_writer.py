"""The writer of an instrument: what it numbers and packs, and each thing it refuses, by name and without a trace."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import msgpack
import numpy as np
import pytest

from mdstream._core.codec.feed_decoder import decode_payload
from mdstream.errors import BookError, FeedError, SizeError
from mdstream.feed.writer import SNAP_UPDATES, SNAP_US, InstrumentWriter
from mdstream.model import MAX_NUMBER, MAX_REF_BYTES, MAX_TEXT_BYTES, InstrumentId, Ref

BTC = InstrumentId("SIM", "BTC-USD")
EPOCH = 1_700_000_000_000_000
TS = 1_700_000_000_000_123


class Clock:
    def __init__(self) -> None:
        self.us = EPOCH

    def __call__(self) -> int:
        return self.us


def make_writer(
    clock: Clock | None = None, *, tick: int = 1, lot: int = 1, **options: Any
) -> InstrumentWriter:
    ref = Ref(price_exp=-2, size_exp=-3, tick=tick, lot=lot, name="Bitcoin", extra={"base": "BTC"})
    clock = clock or Clock()
    return InstrumentWriter(BTC, ref, epoch=EPOCH, **{"clock_us": clock, "monotonic_us": clock} | options)


def with_book(**options: Any) -> InstrumentWriter:
    writer = make_writer(**options)
    writer.replace([("100.10", "1"), ("100.00", "2")], [("100.20", "3"), ("100.30", "4")], TS)
    return writer


def test_an_update_takes_the_next_number_and_packs_ticks_and_lots() -> None:
    writer = make_writer()
    first = writer.update([("100.10", "1.5")], [(Decimal("100.2"), 2)], TS)
    second = writer.update(asks=[("100.2", "0")], ts_us=TS + 1)
    assert msgpack.unpackb(first) == [1, EPOCH, 1, 1, TS, [10010, 1500], [10020, 2000]]
    assert msgpack.unpackb(second) == [1, EPOCH, 2, 2, TS + 1, [], [10020, 0]]
    assert writer.book.view() == ([10010, 1500], [])


def test_the_time_is_the_clocks_where_none_is_given() -> None:
    clock = Clock()
    clock.us = EPOCH + 42
    assert msgpack.unpackb(make_writer(clock).update([("1", "1")]))[4] == EPOCH + 42


def test_ticks_may_come_as_lists_and_arrays() -> None:
    writer = make_writer()
    writer.update_ticks([10010, 5], np.array([10020, 6, 10030, 7]), TS)
    assert writer.book.view() == ([10010, 5], [10020, 6, 10030, 7])


def test_prices_may_be_negative() -> None:
    writer = make_writer()
    writer.update([("-37.63", "1")], [("-37.62", "1")], TS)
    assert writer.book.best() == ((-3763, 1000), (-3762, 1000))


def test_a_full_book_becomes_the_changes_that_lead_to_it() -> None:
    writer = with_book()
    payload = writer.replace([("100.10", "1"), ("99.00", "5")], [("100.20", "3.5"), ("100.30", "4")], TS)
    assert payload is not None
    kind, _, first, last, _, bids, asks = msgpack.unpackb(payload)
    assert (kind, first, last) == (1, 2, 2)
    assert sorted(zip(bids[::2], bids[1::2], strict=True)) == [(9900, 5000), (10000, 0)]
    assert asks == [10020, 3500]


def test_the_same_full_book_again_is_nothing_and_uses_no_number() -> None:
    writer = with_book()
    assert writer.replace([("100.10", "1"), ("100.00", "2")], [("100.20", "3"), ("100.30", "4")], TS) is None
    assert writer.book.seq == 1


REFUSED_UPDATES: dict[str, tuple[Callable[[InstrumentWriter], object], str]] = {
    "crossed": (lambda w: w.update([("100.20", "1")]), "cross.*10020 ticks"),
    "crossed by an ask": (lambda w: w.update(asks=[("100.10", "1")]), "cross.*10010 ticks"),
    "crossed within": (lambda w: w.update_ticks([10025, 1], [10022, 1]), "cross"),
    "negative size": (lambda w: w.update([("100.10", "-0.5")]), r"bid 100\.10 has the negative size -0\.500"),
    "float price": (lambda w: w.update([(100.1, "1")]), r"100\.1 is a float"),
    "float size": (lambda w: w.update(asks=[("100.40", 1.5)]), r"ask .*1\.5 is a float"),
    "nan": (lambda w: w.update([("nan", "1")]), "bid .*'nan'"),
    "Decimal NaN": (lambda w: w.update([(Decimal("NaN"), "1")]), "NaN is not finite"),
    "infinite": (lambda w: w.update([("100", Decimal("Infinity"))]), "Infinity is not finite"),
    "no number": (lambda w: w.update([("", "1")]), "'' is no decimal number"),
    "None": (lambda w: w.update([(None, "1")]), "None is no exact number"),  # type: ignore[list-item]
    "bool": (lambda w: w.update([(True, "1")]), "True is no exact number"),
    "off the exponent": (lambda w: w.update([("100.001", "1")]), r"100\.001 is not a multiple of 10\^-2"),
    "size too fine": (lambda w: w.update([("100", "0.0001")]), r"0\.0001 is not a multiple of 10\^-3"),
    "out of range": (lambda w: w.update([("1" * 30, "1")]), "1{30} is out of range"),
    "huge exponent": (lambda w: w.update([(Decimal("1e999999999"), "1")]), "out of range"),
    "size out of range": (lambda w: w.update_ticks([1, MAX_NUMBER + 1]), str(MAX_NUMBER + 1)),
    "beyond 64 bits": (lambda w: w.update_ticks([2**70, 1]), "SIM:BTC-USD"),
    "twice in one update": (lambda w: w.update([("99", "1"), ("99.00", "2")]), r"bid 99\.00 is named twice"),
    "no pairs": (lambda w: w.update([("99",)]), "bid level 0"),  # type: ignore[list-item]
    "odd run": (lambda w: w.update_ticks([1, 2, 3]), "bids are 3 numbers"),
    "float ticks": (lambda w: w.update_ticks([1, 2.0]), r"bid 2\.0 is not an integer"),  # type: ignore[list-item]
    "bool ticks": (lambda w: w.update_ticks([True, 2]), "bid True is not an integer"),
    "array of floats": (lambda w: w.update_ticks(np.array([1.0, 2.0])), "float64"),  # type: ignore[arg-type]
    "array of two dimensions": (lambda w: w.update_ticks(np.array([[1, 2]])), r"\(1, 2\)"),
    "unordered bids": (
        lambda w: w.replace([("99", "1"), ("100", "1")], []),
        r"bids go from best to worst, but 100\.00 follows 99\.00",
    ),
    "unordered asks": (
        lambda w: w.replace([], [("100", "1"), ("99", "1")]),
        r"asks go from best to worst, but 99\.00 follows 100\.00",
    ),
    "size 0 in a full book": (
        lambda w: w.replace([("99", "0")], []),
        r"bid 99\.00 of a full book has size 0",
    ),
    "crossed full book": (lambda w: w.replace([("99", "1")], [("98", "1")]), "cross"),
    "locked full book": (lambda w: w.replace([("99", "1")], [("99", "1")]), "cross"),
    "twice in a full book": (
        lambda w: w.replace([("99", "1"), ("99", "1")], []),
        r"bid 99\.00 is named twice",
    ),
    "time in the past of all": (lambda w: w.update([("99", "1")], ts_us=-1), "ts_us -1"),
    "time no integer": (lambda w: w.update([("99", "1")], ts_us=1.5), "ts_us 1.5 is not an integer"),  # type: ignore[arg-type]
    "time in s": (
        lambda w: w.update([("99", "1")], ts_us=1_700_000_000),
        r"1700000000 is no .* in µs .*\(it seems to be in s\)",
    ),
    "time in ms": (lambda w: w.update([("99", "1")], ts_us=1_700_000_000_000), r"\(it seems to be in ms\)"),
    "time in ns": (
        lambda w: w.update([("99", "1")], ts_us=1_700_000_000_000_000_000),
        r"\(it seems to be in ns\)",
    ),
    "time of the year 1970": (
        lambda w: w.update([("99", "1")], ts_us=10**14 - 1),
        f"is in {10**14} … {MAX_NUMBER}",
    ),
    "numpy float": (
        lambda w: w.update([(np.float64(100.1), "1")]),
        r"100\.1 is a float, .* such as '100\.1'",
    ),
    "numpy float of 32 bits": (lambda w: w.update([("99", np.float32(1.5))]), "is no exact number"),
    "numpy float as time": (lambda w: w.update([("99", "1")], ts_us=np.float64(TS)), "is not an integer"),
}


@pytest.mark.parametrize("name", REFUSED_UPDATES)
def test_a_refused_update_names_the_fault_and_changes_nothing(name: str) -> None:
    call, message = REFUSED_UPDATES[name]
    writer = with_book()
    before = writer.book.view()
    with pytest.raises(FeedError, match=message) as caught:
        call(writer)
    assert "SIM:BTC-USD" in str(caught.value)
    assert writer.book.view() == before
    assert msgpack.unpackb(writer.update([("100.10", "9")]))[2:4] == [2, 2]


def test_a_crossed_update_is_a_book_error() -> None:
    with pytest.raises(BookError):
        with_book().update([("100.20", "1")])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda w: w.update([("100.10", "1")]), r"bid price 100\.10 is not a multiple of the tick, 0\.25"),
        (
            lambda w: w.update(asks=[("100.50", "1.003")]),
            r"size at ask 100\.50 1\.003 is not a multiple of the lot, 0\.005",
        ),
        (lambda w: w.update_ticks(np.array([10001, 5])), r"bid price 100\.01 is not a multiple"),
        (lambda w: w.trade("100.10", "1"), r"trade price 100\.10 is not a multiple of the tick"),
        (lambda w: w.trade("100.50", "0.001"), r"trade size 0\.001 is not a multiple of the lot"),
    ],
)
def test_what_is_off_the_venues_increments_is_refused(
    call: Callable[[InstrumentWriter], object], message: str
) -> None:
    writer = make_writer(tick=25, lot=5)
    writer.update([("100.25", "0.995")], [("100.50", "1")])
    with pytest.raises(FeedError, match=message):
        call(writer)
    assert (writer.book.seq, writer.trade_seq) == (1, 0)


def test_an_update_that_no_message_can_hold_is_refused_before_it_happens() -> None:
    writer = make_writer(max_payload=100)
    with pytest.raises(FeedError, match=r"an update of 40 levels takes \d+ bytes, more than the 100"):
        writer.update_ticks([number for ticks in range(40) for number in (10_000 - ticks, 5)])
    assert (writer.book.seq, len(writer.book)) == (0, 0)


def test_trades_are_numbered_apart_from_the_book() -> None:
    writer = with_book()
    payloads = [
        writer.trade("100.20", "0.5", "buy", trade_id=4711, ts_us=TS),
        writer.trade("100.10", "1", "sell", trade_id="T-9", ts_us=TS),
        writer.trade(Decimal("100.1"), 1, ts_us=TS),
    ]
    assert [msgpack.unpackb(payload) for payload in payloads] == [
        [3, EPOCH, 1, TS, 10020, 500, 1, 4711],
        [3, EPOCH, 2, TS, 10010, 1000, 2, "T-9"],
        [3, EPOCH, 3, TS, 10010, 1000, 0, 3],
    ]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda w: w.trade("1", "0"), "trade size 0"),
        (lambda w: w.trade("1", "-1"), "trade size -1000"),
        (lambda w: w.trade(1.5, "1"), "trade price 1.5 is a float"),
        (lambda w: w.trade("1", "1", "bid"), "trade side 'bid' is none of 'buy', 'sell', None"),
        (lambda w: w.trade("1", "1", trade_id=2**53), f"trade id {2**53}"),
        (lambda w: w.trade("1", "1", trade_id="x" * 127), "trade id .* is longer than 126 bytes"),
        (lambda w: w.trade("1", "1", trade_id=1.5), "trade id 1.5"),
        (lambda w: w.trade("1", "1", trade_id=True), "trade id True"),
        (lambda w: w.trade_ticks(MAX_NUMBER + 1, 1), f"trade price {MAX_NUMBER + 1}"),
        (lambda w: w.trade_ticks(1, 1.0), "trade size 1.0 is not an integer"),
    ],
)
def test_a_refused_trade_names_the_fault_and_uses_no_number(
    call: Callable[[InstrumentWriter], object], message: str
) -> None:
    writer = make_writer()
    with pytest.raises(FeedError, match=f"SIM:BTC-USD: {message}"):
        call(writer)
    assert msgpack.unpackb(writer.trade("1", "1"))[2] == 1


def test_status_and_reference_data_are_as_the_contract_says() -> None:
    writer = make_writer()
    halted = [5, EPOCH, TS, "halted", "auction", 0, 0, TS]
    assert msgpack.unpackb(writer.set_status("halted", "auction", TS)) == halted
    assert msgpack.unpackb(writer.status()) == [5, EPOCH, EPOCH, "halted", "auction", 0, 0, EPOCH]
    assert msgpack.unpackb(writer.reference()) == {
        "epoch": EPOCH,
        "depth": 0,
        "price_exp": -2,
        "size_exp": -3,
        "tick": 1,
        "lot": 1,
        "name": "Bitcoin",
        "base": "BTC",
    }


def test_an_unknown_state_is_refused_and_the_old_one_stays() -> None:
    writer = make_writer()
    writer.set_status("halted")
    with pytest.raises(FeedError, match="'open' is none of trading, halted, closed, feed_down"):
        writer.set_status("open")
    assert writer.state == "halted"


@pytest.mark.parametrize(
    "ref",
    [
        Ref(19, 0),
        Ref(0, -19),
        Ref(1.0, 0),  # type: ignore[arg-type]
        Ref(0, 0, tick=0),
        Ref(0, 0, lot=-1),
        Ref(0, 0, depth=-1),
        Ref(0, 0, name=5),  # type: ignore[arg-type]
        Ref(0, 0, name="\udc80"),
        Ref(0, 0, extra={"made": object()}),
        Ref(0, 0, extra={"tick": 5}),
        Ref(0, 0, extra={5: "five"}),  # type: ignore[dict-item]
        Ref(0, 0, extra={"a": {5: "five"}}),
        Ref(0, 0, extra={"a": b"bytes"}),
        Ref(0, 0, extra={"a": float("nan")}),
        Ref(0, 0, extra={"a": [[[[[[[[[1]]]]]]]]]}),
        Ref(0, 0, extra={"a": np.float32(1)}),
    ],
)
def test_unusable_reference_data_is_refused(ref: Ref) -> None:
    with pytest.raises(FeedError, match="SIM:BTC-USD"):
        InstrumentWriter(BTC, ref, epoch=EPOCH)


def test_the_longest_reference_data_that_readers_take_is_published_and_no_longer_one() -> None:
    writer = InstrumentWriter(BTC, Ref(0, 0, name="é" * (MAX_TEXT_BYTES // 2)), epoch=EPOCH)
    assert len(decode_payload("ref", writer.reference())[0].name) == MAX_TEXT_BYTES // 2
    with pytest.raises(FeedError, match=r"name 'n+'… takes 1025 bytes; at most 1024 are allowed"):
        InstrumentWriter(BTC, Ref(0, 0, name="n" * 1025), epoch=EPOCH)
    fits = (
        MAX_REF_BYTES
        - len(InstrumentWriter(BTC, Ref(0, 0, extra={"a": "x" * 300}), epoch=MAX_NUMBER).reference())
        + 300
    )
    writer = InstrumentWriter(BTC, Ref(0, 0, extra={"a": "x" * fits}), epoch=EPOCH)
    assert decode_payload("ref", writer.reference())[0].extra == {"a": "x" * fits}
    with pytest.raises(
        FeedError, match=f"takes {MAX_REF_BYTES + 1} bytes; at most {MAX_REF_BYTES} are allowed: shorten 'a'"
    ):
        InstrumentWriter(BTC, Ref(0, 0, extra={"a": "x" * (fits + 1)}), epoch=EPOCH)


def test_a_reason_too_long_for_readers_is_cut_so_that_the_state_arrives() -> None:
    for reason in ("x" * 1025, "é" * 600, "\udc80" * 2000):
        value = decode_payload("status", make_writer().set_status("halted", reason))[0]
        assert value.state == "halted"
        assert (
            value.reason.endswith("…") and MAX_TEXT_BYTES - 1 <= len(value.reason.encode()) <= MAX_TEXT_BYTES
        )
    with pytest.raises(FeedError, match="reason 5 is no string"):
        make_writer().set_status("halted", 5)  # type: ignore[arg-type]


def test_a_status_names_the_newest_numbers_and_when_the_venue_was_heard() -> None:
    wall, monotonic = Clock(), Clock()
    writer = make_writer(wall, monotonic_us=monotonic)

    def heard_ago() -> int:
        _, _, ts, _, _, book, trade, heard = msgpack.unpackb(writer.status())
        assert (book, trade) == (writer.book.seq, writer.trade_seq)
        return int(ts - heard)

    for word in (
        lambda: writer.update([("1", "1")]),
        lambda: writer.replace([("1", "1")], []),
        lambda: writer.trade("1", "1"),
        lambda: writer.heard(),
    ):
        monotonic.us += 7_000_000
        assert heard_ago() == 7_000_000
        word()
        assert heard_ago() == 0
    monotonic.us += 5
    for silent in (lambda: writer.set_status("halted"), lambda: writer.snap(), lambda: writer.status()):
        silent()
        assert heard_ago() == 5
    with pytest.raises(FeedError):
        writer.update([("1.5", "-1")])
    wall.us -= 3_600_000_000
    assert heard_ago() == 5, "a step of the wall clock is no age"


def test_times_of_a_status_are_those_of_the_moment_when_it_is_sent_and_its_numbers_are_not() -> None:
    clock = Clock()
    writer = with_book(clock=clock)
    later = writer.later_status()
    writer.update([("100.00", "9")])
    clock.us += 1_000
    assert msgpack.unpackb(later())[2:] == [EPOCH + 1_000, "trading", "", 1, 0, EPOCH]


def test_a_source_without_a_venue_is_never_old() -> None:
    clock = Clock()
    writer = make_writer(clock, live_venue=False)
    clock.us += 60_000_000
    assert msgpack.unpackb(writer.status())[7] == clock.us


def test_a_snapshot_is_the_full_book_best_first() -> None:
    writer = with_book()
    assert msgpack.unpackb(writer.snap()) == [
        2,
        EPOCH,
        1,
        TS,
        [10010, 1000, 10000, 2000],
        [10020, 3000, 10030, 4000],
    ]


def test_the_empty_snapshot_of_an_epoch_has_number_0() -> None:
    assert msgpack.unpackb(make_writer().snap()) == [2, EPOCH, 0, EPOCH, [], []]


def test_a_snapshot_is_due_after_a_thousand_updates_or_five_seconds_of_change() -> None:
    clock = Clock()
    writer = make_writer(clock)
    assert not writer.snap_due(clock.us + 10 * SNAP_US), "nothing changed"
    for lots in range(1, SNAP_UPDATES):
        writer.update_ticks([1, lots])
    assert not writer.snap_due(clock.us)
    assert writer.snap_due(clock.us + SNAP_US)
    writer.update_ticks([1, SNAP_UPDATES])
    assert writer.snap_due(clock.us)
    writer.snap()
    assert not writer.snap_due(clock.us + 10 * SNAP_US)


def test_snapshots_are_due_by_the_monotonic_clock() -> None:
    wall, monotonic = Clock(), Clock()
    writer = make_writer(wall, monotonic_us=monotonic)
    writer.update([("1", "1")])
    wall.us -= 3_600_000_000
    assert not writer.snap_due(monotonic.us + SNAP_US - 1)
    assert writer.snap_due(monotonic.us + SNAP_US)


def test_a_full_book_whose_snapshot_no_message_can_hold_is_refused() -> None:
    writer = make_writer(max_payload=1000)
    flat = [number for ticks in range(200) for number in (10_000 - ticks, 5)]
    assert writer.replace_ticks(flat, []) is not None
    large = [number for ticks in range(300) for number in (10_000 - ticks, 5)]
    with pytest.raises(
        FeedError, match=r"the snapshot of 300 levels takes \d+ bytes, more than the 1000 .*max_payload"
    ):
        writer.replace_ticks(large, [])
    assert (writer.book.seq, len(writer.book)) == (1, 200)
    state, reason = decode_payload("status", writer.status())[0][2:4]
    assert state == "feed_down" and "the snapshot of 300 levels" in reason, (
        "what is published is not the venue's book"
    )
    assert decode_payload("snap", writer.snap())[0].seq == 1, "but it can still be stored"
    writer.update_ticks([9_000, 1])
    assert writer.unstorable is not None, "only a full book mends it"
    with pytest.raises(FeedError, match="of 300 levels"):
        writer.replace_ticks(large, [])
    assert writer.replace_ticks([*flat, 9_000, 1], []) is None, "the same book as before"
    assert decode_payload("status", writer.status())[0].state == "trading"


def test_a_reason_that_readers_would_refuse_is_cut_and_that_is_said(caplog: pytest.LogCaptureFixture) -> None:
    writer = make_writer()
    status = decode_payload("status", writer.set_status("halted", "ä" * 600))[0]
    assert status.state == "halted" and len(status.reason.encode()) <= 1024
    assert "the reason of halted is cut: readers take 1024 bytes of text, not 1200" in caplog.text
    caplog.clear()
    writer.set_status("halted", "ä" * 512)
    assert not caplog.text


def test_a_book_that_grows_too_large_to_be_stored_is_down_until_it_fits_again() -> None:
    writer = make_writer(max_payload=1000)
    for ticks in range(400):
        writer.update_ticks([10_000 - ticks, 5])
        # Never later than the snapshot that the bus would refuse, and at most 64 bytes earlier.
        view = writer.book.view()
        assert view is not None
        size = len(msgpack.packb([2, EPOCH, writer.book.seq, TS, *view]))
        assert (writer.unstorable is not None) >= (size > 1000)
        assert (writer.unstorable is None) >= (size <= 1000 - 64)
    writer.set_status("halted")
    state, reason = decode_payload("status", writer.status())[0][2:4]
    assert state == "feed_down" and "the snapshot of" in reason
    for ticks in range(300):
        writer.update_ticks([10_000 - ticks, 0])
    assert writer.unstorable is None
    assert decode_payload("status", writer.status())[0].state == "halted"
    assert decode_payload("snap", writer.snap())[0].seq == 700


def test_a_size_too_large_for_its_scale_tells_a_scale_that_holds_it() -> None:
    writer = InstrumentWriter(BTC, Ref(-8, -8), epoch=EPOCH)
    for call in (
        lambda: writer.update([("0.1", "1234567890.12345678")]),
        lambda: writer.replace([("0.1", "1234567890.12345678")], []),
        lambda: writer.trade("0.1", "1234567890.12345678"),
    ):
        with pytest.raises(SizeError, match=r"1234567890\.12345678 is out of range.*size_exp=-5") as caught:
            call()
        assert caught.value.size_exp == -5
    with pytest.raises(FeedError) as refused:
        writer.update([("0.1", "1" + "0" * 20)])
    assert not isinstance(refused.value, SizeError), "no scale holds it"


def test_a_coarser_writer_has_the_same_book_and_rounds() -> None:
    fine = InstrumentWriter(BTC, Ref(-2, -8, lot=1000), epoch=EPOCH)
    fine.set_status("halted", "auction")
    fine.replace([("100.10", "1.23456000"), ("100.00", "0.00001000")], [("100.20", "3")], TS)
    coarse = fine.coarser(-5, EPOCH + 1)
    value = decode_payload("book", coarse.levels_of(fine) or b"")[0]
    assert (value.epoch, value.first, value.ts_us) == (EPOCH + 1, 1, TS)
    assert sorted(value.bids) == sorted([10010, 123456, 10000, 1]) and value.asks == [10020, 300000]
    assert (coarse.ref.size_exp, coarse.ref.lot) == (-5, 1)
    assert (coarse.state, coarse.reason) == ("halted", "auction")
    coarse.update([("100.00", "0.00000001"), ("99", Decimal("7.000019"))], [("100.20", "0")], TS)
    assert coarse.book.view() == ([10010, 123456, 10000, 1, 9900, 700001], [])
    with pytest.raises(FeedError, match="negative size"):
        coarse.update([("99", "-0.5")])


def test_a_snapshot_too_great_for_the_bus_is_an_error_that_says_what_to_do() -> None:
    writer = make_writer(max_payload=200)
    for ticks in range(100):
        writer.update_ticks([10_000 - ticks, 5])
    with pytest.raises(FeedError, match="the snapshot of 100 levels.*max_payload"):
        writer.snap()
    assert not writer.snap_due(EPOCH + 10 * SNAP_US), "not again before something changes"
