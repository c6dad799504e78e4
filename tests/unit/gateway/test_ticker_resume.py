"""Tickers whose client has seen a number elsewhere: this gateway shows nothing older."""

from __future__ import annotations

from typing import Any

import msgpack
import pytest

from mdstream.model import Ref

TICKER: dict[str, Any] = {"op": "subscribe", "channel": "ticker", "instruments": ["SIM:A"]}
FENCED, SEEN = 1000, 2000
"""The epoch that this gateway reads, and a greater one."""
BEST, DEEP = 1000, 900
"""Prices of bids."""


def says(messages: list[Any]) -> list[Any]:
    """Numbers of tickers, codes of states, else types."""
    return [m.get("seq", m.get("code", m["type"])) for m in messages]


async def opened(on: Any) -> Any:
    """The instrument, live at number 5."""
    on.readers.refs["SIM:A"] = Ref(price_exp=-2, size_exp=-3)
    (instrument,) = await on.instruments.open(["SIM:A"], "ticker")
    on.readers.go_live("SIM:A", seq=5)
    return instrument


def update(on: Any, seq: int, price: int = BEST, epoch: int = FENCED) -> None:
    value = [1, epoch, seq, seq, 1, [price, seq], []]
    on.hub.take_book(on.instruments.find("SIM:A").core, msgpack.packb(value))


def tick(on: Any, seconds: float = 0.0) -> None:
    on.pass_s(seconds)
    on.hub.flush(on.now_us, on.wall_us)
    on.hub.tick(on.now_us, on.wall_us)
    on.instruments.show_withheld()


def resumed(on: Any, seq: int, epoch: int = FENCED, **more: Any) -> Any:
    client = on.client()
    on.say(client, **TICKER, **more, resume={"SIM:A": [epoch, seq]})
    return client


@pytest.mark.parametrize("price", [BEST, DEEP], ids=["changed", "unchanged"])
def test_nothing_older_is_shown_until_the_number_is_reached(run, stage, price: int) -> None:
    async def scenario() -> None:
        on = stage()
        await opened(on)
        other = on.client()
        on.say(other, **TICKER)
        client = resumed(on, 7)
        subscribed, state = client.taken()
        assert subscribed["resumed"] is False
        assert (state["state"], state["code"]) == ("recovering", "gap")
        update(on, 6)
        tick(on)
        assert client.taken() == []
        other.taken()
        update(on, 7, price)
        tick(on, 0.05)
        ticker, state = client.taken()
        assert (ticker["type"], ticker["seq"], state["state"]) == ("ticker", 7, "live")
        assert says(other.taken()) == ([7] if price == BEST else [])
        update(on, 8)
        tick(on)
        assert says(client.taken()) == says(other.taken()) == [8]

    run(scenario())


@pytest.mark.parametrize("seq", [3, 5])
def test_what_this_gateway_has_passed_is_answered_by_the_newest(run, stage, seq: int) -> None:
    async def scenario() -> None:
        on = stage()
        await opened(on)
        client = resumed(on, seq)
        assert says(client.taken()) == ["subscribed", 5]
        assert says(resumed(on, 7_000, epoch=FENCED - 1).taken()) == ["subscribed", 5]

    run(scenario())


def test_a_ticker_that_has_not_moved_is_shown_at_the_number_of_its_book(run, stage) -> None:
    """The number of what all are sent is that of the last change, which may be older than what the client saw."""

    async def scenario() -> None:
        on = stage()
        await opened(on)
        slow = on.client()
        on.say(slow, **TICKER, interval_ms=1000)
        assert says(slow.taken()) == ["subscribed", 5]
        for seq in (6, 7):
            update(on, seq)
        tick(on)
        slow.taken()
        update(on, 8)
        tick(on)
        assert slow.taken() == [], "its interval is not over"
        client = resumed(on, 8, interval_ms=1000)
        assert says(client.taken()) == ["subscribed", 8]
        update(on, 9, DEEP)
        tick(on, 2)
        assert says(slow.taken()) == says(client.taken()) == [9]

    run(scenario())


def test_what_never_comes_is_given_up_after_two_seconds(run, stage) -> None:
    async def scenario() -> None:
        on = stage()
        instrument = await opened(on)
        client, other = resumed(on, 70), resumed(on, 8)
        assert says(client.taken()) == says(other.taken()) == ["subscribed", "gap"]
        instrument.core.awaited = 8
        tick(on, 1.9)
        assert client.taken() == []
        tick(on, 0.2)
        assert says(client.taken()) == [5, None]
        assert other.taken() == [], "the bus bears it out"

    run(scenario())


def test_a_new_epoch_ends_the_wait(run, stage) -> None:
    async def scenario() -> None:
        on = stage()
        instrument = await opened(on)
        client, slow = resumed(on, 70), resumed(on, 70, interval_ms=1000)
        client.taken(), slow.taken()
        on.hub.begin(instrument.core, SEEN)
        tick(on)
        assert client.taken() == [], "its book is not known yet"
        update(on, 1, epoch=SEEN)
        tick(on, 0.05)
        for each in (client, slow):
            ticker, state = each.taken()
            assert (ticker["epoch"], ticker["seq"], state["state"]) == (SEEN, 1, "live")

    run(scenario())


def test_a_smaller_epoch_is_withheld_while_the_bus_bears_the_greater_out(
    run, stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mdstream.gateway.open_instruments.REACH_US", 0)

    async def scenario() -> None:
        on = stage()
        instrument = await opened(on)
        on.readers.readers["SIM:A"].borne_out = (SEEN, 2)
        client = on.client()
        on.say(client, **TICKER, resume={"SIM:A": [SEEN, 2]})
        await on.sessions.subscriptions._tasks.copy().pop()
        assert says(client.taken()) == ["subscribed", "gap"]
        update(on, 6)
        tick(on, 30)
        assert client.taken() == []
        on.hub.begin(instrument.core, SEEN)
        update(on, 1, epoch=SEEN)
        tick(on)
        assert client.taken() == []
        update(on, 2, DEEP, epoch=SEEN)
        tick(on)
        ticker, state = client.taken()
        assert (ticker["epoch"], ticker["seq"], state["state"]) == (SEEN, 2, "live")

    run(scenario())
