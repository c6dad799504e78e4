"""Clients that resume at what they have seen on another gateway, and this one has not reached."""

from __future__ import annotations

import asyncio
from typing import Any

import msgpack
import pytest

from mdstream.gateway import withheld
from mdstream.model import Ref, State, StateCode
from support.sessions import answers

BOOK: dict[str, Any] = {"op": "subscribe", "channel": "book", "instruments": ["SIM:A"]}
FENCED, SEEN = 1000, 2000
"""The epoch that this gateway reads, and the greater one."""


def says(messages: list[Any]) -> list[Any]:
    """Types, and the codes of states."""
    return [m.get("code", m["state"]) if m["type"] == "state" else m["type"] for m in messages]


async def opened(on, seq: int = 5, **ref: Any):
    """The instrument, live at a number of the smaller epoch."""
    on.readers.refs["SIM:A"] = Ref(price_exp=-2, size_exp=-3, **ref)
    (instrument,) = await on.instruments.open(["SIM:A"], "book")
    on.readers.go_live("SIM:A", seq=seq)
    return instrument, on.readers.readers["SIM:A"]


def update(on, epoch: int, seq: int) -> None:
    value = [1, epoch, seq, seq, 1, [1000, seq], []]
    on.hub.take_book(on.instruments.find("SIM:A").core, msgpack.packb(value))


def trade(on, epoch: int, seq: int) -> None:
    on.hub.take_trades(on.instruments.find("SIM:A").core, msgpack.packb([3, epoch, seq, 1, 1000, 1, 1, seq]))


def tick(on, seconds: float = 0.0) -> None:
    on.pass_s(seconds)
    on.hub.flush(on.now_us, on.wall_us)
    on.hub.tick(on.now_us, on.wall_us)
    on.instruments.show_withheld()


@pytest.fixture
def no_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """The bus has had its time already when a client asks."""
    monkeypatch.setattr("mdstream.gateway.open_instruments.REACH_US", 0)


# ---- the same epoch


def test_ahead_in_the_same_epoch_is_told_until_it_is_reached(run, stage) -> None:
    async def scenario() -> None:
        on = stage()
        await opened(on)
        client, other = on.client(), on.client(format=1)
        on.say(other, **BOOK)
        on.say(client, **BOOK, resume={"SIM:A": [FENCED, 7]})
        other.taken()
        subscribed, state = client.taken()
        assert subscribed["resumed"] is True
        assert (state["state"], state["code"]) == ("recovering", "gap")
        update(on, FENCED, 6)
        tick(on)
        assert client.taken() == []
        update(on, FENCED, 7)
        update(on, FENCED, 8)
        tick(on)
        delta, state = client.taken()
        assert (delta["type"], delta["first"], delta["last"]) == ("delta", 8, 8)
        assert (state["state"], state["code"]) == ("live", None)
        assert len(other.taken()) == 2, "the others are told nothing of it"

    run(scenario())


def test_ahead_of_what_never_comes_ends_in_a_snapshot_and_live(run, stage) -> None:
    async def scenario() -> None:
        on = stage()
        await opened(on)
        client = on.client()
        on.say(client, **BOOK, resume={"SIM:A": [FENCED, 70]})
        assert says(client.taken()) == ["subscribed", "gap"]
        tick(on, 1.9)
        assert client.taken() == []
        tick(on, 0.2)
        assert says(client.taken()) == ["snapshot", None]

    run(scenario())


def test_a_recover_takes_nobody_back_behind_what_the_bus_bears_out(run, stage) -> None:
    async def scenario() -> None:
        on = stage()
        instrument, _ = await opened(on)
        client = on.client()
        on.say(client, **BOOK, resume={"SIM:A": [FENCED, 7]})
        subscribed, _ = client.taken()
        recover = {"op": "recover", "sub": subscribed["sub"], "from": 0}
        instrument.core.awaited = 7
        on.say(client, **recover)
        (error,) = client.taken()
        assert error["code"] == "unavailable"
        instrument.core.awaited = 6
        on.say(client, **recover)
        assert says(client.taken()) == ["snapshot", None]

    run(scenario())


def test_the_state_of_all_is_not_told_to_who_is_ahead_unless_it_is_recovering(run, stage) -> None:
    async def scenario() -> None:
        on = stage()
        await opened(on)
        watcher = on.readers.watchers["SIM:A"]
        client = on.client()
        on.say(client, **BOOK, resume={"SIM:A": [FENCED, 7]})
        client.taken()
        watcher.on_state("book", State.STALE, StateCode.SILENT, "silent", 31_000)
        assert client.taken() == []
        watcher.on_state("book", State.RECOVERING, StateCode.STORAGE, "no answer", 31_000)
        assert says(client.taken()) == ["storage"]
        for seq in (6, 7):
            update(on, FENCED, seq)
        watcher.on_state("book", State.HALTED, StateCode.VENUE, "halted", 0)
        assert says(client.taken()) == ["venue"]

    run(scenario())


def test_ahead_of_its_interval_alone_is_live(run, stage) -> None:
    async def scenario() -> None:
        on = stage()
        await opened(on)
        first, client = on.client(), on.client()
        on.say(first, **BOOK, interval_ms=1000)
        update(on, FENCED, 6)
        tick(on)
        update(on, FENCED, 7)
        tick(on)
        on.say(client, **BOOK, interval_ms=1000, resume={"SIM:A": [FENCED, 7]})
        assert says(client.taken()) == ["subscribed"]

    run(scenario())


def test_trades_ahead_are_told_for_two_seconds_at_most(run, stage) -> None:
    async def scenario() -> None:
        on = stage()
        await opened(on)
        on.hub.begin(on.instruments.find("SIM:A").core, SEEN)
        client = on.client()
        on.say(client, op="subscribe", channel="trades", instruments=["SIM:A"], resume={"SIM:A": [SEEN, 3]})
        assert says(client.taken()) == ["subscribed", "gap"]
        trade(on, SEEN, 1)
        tick(on, 1.9)
        assert client.taken() == []
        tick(on, 0.2)
        assert says(client.taken()) == [None]
        for seq in (2, 3, 4):
            trade(on, SEEN, seq)
        tick(on)
        (trades,) = client.taken()
        assert (trades["first"], trades["last"]) == (4, 4)

    run(scenario())


# ---- a greater epoch


def test_the_book_of_a_smaller_epoch_is_withheld_while_the_bus_bears_the_greater_out(
    run, stage, no_patience
) -> None:
    async def scenario() -> None:
        on = stage()
        instrument, reader = await opened(on)
        reader.borne_out, reader.lacks_ref, reader.age_ms = (SEEN, 9), True, 250
        client = on.client()
        on.say(client, **BOOK, resume={"SIM:A": [SEEN, 9]})
        subscribed, state = await answers(client)
        assert subscribed["resumed"] is False
        assert (state["state"], state["code"], state["age_ms"]) == ("recovering", "no_ref", 250)
        update(on, FENCED, 6)
        on.readers.watchers["SIM:A"].on_state("book", State.STALE, StateCode.FENCED, "fenced", 0)
        on.readers.watchers["SIM:A"].on_state("book", State.LIVE, None, "", 0)
        tick(on, 30)
        assert client.taken() == []
        on.say(client, op="recover", sub=subscribed["sub"], **{"from": 0})
        (error,) = client.taken()
        assert error["code"] == "unavailable"
        reader.lacks_ref = False
        tick(on)
        assert says(client.taken()) == ["gap"]
        on.hub.begin(instrument.core, SEEN)
        instrument.on_ref(Ref(price_exp=-2, size_exp=-3, tick=5), rescaled=False)
        for seq in range(1, 9):
            update(on, SEEN, seq)
        tick(on)
        assert client.taken() == []
        update(on, SEEN, 9)
        tick(on)
        snapshot, ref, state = client.taken()
        assert (snapshot["epoch"], snapshot["seq"], snapshot["reason"]) == (SEEN, 9, "subscribe")
        assert ref["ref"]["tick"] == 5
        assert state["state"] == "live"
        update(on, SEEN, 10)
        tick(on)
        assert says(client.taken()) == ["delta"]

    run(scenario())


def test_what_is_not_borne_out_any_more_is_shown_after_two_seconds(run, stage, no_patience) -> None:
    async def scenario() -> None:
        on = stage()
        _, reader = await opened(on)
        reader.borne_out = (SEEN, 9)
        client = on.client()
        on.say(client, **BOOK, resume={"SIM:A": [SEEN, 9]})
        assert says(await answers(client)) == ["subscribed", "gap"]
        tick(on)
        reader.borne_out = (0, 0)
        tick(on, 1.9)
        assert client.taken() == []
        tick(on, 0.2)
        assert says(client.taken()) == ["snapshot", None]

    run(scenario())


def test_a_greater_epoch_that_nothing_bears_out_is_no_reason_to_withhold(run, stage, no_patience) -> None:
    async def scenario() -> None:
        on = stage()
        await opened(on)
        client = on.client()
        on.say(client, **BOOK, resume={"SIM:A": [SEEN, 9]})
        assert says(await answers(client)) == ["subscribed", "snapshot"]
        assert ("SIM:A", SEEN, 9) in on.readers.looked_for

    run(scenario())


@pytest.mark.parametrize("channel", ["book", "trades"])
def test_an_epoch_that_no_writer_can_have_claimed_counts_for_nothing(run, stage, channel) -> None:
    """Else anybody could make the gateway wait, and ask the bus, for nothing."""

    async def scenario() -> None:
        on = stage()
        _, reader = await opened(on)
        hour_us = 3_600_000_000
        for epoch in (on.wall_us + hour_us + 1, 2**53 - 1):
            reader.borne_out = (epoch, 9)
            client = on.client()
            on.say(client, **{**BOOK, "channel": channel}, resume={"SIM:A": [epoch, 1]})
            assert says(client.taken())[0] == "subscribed", "at once"
            tick(on)
            assert client.taken() == []
        assert on.readers.looked_for == []
        on.say(on.client(), **{**BOOK, "channel": channel}, resume={"SIM:A": [on.wall_us + hour_us, 1]})
        assert len(on.readers.looked_for) == 1
        await on.sessions.cancel_openings()

    run(scenario())


def test_who_waits_for_an_epoch_is_charged_and_its_instrument_asked_for_once(run, stage) -> None:
    async def scenario() -> None:
        on = stage(levels_burst=250, levels_per_second=1)
        await opened(on)
        client = on.client()
        for _ in range(3):
            on.say(client, **BOOK, resume={"SIM:A": [SEEN, 9]})
        await asyncio.sleep(0)
        (error,) = client.taken()
        assert error["code"] == "rate_limited"
        looks = len(on.readers.looked_for)
        for _ in range(3):
            on.instruments._reaching._look()
        assert len(on.readers.looked_for) == looks
        assert len(on.instruments._reaching) == 2
        await on.sessions.cancel_openings()
        assert len(on.instruments._reaching) == 0

    run(scenario())


def test_withheld_trades_begin_after_what_the_client_has_seen(run, stage, no_patience) -> None:
    async def scenario() -> None:
        on = stage()
        instrument, reader = await opened(on)
        reader.borne_out = (SEEN, 9)
        client = on.client()
        on.say(client, op="subscribe", channel="trades", instruments=["SIM:A"], resume={"SIM:A": [SEEN, 2]})
        assert says(await answers(client)) == ["subscribed", "gap"]
        on.hub.begin(instrument.core, SEEN)
        for seq in (1, 2, 3):
            trade(on, SEEN, seq)
        tick(on)
        trades, state = client.taken()
        assert (trades["epoch"], trades["first"], trades["last"]) == (SEEN, 3, 3)
        assert state["state"] == "live"

    run(scenario())


def test_who_leaves_or_unsubscribes_is_forgotten(run, stage, no_patience) -> None:
    async def scenario() -> None:
        on = stage()
        instrument, reader = await opened(on)
        reader.borne_out = (SEEN, 9)
        clients = [on.client() for _ in range(2)]
        for client in clients:
            on.say(client, **BOOK, resume={"SIM:A": [SEEN, 9]})
            subscribed = (await answers(client))[0]
        clients[0].sink.close()
        on.say(clients[1], op="unsubscribe", subs=[subscribed["sub"]])
        assert says(clients[1].taken()) == ["unsubscribed"]
        tick(on)
        on.hub.begin(instrument.core, SEEN)
        tick(on)
        assert clients[1].taken() == []
        assert isinstance(on.instruments._withheld, withheld.Withheld) and not on.instruments._withheld._kept

    run(scenario())


# ---- while a subscribe waits


def test_an_instrument_is_kept_while_a_subscribe_waits_for_it(run, stage) -> None:
    async def scenario() -> None:
        on = stage(linger_ms=0)
        instrument, _ = await opened(on)
        client = on.client()
        on.say(client, **BOOK, resume={"SIM:A": [SEEN, 9]})
        await asyncio.sleep(0)
        for _ in range(3):
            on.pass_s(1)
            on.instruments.sweep()
        assert on.instruments.find("SIM:A") is instrument
        assert says(await answers(client)) == ["subscribed", "snapshot"]
        client.sink.close()
        for _ in range(2):
            on.instruments.sweep()
        assert on.instruments.find("SIM:A") is None

    run(scenario())


def test_an_instrument_that_is_rescaled_while_a_subscribe_waits_is_opened_again(run, stage) -> None:
    async def scenario() -> None:
        on = stage()
        await opened(on)
        client = on.client()
        on.say(client, **BOOK, resume={"SIM:A": [SEEN, 9]})
        await asyncio.sleep(0)
        on.readers.refs["SIM:A"] = Ref(price_exp=-4, size_exp=-3)
        on.readers.watchers["SIM:A"].on_ref(on.readers.refs["SIM:A"], rescaled=True)
        on.readers.live_at_once = True
        subscribed, *_ = await answers(client)
        assert subscribed["price_exp"] == -4

    run(scenario())


# ---- what late subscribers are told


def test_the_age_is_that_of_the_moment_in_which_it_is_told(run, stage) -> None:
    async def scenario() -> None:
        on = stage()
        _, reader = await opened(on)
        began_us = on.wall_us
        on.readers.watchers["SIM:A"].on_state("book", State.HALTED, StateCode.VENUE, "halted", 10)
        on.wall_us += 60_000_000
        reader.age_ms = 5_000
        client = on.client()
        on.say(client, **BOOK)
        state = client.taken()[1]
        assert (state["since"], state["age_ms"]) == (began_us, 5_000)

    run(scenario())


def test_who_waits_for_data_is_told_why_when_that_changes(run, stage) -> None:
    async def scenario() -> None:
        on = stage()
        on.announce("SIM:A")
        client = on.client(format=1)
        on.say(client, **BOOK)
        assert says(await answers(client)) == ["subscribed", "opening"]
        watcher = on.readers.watchers["SIM:A"]
        watcher.on_state("book", State.RECOVERING, StateCode.NO_BOOK, "no book", None)
        assert says(client.taken()) == ["no_book"]

    run(scenario())


def test_heartbeats_name_who_waits_for_data_with_0(run, stage) -> None:
    async def scenario() -> None:
        on = stage()
        on.announce("SIM:A")
        tick(on)
        client = on.client()
        on.say(client, **BOOK)
        subscribed, _ = await answers(client)
        tick(on, 15)
        (heartbeat,) = client.taken()
        assert heartbeat["seqs"] == [[subscribed["sub"], 0]]

    run(scenario())
