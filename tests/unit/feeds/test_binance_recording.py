"""Messages and recordings of Binance, from small files made here."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from mdstream.errors import FeedError
from mdstream.feeds.binance.events import BookTicker, DepthDiff, DepthSnapshot, ServerShutdown, Trade, parse
from mdstream.feeds.binance.recording import Summary, read_recording, summarize
from mdstream.feeds.binance.rest import SymbolInfo

DIFF = {
    "e": "depthUpdate",
    "E": 1700000000123,
    "s": "ABCXYZ",
    "U": 5,
    "u": 7,
    "b": [["1.50000000", "2.00000000"]],
    "a": [],
}
TRADE = {
    "e": "trade",
    "E": 1700000000124,
    "s": "ABCXYZ",
    "t": 9,
    "p": "1.5100",
    "q": "0.25",
    "T": 1700000000120,
    "m": True,
}
TICKER = {"u": 7, "s": "ABCXYZ", "b": "1.50000000", "B": "2.00000000", "a": "1.60000000", "A": "3.00000000"}
SNAPSHOT = {"lastUpdateId": 6, "bids": [["1.50000000", "1.00000000"]], "asks": [["1.62500000", "3.00000000"]]}


def wrapped(data: dict[str, Any]) -> dict[str, Any]:
    return {"stream": "abcxyz@anything", "data": data}


@pytest.mark.parametrize("wrap", [wrapped, dict])
def test_messages_are_read_in_and_out_of_the_combined_streams_wrapper(wrap: Any) -> None:
    assert parse(json.dumps(wrap(DIFF))) == DepthDiff(
        "ABCXYZ", 1700000000123, 5, 7, [("1.50000000", "2.00000000")], []
    )
    trade = parse(json.dumps(wrap(TRADE)))
    assert isinstance(trade, Trade)
    assert (trade.side, trade.ts_us, trade.trade_id) == ("sell", 1700000000124000, 9)
    assert isinstance(parse(json.dumps(wrap(TICKER))), BookTicker)
    assert isinstance(parse(json.dumps(wrap(SNAPSHOT))), DepthSnapshot)
    assert isinstance(parse(json.dumps(wrap({"e": "serverShutdown", "E": 1}))), ServerShutdown)


def test_event_times_may_be_in_microseconds() -> None:
    event = parse(json.dumps(DIFF | {"E": 1700000000123456}))
    assert isinstance(event, DepthDiff)
    assert event.ts_us == 1700000000123456


@pytest.mark.parametrize("message", [{"result": None, "id": 1}, {"e": "kline", "E": 1}, [], 5, {}])
def test_what_is_no_market_data_is_passed_over(message: Any) -> None:
    assert parse(json.dumps(message)) is None


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        '{"e":"depthUpdate"}',
        json.dumps(DIFF | {"U": "5"}),
        json.dumps(DIFF | {"b": [["1"]]}),
        b"\xff\xfe",
    ],
)
def test_what_is_none_of_the_venues_forms_is_an_error_that_shows_it(text: str) -> None:
    with pytest.raises(FeedError, match="Binance"):
        parse(text)


@pytest.mark.parametrize(
    "message",
    [
        DIFF | {"pu": 4, "T": 1700000000120},
        DIFF | {"ps": "ABCXYZ"},
        TRADE | {"X": "MARKET"},
        TICKER | {"e": "bookTicker", "T": 1700000000120, "E": 1700000000120},
        SNAPSHOT | {"E": 1700000000120, "T": 1700000000118},
        {"e": "markPriceUpdate", "E": 1700000000120, "s": "ABCXYZ", "p": "1.5"},
    ],
)
@pytest.mark.parametrize("wrap", [wrapped, dict])
def test_futures_are_refused_by_name(wrap: Any, message: dict[str, Any]) -> None:
    with pytest.raises(FeedError, match="Binance's futures .* publishes Binance spot"):
        parse(json.dumps(wrap(message)))


def test_a_recording_of_futures_is_refused_with_its_line(tmp_path: Path) -> None:
    path = write(tmp_path / "a.txt", SNAPSHOT, DIFF | {"pu": 4})
    with pytest.raises(FeedError, match=r"a\.txt, line 2: .*futures"):
        summarize(path)


def write(path: Path, *messages: dict[str, Any]) -> Path:
    lines = "".join(
        f"{1_700_000_000_000_000_000 + number} {json.dumps(message)}\n"
        for number, message in enumerate(messages)
    )
    path.write_bytes(gzip.compress(lines.encode()) if path.suffix == ".gz" else lines.encode())
    return path


@pytest.mark.parametrize("name", ["a.gz", "a.txt"])
def test_a_recording_is_read_gzipped_or_not_and_summed_up(tmp_path: Path, name: str) -> None:
    path = write(tmp_path / name, wrapped(DIFF), SNAPSHOT, TRADE, TICKER, {"result": None, "id": 1})
    recorded = list(read_recording(path))
    assert [type(each.event).__name__ for each in recorded] == [
        "DepthDiff",
        "DepthSnapshot",
        "Trade",
        "BookTicker",
    ]
    assert recorded[1].local_ns == 1_700_000_000_000_000_001
    assert summarize(path) == Summary(frozenset({"ABCXYZ"}), price_exp=-3, size_exp=-2, snapshots=1)


def test_a_bad_line_is_an_error_with_its_number(tmp_path: Path) -> None:
    path = write(tmp_path / "a.txt", DIFF)
    with path.open("a") as file:
        file.write("\nyesterday {}\n")
    with pytest.raises(FeedError, match=r"a\.txt, line 3: .*'<local ns> <json>'"):
        list(read_recording(path))


def test_gzip_cut_short_is_an_error(tmp_path: Path) -> None:
    path = write(tmp_path / "a.gz", *[DIFF] * 100)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(FeedError, match="cut short"):
        list(read_recording(path))


def test_increments_become_exponents_ticks_and_lots() -> None:
    info = SymbolInfo("X", "0.05000000", "0.00001000", "TRADING")
    assert (info.price_exp, info.tick, info.size_exp, info.lot) == (-2, 5, -5, 1)
    whole = SymbolInfo("X", "10.00000000", "1.00000000", "TRADING")
    assert (whole.price_exp, whole.tick, whole.size_exp, whole.lot) == (0, 10, 0, 1)
