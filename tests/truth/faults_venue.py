"""A: a venue that stands still behind its handler, whose connection it keeps."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable
from typing import Any

from mdstream import feed
from mdstream.feeds._venue import Backoff
from mdstream.feeds.binance.live import Live as BinanceLive
from mdstream.feeds.kraken.live import Live as KrakenLive
from support.fake_binance import FakeBinance
from support.fake_kraken import PAIR, D, FakeKraken
from truth.model import Truth
from truth.rig import STATUS_S, Case
from truth.scenario import TOLD_S, fault, repeat


@fault("A")
async def binance_answers_pings_only(case: Case) -> None:
    """The venue's book moves on, its REST says so too, and the stream says nothing."""

    venue = FakeBinance()
    case.truth = _truth("BINANCE:BTCUSDT")

    def change(*, withheld: bool = False) -> None:
        venue.change({"99.00": str(1 + venue.update_id % 7)}, withheld=withheld)

    async with venue.serving() as (stream_url, rest_url), _publisher(case, "BINANCE") as publisher:
        live = BinanceLive(publisher, ["BTCUSDT"], stream_url=stream_url, rest_url=rest_url, backoff=_quick())
        await _freeze(case, live, change)


@fault("A")
async def kraken_answers_pings_only(case: Case) -> None:

    venue = FakeKraken()
    case.truth = _truth(f"KRAKEN:{PAIR}")
    sizes = iter(range(1, 10**6))

    tell = venue.tell

    def change(*, withheld: bool = False) -> None:
        venue.tell = _say_nothing if withheld else tell  # type: ignore[method-assign]
        venue.change({D(100): D(next(sizes)) / 1000})

    async with venue.serving() as url, _publisher(case, "KRAKEN") as publisher:
        await _freeze(case, KrakenLive(publisher, [PAIR], depth=10, url=url, backoff=_quick()), change)


@functools.cache
def _truth(name: str) -> Truth:
    """The same in each round: a reader may first be shown what was stored last in the round before."""
    return Truth(name)


def _publisher(case: Case, venue: str) -> Any:
    return feed.connect(case.nats_url, venue=venue, status_interval_s=STATUS_S)


def _say_nothing(message: dict[str, Any]) -> None:
    """The venue's connection is there, and that is all."""


def _quick() -> Backoff:
    return Backoff(base_s=0.01, cap_s=0.05)


async def _freeze(case: Case, handler: Any, change: Callable[..., None]) -> None:
    """The venue changes, then only ``withheld`` (its connection answers pings), then changes again."""
    await case.tap(case.truth)
    running = asyncio.create_task(handler.run())
    case.stack.callback(running.cancel)

    async def speak(*, withheld: bool = False) -> None:
        change(withheld=withheld)
        if not withheld:
            case.truth.word()

    talking = asyncio.create_task(repeat(speak, 20, 0.05))
    await case.watch()
    await asyncio.sleep(0.5)
    talking.cancel()
    await repeat(lambda: speak(withheld=True), TOLD_S, 0.05)
    await case.told(within_s=0.5)
    talking = asyncio.create_task(repeat(speak, 20, 0.05))
    await case.current(within_s=15)
    talking.cancel()
    running.cancel()
    await asyncio.gather(running, talking, return_exceptions=True)
    await case.tapped()
