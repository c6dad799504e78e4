from __future__ import annotations

import msgpack
import pytest

from mdstream._core.codec.deflate import MOST_COMPRESSED
from mdstream._core.fanout.instrument import Instrument
from mdstream.gateway import costs
from mdstream.gateway.costs import Work, weighed


@pytest.fixture
def instrument() -> Instrument:
    """A book of 400 levels at number 1, and three updates of one level each."""
    found = Instrument("SIM:A", -2, -3)
    bids = [number for i in range(200) for number in (1000 - i, 5)]
    asks = [number for i in range(200) for number in (1001 + i, 7)]
    found.load_snap(msgpack.packb([2, 9, 1, 1, bids, asks]))
    for seq in (2, 3, 4):
        found.take_book(msgpack.packb([1, 9, seq, seq, 1, [1000, seq], []]))
    return found


@pytest.mark.parametrize(
    ("view", "work"),
    [
        ((0, 1, None), Work(410, 400)),
        ((5, 1, None), Work(20, 10)),
        ((500, 1, None), Work(410, 400)),
        ((5, 10, None), Work(410, 10)),
        ((0, 1, 3), Work(11, 1)),
        ((0, 1, 1), Work(13, 3)),
        ((5, 1, 1), Work(23, 3)),
        ((0, 1, 0), Work(410, 400)),
    ],
)
def test_a_book(instrument: Instrument, view: tuple[int, int, int | None], work: Work) -> None:
    assert costs.of_answer(instrument, "book", *view) == work


def test_many_changes_may_cost_a_snapshot_too(instrument: Instrument) -> None:
    for seq in range(5, 305):
        instrument.take_book(msgpack.packb([1, 9, seq, seq, 1, [1000, seq], []]))
    assert costs.of_answer(instrument, "book", 0, 1, 4) == Work(300 + 410, 300)


def test_trades_and_tickers(instrument: Instrument) -> None:
    instrument.reset_trades(9, 0)
    for seq in (1, 2, 3):
        instrument.take_trades(msgpack.packb([3, 9, seq, 1, 1000, 5, 1, seq]))
    assert costs.of_answer(instrument, "trades", 0, 1, 1) == Work(12, 2)
    assert costs.of_answer(instrument, "trades", 0, 1, None) == Work(10, 0)
    assert costs.of_answer(instrument, "ticker", 0, 1, None) == Work(10, 0)


def test_bytes() -> None:
    assert Work(0, 100).answer_bytes(0, False) > Work(0, 100).answer_bytes(1, False) > 900
    assert Work(0, 0).answer_bytes(0, False, 50) == Work(0, 0).answer_bytes(0, False) + 50


@pytest.mark.parametrize("depth", [0, 1, 5, 1000])
@pytest.mark.parametrize("format", [0, 1])
@pytest.mark.parametrize("channel", ["book", "trades", "ticker"])
def test_a_beginning_costs_what_an_answer_without_a_number_costs(
    instrument: Instrument, channel: str, depth: int, format: int
) -> None:
    work = costs.of_answer(instrument, channel, depth, 1, None)
    begun = costs.of_beginning(instrument, channel, depth, format, 7)
    assert begun == (work.read, work.answer_bytes(format, False, 7))


def test_compressed_bytes_weigh_more_as_far_as_a_message_is_compressed() -> None:
    assert weighed(1_000, False) == 1_000
    assert weighed(1_000, True) == 4_000
    assert weighed(MOST_COMPRESSED + 1_000, True) == 4 * MOST_COMPRESSED + 1_000
    assert Work(0, 100).answer_bytes(1, True) == 4 * Work(0, 100).answer_bytes(1, False)
