"""Kraken's books and messages: the cut, the checksum, both versions' forms, and decimals that JSON has lost."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from zlib import crc32

import pytest

from mdstream.errors import FeedError
from mdstream.feeds._actions import Apply, Load, Lost
from mdstream.feeds.kraken.book import ChecksumMismatch, Precision, VenueBook
from mdstream.feeds.kraken.events import (
    Answer,
    BookMessage,
    NoPairs,
    PairInfo,
    SystemStatus,
    TradeMessage,
    parse,
)
from mdstream.feeds.kraken.pair import Pair, Told, scale_of, state_of
from mdstream.feeds.kraken.recording import Connected, read_recording, summarize
from mdstream.feeds.kraken.sync import PairSync

BIDS = [("45283.5", "0.10000000"), ("45283.4", "1.54582015"), ("45282.1", "0.10000000")]
ASKS = [("45285.2", "0.00100000"), ("45286.4", "1.54571953"), ("45286.6", "1.54571109")]
TEXT = "4528521000004528641545719534528661545711094528351000000045283415458201545282110000000"


def make_book(depth: int = 10) -> VenueBook:
    book = VenueBook("BTC/USD", depth, Precision(1, 8))
    book.load(BIDS, ASKS, None)
    return book


def test_the_checksum_is_over_digits_without_points_and_leading_zeros_asks_first() -> None:
    assert make_book().checksum() == crc32(TEXT.encode())


def test_the_checksum_takes_ten_levels_a_side() -> None:
    levels = [(f"{100 + number}", "1") for number in range(12)]
    book = VenueBook("X", 100, Precision(0, 0))
    book.load([], levels, None)
    assert book.checksum() == crc32("".join(f"{100 + number}1" for number in range(10)).encode())


def test_what_falls_beyond_the_depth_is_deleted_and_comes_out_as_a_delete() -> None:
    book = make_book(depth=3)
    changes = book.update([("45283.6", "2.00000000")], [], None)
    assert changes.bids == [("45283.6", "2.00000000"), ("45282.1", "0")]
    assert changes.asks == []
    assert book.bids == [("45283.6", "2.00000000"), *BIDS[:2]]


def test_a_level_that_comes_and_falls_beyond_the_depth_at_once_is_a_delete() -> None:
    book = make_book(depth=3)
    assert book.update([], [("45290", "1")], None).asks == [("45290", "0")]


def test_of_a_price_named_twice_the_last_counts_also_in_another_spelling() -> None:
    book = make_book()
    changes = book.update([("45283.5", "0"), ("45283.50", "7.00000000")], [], None)
    assert changes.bids == [("45283.50", "7.00000000")]
    assert book.bids[0] == ("45283.50", "7.00000000")


def test_a_wrong_checksum_names_both_and_the_touch() -> None:
    with pytest.raises(
        ChecksumMismatch, match=r"BTC/USD: the venue's checksum is 1, .*45283\.5 × 0\.10000000"
    ):
        make_book().update([], [], 1)


@pytest.mark.parametrize("level", [("x", "1"), ("1.55", "1"), ("1.5", "-1"), ("NaN", "1"), ("1.5", "1e-99")])
def test_numbers_that_cannot_be_are_refused(level: tuple[str, str]) -> None:
    with pytest.raises(FeedError, match="number"):
        make_book().update([level], [], None)


def message(snapshot: bool, checksum: int | None = None, bids: Any = (), asks: Any = ()) -> BookMessage:
    return BookMessage("BTC/USD", snapshot, list(bids), list(asks), checksum, 5)


def test_a_pair_is_lost_by_a_wrong_checksum_and_found_by_the_next_snapshot() -> None:
    sync = PairSync("BTC/USD", 10, Precision(1, 8))
    assert sync.on_book(message(False, 1)) == [], "nothing to apply it to"
    (load,) = sync.on_book(message(True, crc32(TEXT.encode()), BIDS, ASKS))
    assert isinstance(load, Load)
    (lost,) = sync.on_book(message(False, 1, [("45283.5", "0")]))
    assert isinstance(lost, Lost)
    assert sync.wants_snapshot
    assert sync.on_book(message(False, 1)) == []
    (load,) = sync.on_book(message(True, None, BIDS, ASKS))
    assert load == Load(BIDS, ASKS, 5)
    assert not sync.wants_snapshot
    (apply,) = sync.on_book(message(False, None, [("45283.5", "0")]))
    assert apply == Apply([("45283.5", "0")], [], 5)
    assert (sync.checked, sync.mismatches) == (1, 1)


def test_version_1_books_and_trades() -> None:
    text = '[1, {"as":[["5.10","1.0","16.5"]],"bs":[["5.00","2.0","17.25"]]}, "book-100", "XBT/USD"]'
    assert parse(text) == [
        BookMessage("XBT/USD", True, [("5.00", "2.0")], [("5.10", "1.0")], None, 17_250_000, 100)
    ]
    text = '[1, {"a":[["5.10","0.0","18.0","r"]]}, {"b":[["5.00","2.0","17.0"]],"c":"123"}, "book-10", "XBT/USD"]'
    assert parse(text) == [
        BookMessage("XBT/USD", False, [("5.00", "2.0")], [("5.10", "0.0")], 123, 18_000_000, 10)
    ]
    text = '[0, [["5.1","2.5","16.000001","s","l",""], ["5.2","1","17.0","b","m",""]], "trade", "XBT/USD"]'
    assert parse(text) == [
        TradeMessage("XBT/USD", "5.1", "2.5", "sell", 16_000_001),
        TradeMessage("XBT/USD", "5.2", "1", "buy", 17_000_000),
    ]


def test_version_2_books_trades_and_pairs() -> None:
    level = {"price": 85592, "qty": 5e-05}
    book = {
        "symbol": "BTC/USD",
        "bids": [level],
        "asks": [],
        "checksum": 7,
        "timestamp": "2024-05-06T07:08:09.1Z",
    }
    ts_us = 1_714_979_289_100_000
    assert parse(json.dumps({"channel": "book", "type": "update", "data": [book]})) == [
        BookMessage("BTC/USD", False, [("85592", "0.00005")], [], 7, ts_us)
    ]
    trade = {
        "symbol": "BTC/USD",
        "side": "sell",
        "price": 1e5,
        "qty": 1,
        "trade_id": 4,
        "timestamp": "2024-05-06T07:08:09Z",
    }
    assert parse(json.dumps({"channel": "trade", "type": "snapshot", "data": [trade]})) == [
        TradeMessage("BTC/USD", "100000.0", "1", "sell", 1_714_979_289_000_000, 4, snapshot=True)
    ]
    pair = {
        "symbol": "BTC/USD",
        "price_precision": 1,
        "qty_precision": 8,
        "price_increment": 0.5,
        "qty_increment": 1e-08,
    }
    (info,) = parse(json.dumps({"channel": "instrument", "type": "snapshot", "data": {"pairs": [pair]}}))
    assert info == PairInfo("BTC/USD", Precision(1, 8), "0.5", "0.00000001", "online")
    assert isinstance(info, PairInfo)
    scale = scale_of(info)
    assert (scale.price_exp, scale.tick, scale.size_exp, scale.lot) == (-1, 5, -8, 1)
    assert parse('{"method":"subscribe","success":false,"error":"no"}') == [Answer(False, "no")]
    assert parse('{"method":"unsubscribe","success":false,"error":"no","symbol":"BTC/USD"}') == [
        Answer(False, "no", method="unsubscribe", symbol="BTC/USD")
    ]
    assert parse('{"channel":"instrument","type":"snapshot","data":{"pairs":[]}}') == [NoPairs()]
    assert parse('{"channel":"status","type":"update","data":[{"system":"maintenance"}]}') == [
        SystemStatus("maintenance")
    ]


@pytest.mark.parametrize(
    ("status", "state"),
    [
        ("online", "trading"),
        ("post_only", "trading"),
        ("limit_only", "trading"),
        ("cancel_only", "halted"),
        ("work_in_progress", "halted"),
        ("maintenance", "halted"),
        ("delisted", "closed"),
    ],
)
def test_the_venues_states_become_ours(status: str, state: str) -> None:
    info = PairInfo("X", Precision(0, 0), "1", "1", status)
    assert state_of(info)[0] == state
    assert state_of(info, "maintenance")[0] == ("closed" if state == "closed" else "halted")
    assert state_of(info)[1] == ("" if status == "online" else f"the venue's status is {status}")
    assert state_of(None)[0] == "closed"


class Trades:
    """The published instrument, of which only trades matter here."""

    symbol = "BTC/USD"

    def __init__(self) -> None:
        self.numbers: list[int | None] = []
        self.lost: list[int] = []
        self.finer = False

    def trade(self, price: str, size: str, side: str, trade_id: int | None, ts_us: int) -> FeedError | None:
        self.numbers.append(trade_id)
        return FeedError("finer than the scale") if self.finer else None

    def lose_trades(self, count: int) -> None:
        self.lost.append(count)

    def perform(self, actions: list[Any]) -> None:
        """The book's state is not looked at."""


def test_each_trade_is_published_once_and_also_where_the_venues_numbers_begin_again() -> None:
    trades = Trades()
    pair = Pair(trades, 10, Precision(1, 8))  # type: ignore[arg-type]

    def come(*numbers: int, snapshot: bool = False) -> list[Told]:
        return [
            pair.on_trade(TradeMessage("BTC/USD", "1", "1", "buy", 5, number, snapshot=snapshot))
            for number in numbers
        ]

    come(1, 2, 3, snapshot=True)
    assert trades.numbers == [], "they are from before we started"
    assert come(4, 5) == [Told.NEW, Told.NEW]
    assert come(4, 5, 6, snapshot=True) == [Told.NOTHING, Told.NOTHING, Told.NEW]
    come(7, 1, 2)
    assert trades.numbers == [4, 5, 6, 7, 1, 2]
    come(1, 2, 3, snapshot=True)
    assert trades.numbers == [4, 5, 6, 7, 1, 2, 3]
    assert trades.lost == []
    come(6, 7, snapshot=True)
    come(10**9, snapshot=True)
    assert trades.numbers[-3:] == [6, 7, 10**9]
    assert trades.lost == [2], "4 and 5 are lost; then the venue's numbers have jumped"


def test_a_trade_finer_than_the_scale_makes_the_pair_want_a_new_book() -> None:
    trades = Trades()
    pair = Pair(trades, 10, Precision(1, 8))  # type: ignore[arg-type]
    trades.finer = True
    assert not pair.wants_snapshot
    pair.on_trade(TradeMessage("BTC/USD", "1", "1", "buy", 5, 1))
    assert pair.wants_snapshot


@pytest.mark.parametrize(
    "text", ['{"event":"heartbeat"}', '{"channel":"status","data":[]}', '[1,{},"spread","X"]']
)
def test_what_is_no_market_data_is_passed_over(text: str) -> None:
    assert parse(text) == []


@pytest.mark.parametrize(
    "text",
    [
        "",
        "5",
        "[]",
        '{"channel":"book"}',
        '[1,{"b":[["x"]]},"book-10","X"]',
        '[1,{"b":[["1","2","x"]]},"book-10","X"]',
    ],
)
def test_what_is_none_of_the_venues_forms_is_an_error_that_shows_it(text: str) -> None:
    with pytest.raises(FeedError, match="Kraken"):
        parse(text)


def test_a_recording_with_notes_of_connections(tmp_path: Path) -> None:
    path = tmp_path / "KRAKEN"
    path.write_text(
        "wss://ws.kraken.com <-> 1618678132.5\n"
        'wss://ws.kraken.com <- 1618678132.6: {"event":"subscribe"}\n'
        '1618678133.25: [1,{"as":[["5.1000","1.000","16.5"]],"bs":[]},"book-25","XBT/USD"]\n'
        '1618678134: {"event":"heartbeat"}\n'
    )
    recorded = list(read_recording(path))
    assert recorded[0].event == Connected()
    assert [each.local_ns for each in recorded] == [1_618_678_132_500_000_000, 1_618_678_133_250_000_000]
    summary = summarize(path)["XBT/USD"]
    assert (summary.depth, summary.precision) == (25, Precision(4, 3))
    assert (summary.price_exp, summary.size_exp) == (-1, 0)


def test_decimals_that_json_has_lost_are_those_for_which_the_first_checksum_holds(tmp_path: Path) -> None:
    book = VenueBook("X", 10, Precision(3, 5))
    book.load([("5.1", "2")], [("5.2", "2.5")], None)
    data = {"symbol": "X", "bids": [{"price": 5.1, "qty": 2}], "asks": [{"price": 5.2, "qty": 2.5}]}
    path = tmp_path / "x.jsonl"
    path.write_text(
        json.dumps({"channel": "book", "type": "snapshot", "data": [data | {"checksum": book.checksum()}]})
        + "\n"
    )
    summary = summarize(path)["X"]
    assert (summary.depth, summary.precision, summary.price_exp, summary.size_exp) == (
        10,
        Precision(3, 5),
        -1,
        -1,
    )


def test_a_bad_line_is_an_error_with_its_number(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_text('{"channel":"status"}\nhello\n')
    with pytest.raises(FeedError, match="x, line 2"):
        list(read_recording(path))
