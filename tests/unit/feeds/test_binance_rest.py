"""The REST API: weights, refusals that all requests heed, and answers that cannot be read."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from typing import Any

import pytest

from mdstream.errors import FeedError
from mdstream.feeds._websocket import VenueUnavailable
from mdstream.feeds.binance.budget import Rank, Turns, WeightBudget
from mdstream.feeds.binance.rest import Answer, RestApi, UnknownSymbol

BOOK = Answer(200, b'{"lastUpdateId": 5, "bids": [["1.5", "2"]], "asks": []}')


class Venue:
    """Answers as told, and a clock that passes only while we wait for our turn."""

    def __init__(self, *answers: Answer) -> None:
        self.now = 0.0
        self.answers = list(answers)
        self.asked: list[tuple[float, str]] = []
        self.budget = WeightBudget(clock=lambda: self.now)
        self.rest = RestApi("http://venue/", turns=Turns(self.budget, sleep=self._sleep), fetch=self._fetch)

    async def _sleep(self, seconds: float) -> None:
        self.now += seconds

    async def _fetch(self, url: str) -> Answer:
        self.asked.append((self.now, url))
        return self.answers.pop(0)


def entry(symbol: str, *, tick: str = "0.01000000", status: str = "TRADING") -> dict[str, Any]:
    filters = [
        {"filterType": "PRICE_FILTER", "tickSize": tick, "minPrice": tick},
        {"filterType": "LOT_SIZE", "stepSize": "0.00001000"},
        {"filterType": "ICEBERG_PARTS", "limit": 10},
    ]
    return {"symbol": symbol, "status": status, "baseAsset": "X", "filters": filters}


def info(*entries: dict[str, Any]) -> Answer:
    return Answer(200, json.dumps({"timezone": "UTC", "symbols": list(entries)}).encode())


def test_a_snapshot_weighs_by_its_levels(run: Callable[..., Any]) -> None:
    async def scenario() -> None:
        venue = Venue(BOOK, BOOK)
        assert (await venue.rest.depth("ABC")).update_id == 5
        assert venue.asked == [(0.0, "http://venue/api/v3/depth?symbol=ABC&limit=5000")]
        assert venue.budget.wait_s(3_000) == pytest.approx(250 / 45)
        await venue.rest.depth("ABC", 100, Rank.CHECK)
        assert venue.budget.wait_s(3_000) == pytest.approx(255 / 45)

    run(scenario())


@pytest.mark.parametrize("code", [429, 418])
def test_after_a_refusal_nobody_asks_until_the_time_that_the_venue_names(
    run: Callable[..., Any], code: int
) -> None:
    async def scenario() -> None:
        venue = Venue(Answer(code, b'{"code":-1003}', retry_after_s=61.0), info(entry("ABC")))
        with pytest.raises(VenueUnavailable, match=f"{code} .*-1003") as refused:
            await venue.rest.depth("ABC")
        assert refused.value.retry_after_s == 61
        await venue.rest.symbols(["ABC"])
        assert [at for at, _ in venue.asked] == [0, 61]

    run(scenario())


def test_a_refusal_that_names_no_time_is_waited_for_longer_each_time(run: Callable[..., Any]) -> None:
    async def scenario() -> None:
        venue = Venue(*[Answer(429, b"")] * 4, Answer(418, b""), BOOK)
        for _ in range(5):
            with pytest.raises(VenueUnavailable):
                await venue.rest.depth("ABC")
        await venue.rest.depth("ABC")
        times = [at for at, _ in venue.asked]
        assert all(later - earlier >= 1 for earlier, later in itertools.pairwise(times))
        assert times[5] - times[4] >= 120, "the shortest ban"

    run(scenario())


def test_symbols_are_read_with_their_states_and_increments(run: Callable[..., Any]) -> None:
    async def scenario() -> None:
        venue = Venue(info(entry("ABC", status="BREAK"), entry("XYZ", tick="0.50000000")))
        infos = await venue.rest.symbols(["ABC", "XYZ"])
        assert infos["ABC"].state == ("halted", "the venue's status is BREAK")
        assert (infos["XYZ"].state, infos["XYZ"].scale.tick) == (("trading", ""), 5)

    run(scenario())


def test_many_symbols_are_asked_for_in_parts(run: Callable[..., Any]) -> None:
    async def scenario() -> None:
        names = [f"S{number}" for number in range(250)]
        venue = Venue(*[info(*map(entry, names[at : at + 100])) for at in (0, 100, 200)])
        assert list(await venue.rest.symbols(names)) == names
        assert len(venue.asked) == 3

    run(scenario())


def test_an_unknown_symbol_is_named(run: Callable[..., Any]) -> None:
    async def scenario() -> None:
        venue = Venue(Answer(400, b'{"code":-1121,"msg":"Invalid symbol."}'), info(entry("ABC")))
        with pytest.raises(UnknownSymbol, match="NOPE"):
            await venue.rest.symbols(["NOPE"])
        with pytest.raises(UnknownSymbol, match="NOPE"):
            await venue.rest.symbols(["ABC", "NOPE"])

    run(scenario())


def test_past_trades_are_asked_for_by_id(run: Callable[..., Any]) -> None:
    async def scenario() -> None:
        past = {"id": 8, "price": "1.5", "qty": "2", "quoteQty": "3", "time": 9, "isBuyerMaker": True}
        venue = Venue(Answer(200, json.dumps([past]).encode()))
        (trade,) = await venue.rest.trades("ABC", range(8, 10))
        assert (trade.symbol, trade.trade_id, trade.price, trade.size) == ("ABC", 8, "1.5", "2")
        assert (trade.side, trade.ts_us) == ("sell", 9_000)
        assert venue.asked[0][1].endswith("historicalTrades?symbol=ABC&fromId=8&limit=3")

    run(scenario())


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'{"symbols":[{"symbol":"ABC"}]}', b"\xff"])
def test_what_cannot_be_read_is_an_error(run: Callable[..., Any], body: bytes) -> None:
    async def scenario() -> None:
        for ask in (
            lambda rest: rest.symbols(["ABC"]),
            lambda rest: rest.depth("ABC"),
        ):
            with pytest.raises(FeedError):
                await ask(Venue(Answer(200, body)).rest)

    run(scenario())


def test_a_symbol_without_increments_is_an_error(run: Callable[..., Any]) -> None:
    async def scenario() -> None:
        bare = {"symbol": "ABC", "status": "TRADING", "filters": []}
        with pytest.raises(FeedError, match="exchangeInfo cannot be read"):
            await Venue(info(bare)).rest.symbols(["ABC"])

    run(scenario())
