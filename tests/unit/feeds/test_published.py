"""The published instrument: its state while the book is complete, doubtful, frozen or closed, and its scale."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from mdstream.errors import BusUnavailable, FeedError
from mdstream.feeds._actions import Apply, Load, Lost
from mdstream.feeds._published import WAITING, PublishedInstrument, Scale


class FakeInstrument:
    """Refuses what has more decimals than the scale, as the SDK does."""

    def __init__(self, told: list[Any], scale: Scale) -> None:
        self.told = told
        self.scale = scale
        self.book: tuple[Any, Any] = ([], [])
        self.seq = 0

    def _check(self, *texts: str) -> None:
        for text in texts:
            if len(text.partition(".")[2]) > -self.scale.price_exp:
                raise FeedError(f"{text} has too many decimals")

    def replace(self, bids: Any, asks: Any, *, ts_us: int | None) -> bool:
        self._check(*(price for price, _ in (*bids, *asks)))
        assert ts_us != 0
        changed, self.book = self.book != (bids, asks), (bids, asks)
        self.seq += changed
        return changed

    def update(self, bids: Any = (), asks: Any = (), *, ts_us: int | None) -> None:
        self._check(*(price for price, _ in (*bids, *asks)))
        self.seq += 1

    def trade(self, price: str, size: str, side: str, *, trade_id: int, ts_us: int | None) -> None:
        self._check(price)
        self.told.append(trade_id)

    def status(self, state: str, *, reason: str) -> None:
        self.told.append((state, reason))

    def heard(self) -> None:
        self.told.append("heard")


class FakePublisher:
    def __init__(self) -> None:
        self.told: list[Any] = []
        self.opened: list[dict[str, Any]] = []
        self.away = False

    async def instrument(self, symbol: str, **options: Any) -> FakeInstrument:
        if self.away:
            raise BusUnavailable("NATS is away")
        self.opened.append(options)
        self.told.append((options["state"], options["reason"]))
        return FakeInstrument(self.told, Scale(options["price_exp"], options["size_exp"]))


def opened(**options: Any) -> tuple[PublishedInstrument, FakePublisher]:
    publisher = FakePublisher()
    published = PublishedInstrument(publisher, "BTC/USD", Scale(-1, -2), **options)  # type: ignore[arg-type]
    asyncio.run(published.open())
    return published, publisher


BOOK = Load([("1.0", "1")], [("1.1", "1")], 5)


def test_the_state_follows_the_book() -> None:
    published, publisher = opened(depth=25)
    assert (publisher.opened[0]["depth"], publisher.opened[0]["live_venue"]) == (25, True)
    for actions in ([BOOK], [BOOK], [Lost("gone")], [BOOK]):
        assert published.perform(actions) is None
    published.up = ("halted", "maintenance")
    published.show()
    assert publisher.told == [
        ("feed_down", WAITING),
        ("trading", ""),
        ("feed_down", "gone"),
        ("trading", ""),
        ("halted", "maintenance"),
    ]


def test_a_closed_instrument_needs_no_book() -> None:
    published, publisher = opened()
    published.up = ("closed", "delisted")
    published.show()
    published.perform([Lost("gone")])
    assert publisher.told[1:] == [("closed", "delisted")]
    published.up = ("trading", "")
    published.show()
    assert publisher.told[-1] == ("feed_down", "gone")


def test_a_recording_is_no_venue_that_could_fall_silent_and_may_lack_times() -> None:
    published, publisher = opened(live_venue=False)
    assert publisher.opened[0]["live_venue"] is False
    assert published.perform([Load([("1.0", "1")], [], 0)]) is None


def test_an_empty_book_of_the_venue_is_update_1() -> None:
    published, publisher = opened()
    published.perform([Load([], [], 5)])
    assert (published.instrument.seq, publisher.told[-1]) == (1, ("trading", ""))
    published.perform([Load([], [], 6)])
    assert published.instrument.seq == 1


@pytest.mark.parametrize(
    "news", [Apply([("1.0", "2")], [], 6), Load([("1.0", "2")], [("1.1", "1")], 6), "trade"]
)
def test_a_frozen_book_is_down_until_something_new_comes(news: Any) -> None:
    published, publisher = opened()
    published.perform([BOOK])
    published.freeze("no data")
    published.perform([Lost("reconnecting")])
    published.perform([BOOK])
    assert published.frozen
    assert publisher.told[1:] == [
        ("trading", ""),
        ("feed_down", "no data"),
        ("feed_down", "reconnecting"),
        ("feed_down", "no data"),
    ]
    if news == "trade":
        published.trade("1.0", "1", "buy", 7, 6)
    else:
        published.perform([news])
    assert not published.frozen
    assert publisher.told[-1] == ("trading", "")


def test_a_trade_finer_than_the_scale_waits_for_the_finer_one_with_those_after_it() -> None:
    published, publisher = opened()
    published.perform([BOOK])
    assert published.trade("1.0", "1", "buy", 1, 5) is None
    assert isinstance(published.trade("1.05", "1", "buy", 2, 6), FeedError)
    assert published.trade("1.0", "1", "buy", 3, 7) is None
    assert published.wants_rescale
    asyncio.run(published.rescale())
    assert publisher.opened[-1]["price_exp"] == -2
    assert [told for told in publisher.told if isinstance(told, int)] == [1, 2, 3]
    assert published.refused == 1


def test_an_instrument_that_nats_could_not_open_again_is_opened_by_the_next_try() -> None:
    published, publisher = opened()
    assert isinstance(published.perform([Load([("1.05", "1")], [], 5)]), FeedError)
    publisher.away = True
    with pytest.raises(BusUnavailable):
        asyncio.run(published.rescale())
    assert isinstance(published.perform([BOOK]), FeedError), "there is no instrument to publish to"
    published.trade("1.0", "1", "buy", 1, 5)
    published.up = ("halted", "")
    published.show()
    published.heard()
    publisher.away = False
    assert published.wants_rescale
    asyncio.run(published.rescale())
    assert not published.wants_rescale
    assert published.perform([BOOK]) is None
    assert publisher.told[1:] == [("feed_down", WAITING), 1, ("halted", "")]
