"""What is measured reaches intervals, states, subscriptions and clients."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

from mdstream.codes import OVERLOAD, CloseCode
from mdstream.gateway.relief import LOOK_S, Relief

LATE_S = 0.2


class Strained:
    """A gateway's parts with a relief, whose time is the stage's."""

    def __init__(self, stage: Any, *, max_memory_bytes: int = 0) -> None:
        self.stage = stage
        self.memory = 0
        self.group = SimpleNamespace(max_unread=1_000)
        self.relief = Relief(
            stage.hub,
            stage.sessions,
            stage.instruments,
            self.group,  # type: ignore[arg-type]
            max_memory_bytes=max_memory_bytes,
            nats_socket=lambda: None,
            overload=stage.overload,
            now_s=lambda: stage.now_us / 1e6,
            memory=lambda: self.memory,
        )

    def look(self, late_s: float, seconds: float) -> None:
        for _ in range(int(seconds / LOOK_S)):
            self.relief.look(late_s)
            self.stage.pass_s(LOOK_S)


async def subscribed(stage: Any, *views: dict[str, Any]) -> list[Any]:
    """A client for each view, all of SIM:A, which is live."""
    stage.announce("SIM:A")
    stage.readers.live_at_once = True
    clients = []
    for view in views:
        client = stage.client()
        stage.say(client, op="subscribe", instruments=["SIM:A"], **view)
        while "subscribed" not in (said := [m["type"] for m in client.taken()]):
            await asyncio.sleep(0)
        assert "subscribed" in said
        clients.append(client)
    return clients


BOOK = {"channel": "book"}
SLOW = {"channel": "book", "interval_ms": 100}
TICKER = {"channel": "ticker", "interval_ms": 100}
TRADES = {"channel": "trades"}


def test_those_who_conflate_are_told_and_those_who_do_not_are_not(run, stage) -> None:
    async def scenario() -> None:
        set = stage()
        strained = Strained(set)
        every, slow, ticker, trades = await subscribed(set, BOOK, SLOW, TICKER, TRADES)
        strained.look(LATE_S, 1.5)
        assert set.hub.stretch == 2
        for client in (slow, ticker):
            (told,) = client.taken()
            assert (told["type"], told["state"], told["code"], told["slowed"]) == (
                "state",
                "live",
                None,
                True,
            )
            assert "less often" in told["reason"]
        assert every.taken() == trades.taken() == []
        strained.look(LATE_S, 1.0)
        assert set.hub.stretch == 4 and slow.taken() == []
        strained.look(0.0, 12.0)
        assert set.hub.stretch == 1
        (told,) = slow.taken()
        assert (told["state"], told["code"], told["reason"], "slowed" in told) == ("live", None, None, False)

    run(scenario())


def test_who_comes_meanwhile_is_told_too_or_refused(run, stage) -> None:
    async def scenario() -> None:
        set = stage()
        strained = Strained(set)
        await subscribed(set, SLOW)
        strained.look(LATE_S, 1.5)
        second = set.client()
        set.say(second, op="subscribe", instruments=["SIM:A"], **SLOW)
        said = second.taken()
        assert [m["type"] for m in said] == ["subscribed", "snapshot", "state"]
        assert said[-1]["slowed"] is True
        strained.look(LATE_S, 1.0)
        set.say(second, op="subscribe", id=1, instruments=["SIM:A"], **BOOK)
        (refused,) = second.taken()
        assert (refused["code"], refused["id"]) == ("unavailable", 1)
        assert "cannot keep up" in refused["message"]

    run(scenario())


def test_then_the_newest_lose_their_subscriptions_and_are_told_why(run, stage) -> None:
    async def scenario() -> None:
        set = stage()
        strained = Strained(set)
        clients = await subscribed(set, *[BOOK] * 21)
        strained.look(LATE_S, 3.25)
        assert all(client.taken() == [] for client in clients)
        strained.look(LATE_S, 1.0)
        assert [bool(client.taken()) for client in clients] == [False] * 19 + [True, True]
        assert strained.relief.shed_total == {"subscriptions": 2}
        assert clients[-1].sink.subscriptions == 0 and clients[0].sink.subscriptions == 1
        strained.look(LATE_S, 1.0)
        (told,) = clients[18].taken()
        assert (told["type"], told["reason"]) == ("unsubscribed", OVERLOAD)

    run(scenario())


def test_memory_closes_the_newest_and_what_is_unused(run, stage) -> None:
    async def scenario() -> None:
        set = stage()
        strained = Strained(set, max_memory_bytes=1_000)
        clients = await subscribed(set, BOOK, BOOK)
        strained.memory = 900
        strained.look(0.0, 1.0)
        assert (set.instruments.lingers, strained.group.max_unread) == (False, 1_000)
        strained.memory = 960
        strained.look(0.0, 1.0)
        assert strained.group.max_unread == 0
        assert [client.code for client in clients] == [0, 0]
        strained.memory = 1_000
        strained.look(0.0, LOOK_S)
        assert [client.code for client in clients] == [0, CloseCode.OVER_CAPACITY]
        strained.memory = 100
        strained.look(0.0, LOOK_S)
        assert (set.instruments.lingers, strained.group.max_unread) == (True, 1_000)

    run(scenario())
