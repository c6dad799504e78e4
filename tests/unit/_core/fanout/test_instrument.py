"""From bytes to book: what is new is applied, what is known or fenced is dropped, what is missing is a gap."""

from __future__ import annotations

import msgpack
import pytest

from mdstream._core.codec.feed_encoder import pack_book, pack_snap, pack_trade
from mdstream._core.fanout.instrument import Instrument, Outcome
from mdstream.errors import BookError, PayloadError

NOTHING, APPLIED, GAP, NEW_EPOCH = Outcome.NOTHING, Outcome.APPLIED, Outcome.GAP, Outcome.NEW_EPOCH


def update(epoch: int, first: int, last: int | None = None, bid: int = 10) -> bytes:
    """Sets ``bid`` to the size of the update's last number."""
    last = first if last is None else last
    return pack_book(epoch, first, last, 1_000 + last, [bid, last], [])


def trade(epoch: int, seq: int, size: int = 1) -> bytes:
    return pack_trade(epoch, seq, 1_000 + seq, 100 + seq, size, 1, seq)


@pytest.fixture
def opened() -> Instrument:
    """At number 5 of epoch 7, one bid of 10 ticks and 5 lots."""
    instrument = Instrument("SIM:X", -2, -8)
    assert instrument.load_snap(pack_snap(7, 5, 1_005, [10, 5], []))
    return instrument


# ---- book


def test_instrument_never_opened_takes_only_what_begins_an_epoch() -> None:
    instrument = Instrument("SIM:X", -2, -8)
    assert instrument.take_book(update(7, 2)) is GAP
    assert (instrument.book.epoch, instrument.book.seq) == (0, 0)
    assert instrument.take_book(update(7, 1, 3)) is NEW_EPOCH
    assert (instrument.book.epoch, instrument.book.seq, instrument.book.ts_us) == (7, 3, 1_003)


def test_update_that_follows_is_applied(opened: Instrument) -> None:
    assert opened.take_book(update(7, 6)) is APPLIED
    assert opened.take_book(update(7, 7, 9) + update(7, 10)) is APPLIED
    assert (opened.book.seq, opened.book.view()) == (10, ([10, 10], []))
    assert opened.updates_applied == 3


def test_known_update_is_dropped(opened: Instrument) -> None:
    assert opened.take_book(update(7, 5) + update(7, 1, 4)) is NOTHING
    assert (opened.book.seq, opened.book.level(1, 10)) == (5, 5)
    assert (opened.updates_dropped, opened.updates_applied) == (2, 0)


def test_update_that_overlaps_is_applied(opened: Instrument) -> None:
    assert opened.take_book(update(7, 4, 8)) is APPLIED
    assert (opened.book.seq, opened.book.level(1, 10)) == (8, 8)
    assert opened.book.delta(5) == ([10, 8], [])


def test_missing_number_is_a_gap_and_what_came_before_stays(opened: Instrument) -> None:
    assert opened.take_book(update(7, 5) + update(7, 6) + update(7, 8) + b"never read") is GAP
    assert (opened.book.seq, opened.book.level(1, 10)) == (6, 6)
    assert opened.take_book(update(7, 7) + update(7, 8)) is APPLIED
    assert opened.book.seq == 8


def test_smaller_epoch_is_fenced(opened: Instrument) -> None:
    assert opened.take_book(update(6, 6) + update(6, 1)) is NOTHING
    assert (opened.book.epoch, opened.book.seq, opened.fenced) == (7, 5, 2)


def test_greater_epoch_at_its_beginning_replaces_the_book(opened: Instrument) -> None:
    assert opened.take_book(update(7, 6) + update(8, 1, bid=20) + update(8, 2, bid=21)) is NEW_EPOCH
    assert (opened.book.epoch, opened.book.seq) == (8, 2)
    assert opened.book.view() == ([21, 2, 20, 1], [])
    assert opened.book.keeps(0)
    assert not opened.book.keeps(5)


def test_greater_epoch_later_on_is_a_gap_and_fences_the_old(opened: Instrument) -> None:
    assert opened.take_book(update(8, 4)) is GAP
    assert (opened.book.epoch, opened.book.seq, opened.epoch) == (7, 5, 8)
    assert opened.take_book(update(7, 6)) is NOTHING
    assert (opened.book.seq, opened.fenced) == (5, 1)
    assert opened.load_snap(pack_snap(8, 3, 0, [9, 9], []))
    assert opened.take_book(update(8, 4)) is APPLIED


def test_epoch_of_one_stream_fences_the_others(opened: Instrument) -> None:
    assert opened.take_trades(trade(8, 1)) is NEW_EPOCH
    assert opened.take_book(update(7, 6)) is NOTHING
    assert not opened.load_snap(pack_snap(7, 6, 0, [], []))
    assert opened.fenced == 2


def test_gap_outranks_a_new_epoch(opened: Instrument) -> None:
    assert opened.take_book(update(8, 1) + update(8, 3)) is GAP
    assert (opened.book.epoch, opened.book.seq) == (8, 1)


def test_refused_update_is_a_hole(opened: Instrument) -> None:
    crossed = pack_book(7, 7, 7, 0, [10, 1], [10, 1])
    with pytest.raises(BookError, match=r"SIM:X update 7\.\.7 would cross"):
        opened.take_book(update(7, 6) + crossed + update(7, 8))
    assert (opened.book.seq, opened.book.view()) == (6, ([10, 6], []))
    assert opened.take_book(update(7, 8)) is GAP


def test_refused_bytes_name_the_instrument_and_keep_what_came_before(opened: Instrument) -> None:
    with pytest.raises(
        PayloadError, match=r"SIM:X book payload, value 1, bids, lots of level 0, byte \d+: must be 0"
    ):
        opened.take_book(update(7, 6) + pack_book(7, 7, 7, 0, [10, -1], []))
    assert opened.book.seq == 6
    with pytest.raises(PayloadError, match="SIM:X book payload, value 0"):
        opened.take_book(b"")


# ---- snapshots


def test_snapshot_is_loaded_only_if_newer(opened: Instrument) -> None:
    assert not opened.load_snap(pack_snap(7, 5, 0, [99, 9], []))
    assert not opened.load_snap(pack_snap(7, 4, 0, [99, 9], []))
    assert opened.book.view() == ([10, 5], [])
    assert opened.load_snap(pack_snap(7, 6, 0, [99, 9], []))
    assert (opened.book.seq, opened.book.view()) == (6, ([99, 9], []))
    assert opened.load_snap(pack_snap(8, 2, 0, [], [1, 1]))
    assert (opened.book.epoch, opened.book.seq, opened.book.view()) == (8, 2, ([], [1, 1]))


def test_snapshot_of_number_0_opens_an_instrument() -> None:
    instrument = Instrument("SIM:X", -2, -8)
    assert instrument.load_snap(pack_snap(7, 0, 0, [], []))
    assert instrument.take_book(update(7, 1)) is APPLIED


def test_forced_snapshot_may_go_back_but_not_behind_the_fence(opened: Instrument) -> None:
    assert opened.load_snap(pack_snap(7, 3, 0, [99, 9], []), force=True)
    assert (opened.book.seq, opened.book.view()) == (3, ([99, 9], []))
    assert not opened.load_snap(pack_snap(6, 9, 0, [], []), force=True)


def test_newest_of_several_snapshots_remains(opened: Instrument) -> None:
    assert opened.load_snap(pack_snap(7, 9, 0, [9, 9], []) + pack_snap(7, 8, 0, [8, 8], []))
    assert opened.book.view() == ([9, 9], [])


def test_refused_snapshot_changes_nothing(opened: Instrument) -> None:
    with pytest.raises(BookError, match="SIM:X snapshot 9: bid 1 at 6 ticks does not follow 5"):
        opened.load_snap(pack_snap(7, 9, 0, [5, 1, 6, 1], []))
    with pytest.raises(PayloadError, match="SIM:X snap payload, value 0, the value"):
        opened.load_snap(update(7, 6))
    assert (opened.book.seq, opened.book.view()) == (5, ([10, 5], []))


# ---- trades


def test_trades_are_taken_in_order() -> None:
    instrument = Instrument("SIM:X", -2, -8)
    assert instrument.take_trades(trade(7, 3)) is GAP
    assert instrument.last_trade == {"ticks": 0, "lots": 0}
    assert instrument.take_trades(trade(7, 1) + trade(7, 2)) is NEW_EPOCH
    assert instrument.take_trades(trade(7, 2)) is NOTHING
    assert instrument.take_trades(trade(7, 3) + trade(7, 5)) is GAP
    assert (instrument.trades.epoch, instrument.trades.seq) == (7, 3)
    assert instrument.trades.get(3) == (3, 1_003, 103, 1, 1, 3)
    assert instrument.last_trade == {"ticks": 103, "lots": 1}
    assert (instrument.trades_applied, instrument.trades_dropped) == (3, 1)


def test_trades_of_a_smaller_epoch_are_fenced_and_of_a_greater_begin_anew() -> None:
    instrument = Instrument("SIM:X", -2, -8)
    instrument.reset_trades(7, 40)
    assert instrument.take_trades(trade(7, 41)) is APPLIED
    assert instrument.take_trades(trade(6, 42)) is NOTHING
    assert instrument.take_trades(trade(8, 2)) is GAP
    assert instrument.take_trades(trade(7, 42)) is NOTHING
    assert instrument.fenced == 2
    assert instrument.take_trades(trade(8, 1) + trade(8, 2)) is NEW_EPOCH
    assert (instrument.trades.epoch, instrument.trades.seq, instrument.trades.oldest) == (8, 2, 1)


def test_trade_without_a_size_is_not_the_last_trade() -> None:
    instrument = Instrument("SIM:X", -2, -8)
    instrument.take_trades(trade(7, 1) + trade(7, 2, size=0))
    assert instrument.trades.seq == 2
    assert instrument.last_trade == {"ticks": 101, "lots": 1}


def test_refused_trade_keeps_those_before_it() -> None:
    instrument = Instrument("SIM:X", -2, -8)
    with pytest.raises(PayloadError, match="SIM:X trade payload, value 1, side"):
        instrument.take_trades(trade(7, 1) + msgpack.packb([3, 7, 2, 0, 1, 1, 9, 1]))
    assert instrument.trades.seq == 1


@pytest.mark.parametrize(("price_exp", "size_exp", "which"), [(19, 0, "price_exp"), (0, -19, "size_exp")])
def test_impossible_exponent_is_refused(price_exp: int, size_exp: int, which: str) -> None:
    with pytest.raises(ValueError, match=f"{which} of SIM:X must be -18 to 18"):
        Instrument("SIM:X", price_exp, size_exp)


def test_limits_reach_the_book_and_the_trades() -> None:
    instrument = Instrument("SIM:X", -2, -8, log_capacity=2, trade_capacity=2, max_levels=2)
    assert (instrument.name, instrument.price_exp, instrument.size_exp, instrument.topics) == (
        "SIM:X",
        -2,
        -8,
        [],
    )
    for number in (1, 2, 3):
        instrument.take_book(update(7, number))
        instrument.take_trades(trade(7, number))
    assert [instrument.book.keeps(number) for number in range(4)] == [False, True, True, True]
    assert instrument.trades.oldest == 2
    with pytest.raises(BookError, match="would be more than 2 levels a side"):
        instrument.take_book(pack_book(7, 4, 4, 0, [1, 1, 2, 1], []))


def test_an_epoch_that_begins_empties_all_and_fences_the_smaller(opened: Instrument) -> None:
    opened.take_trades(pack_trade(7, 1, 0, 10, 1, 1, 1))
    opened.begin(9)
    assert (opened.epoch, opened.book.epoch, opened.book.seq, len(opened.book)) == (9, 9, 0, 0)
    assert (opened.trades.epoch, opened.trades.seq) == (9, 0)
    assert opened.take_book(update(7, 6)) == opened.take_book(update(8, 1)) == Outcome.NOTHING
    assert opened.take_trades(pack_trade(7, 2, 0, 10, 1, 1, 1)) == Outcome.NOTHING
    assert not opened.load_snap(pack_snap(8, 9, 0, [1, 1], []), force=True)
    assert opened.take_book(update(9, 1)) == Outcome.APPLIED


def test_a_greater_epoch_than_was_begun_is_unknown_and_changes_nothing(opened: Instrument) -> None:
    opened.begin(9)
    assert opened.take_book(update(9, 1) + update(10, 1)) == Outcome.UNKNOWN
    assert opened.take_trades(pack_trade(10, 1, 0, 10, 1, 1, 1)) == Outcome.UNKNOWN
    assert not opened.load_snap(pack_snap(10, 3, 0, [1, 1], []))
    assert (opened.epoch, opened.book.seq) == (9, 1)
    for epoch in (9, 8):
        with pytest.raises(ValueError, match=f"epoch {epoch} does not follow epoch 9"):
            opened.begin(epoch)


def test_a_snapshot_is_compared_with_the_book_at_its_number(opened: Instrument) -> None:
    bids, asks = opened.book.view()
    assert opened.agrees(pack_snap(7, 5, 0, bids, asks)) is True
    assert opened.agrees(pack_snap(7, 5, 0, [*bids[:-1], bids[-1] + 1], asks)) is False
    opened.take_book(update(7, 6))
    assert opened.agrees(pack_snap(7, 5, 0, bids, asks)) is True
    for epoch, seq in ((6, 5), (7, 7), (7, 2)):
        assert opened.agrees(pack_snap(epoch, seq, 0, bids, asks)) is None
    with pytest.raises(PayloadError):
        opened.agrees(b"\xc1")
