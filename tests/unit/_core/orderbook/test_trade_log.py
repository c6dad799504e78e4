"""The trade log: a bounded ring that grows on demand, and ids that come back as they were sent."""

from __future__ import annotations

import pytest

from mdstream._core.orderbook.trade_log import TradeLog
from mdstream.errors import SequenceError


def filled(trades: int, capacity: int) -> TradeLog:
    log = TradeLog(capacity)
    for seq in range(1, trades + 1):
        log.append(seq, 1_000 + seq, -seq, seq, seq % 3, seq)
    return log


@pytest.mark.parametrize("capacity", [1, 5, 16, 17, 100])
@pytest.mark.parametrize("trades", [0, 1, 15, 16, 17, 99, 250])
def test_newest_trades_are_kept(trades: int, capacity: int) -> None:
    log = filled(trades, capacity)
    kept = min(trades, capacity)
    assert (log.seq, len(log), log.oldest) == (trades, kept, trades - kept + 1)
    for seq in range(1, trades + 3):
        expected = (seq, 1_000 + seq, -seq, seq, seq % 3, seq) if trades - kept < seq <= trades else None
        assert log.get(seq) == expected
    assert log.get(0) is None


def test_trade_that_does_not_follow_is_refused() -> None:
    log = filled(3, 8)
    for seq in (3, 5):
        with pytest.raises(SequenceError, match=f"trade {seq} does not follow trade 3 of epoch 0"):
            log.append(seq, 0, 1, 1, 0, "")
    assert (log.seq, len(log)) == (3, 3)


def test_reset_goes_on_from_the_number_given() -> None:
    log = filled(3, 8)
    log.reset(9, 40)
    assert (log.epoch, log.seq, len(log), log.oldest) == (9, 40, 0, 41)
    assert [log.get(seq) for seq in (1, 3, 40, 41)] == [None] * 4
    log.append(41, 0, 1, 1, 0, "x")
    assert log.get(41) == (41, 0, 1, 1, 0, "x")
    assert log.oldest == 41


INTEGERS = [0, 31, 127, 128, 255, 256, 65535, 65536, 2**32 - 1, 2**32, 2**53, 2**63, 2**64 - 1]
NEGATIVE = [-1, -32, -33, -128, -129, -(2**15), -(2**15) - 1, -(2**31), -(2**31) - 1, -(2**63)]
TEXTS = ["", "a", "é" * 15 + "x", "é" * 16, "z" * 126, "0", "\x00", "𝄞"]


@pytest.mark.parametrize("trade_id", [*INTEGERS, *NEGATIVE, *TEXTS])
def test_id_comes_back_as_it_was_given(trade_id: int | str) -> None:
    log = TradeLog()
    log.append(1, 0, 1, 1, 0, trade_id)
    trade = log.get(1)
    assert trade is not None
    assert trade[5] == trade_id
    assert type(trade[5]) is type(trade_id)


@pytest.mark.parametrize(
    ("trade_id", "error"),
    [("z" * 127, ValueError), (2**64, OverflowError), (-(2**63) - 1, OverflowError), (None, TypeError)],
)
def test_impossible_id_is_refused(trade_id: int | str, error: type[Exception]) -> None:
    log = TradeLog()
    with pytest.raises(error):
        log.append(1, 0, 1, 1, 0, trade_id)
    assert log.seq == 0


@pytest.mark.parametrize("capacity", [0, -1, 2**24 + 1])
def test_impossible_capacity_is_refused(capacity: int) -> None:
    with pytest.raises(ValueError, match="a trade log holds 1 to"):
        TradeLog(capacity)
