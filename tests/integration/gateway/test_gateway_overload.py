"""A gateway that cannot keep up, or is short of memory: what it gives up, in which order, and that nothing it shows is wrong or missing."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from mdstream.codes import OVERLOAD, CloseCode
from mdstream.gateway.heap import memory_bytes
from mdstream.gateway.overload import DOWN_S, SHEDS, UP_S
from mdstream.gateway.relief import LOOK_S

BIDS, ASKS = [1000, 5, 999, 6], [1001, 7, 1002, 8]
LATE_S = 0.2
CLIENTS = 4
BURN_S = 0.12


class Watcher:
    """A client of all channels of an instrument, which keeps its book and checks that no number is missing."""

    def __init__(self, client: Any) -> None:
        self.client = client
        self.subs: dict[int, str] = {}
        self.at: dict[str, list[int]] = {}
        """Epoch and last number of ``book`` and ``trades``, as ``resume`` wants them."""
        self.sides: tuple[dict[int, int], dict[int, int]] = ({}, {})
        self.states: list[dict[str, Any]] = []
        self.ended: list[dict[str, Any]] = []
        self.errors: list[dict[str, Any]] = []
        self.resumed: dict[str, bool] = {}
        self.trades: list[int] = []

    def subscribe(self, channel: str, interval_ms: int = 0) -> None:
        """From where it is, if it has been there."""
        command: dict[str, Any] = {"op": "subscribe", "channel": channel, "instruments": ["SIM:A"]}
        if interval_ms:
            command["interval_ms"] = interval_ms
        if channel in self.at:
            command["resume"] = {"SIM:A": self.at[channel]}
        self.client.send(command)

    async def until(self, condition: Callable[[], Any]) -> None:
        while not condition():
            self.take(await self.client.recv())

    async def until_book(self, seq: int) -> None:
        await self.until(lambda: "book" in self.at and self.at["book"][1] == seq)

    async def until_trade(self, seq: int) -> None:
        await self.until(lambda: "trades" in self.at and self.at["trades"][1] == seq)

    def take(self, message: dict[str, Any]) -> None:
        match message["type"]:
            case "subscribed":
                channel = message["channel"]
                self.subs[message["sub"]] = channel
                self.resumed[channel] = message["resumed"]
            case "snapshot":
                self.sides = (_pairs(message["bids"]), _pairs(message["asks"]))
                self.at["book"] = [message["epoch"], message["seq"]]
            case "delta":
                assert message["first"] == self.at["book"][1] + 1
                self.at["book"][1] = message["last"]
                for side, name in zip(self.sides, ("bids", "asks"), strict=True):
                    side.update(_pairs(message[name]))
            case "trades":
                assert [trade[0] for trade in message["trades"]] == list(
                    range(message["first"], message["last"] + 1)
                )
                assert message["first"] == self.at.get("trades", [0, 0])[1] + 1
                self.at["trades"] = [message["epoch"], message["last"]]
                self.trades += range(message["first"], message["last"] + 1)
            case "state":
                self.states.append(message)
            case "unsubscribed":
                self.ended.append(message | {"channels": {self.subs.pop(sub) for sub in message["subs"]}})
            case "error":
                self.errors.append(message)
            case "lost":
                raise AssertionError(f"trades were lost: {message}")

    @property
    def book(self) -> tuple[dict[int, int], ...]:
        return tuple({ticks: lots for ticks, lots in side.items() if lots} for side in self.sides)


def _pairs(flat: list[int]) -> dict[int, int]:
    return dict(zip(flat[::2], flat[1::2], strict=True))


class Strained:
    """The relief of a gateway whose clock and lateness are the test's."""

    def __init__(self, server: Any) -> None:
        self.relief = server._relief
        self.relief.stop()
        self.now_s = 0.0
        self.relief._now_s = lambda: self.now_s

    def last(self, seconds: float, late_s: float) -> None:
        """So many seconds pass in which the loop is so late."""
        for _ in range(int(seconds / LOOK_S)):
            self.now_s += LOOK_S
            self.relief.look(late_s)


async def watchers(ws: Any, server: Any, count: int = CLIENTS) -> list[Watcher]:
    """Clients of everything, the newest last; their books at intervals, but for the first one's."""
    found = []
    for number in range(count):
        watcher = Watcher(await ws.open(server.port, "msgpack"))
        watcher.subscribe("book", 100 if number else 0)
        watcher.subscribe("trades")
        await watcher.until(lambda watcher=watcher: len(watcher.subs) == 2 and "book" in watcher.at)
        found.append(watcher)
    return found


async def publish(pub: Any) -> None:
    """A change of the book and a trade, ten times."""
    for _ in range(10):
        await pub.book([1000, pub.seq + 10], [1003, pub.seq % 2])
        await pub.trade(1001, 1)


async def all_have_all(clients: list[Watcher], pub: Any) -> None:
    right = ({1000: pub.seq + 9, 999: 6}, {1001: 7, 1002: 8} | ({1003: 1} if (pub.seq - 1) % 2 else {}))
    for watcher in clients:
        await watcher.until_book(pub.seq)
        await watcher.until_trade(pub.trade_seq)
        assert watcher.book == right
        assert watcher.trades == list(range(1, pub.trade_seq + 1))


def test_intervals_first_then_a_subscription_and_nothing_is_wrong_or_lost(
    run, nats_server, gateway, feed, ws, http, upgrade
) -> None:
    async def scenario() -> None:
        async with feed(nats_server.url, "SIM:A") as pub, gateway(nats_server.url) as server:
            await pub.announce(BIDS, ASKS)
            clients = await watchers(ws, server)
            every, *slow = clients
            newest = clients[-1]
            strained = Strained(server)
            await publish(pub)
            await all_have_all(clients, pub)

            strained.last(UP_S + LOOK_S, LATE_S)
            assert server._hub.stretch == 2
            for watcher in slow:
                await watcher.until(lambda watcher=watcher: watcher.states)
                assert (watcher.states[-1]["state"], watcher.states[-1]["slowed"]) == ("live", True)
            await publish(pub)
            await all_have_all(clients, pub)
            assert every.states == [], "who asked for every change gets every change"

            strained.last((SHEDS - 1) * UP_S, LATE_S)
            assert server._hub.stretch == 8
            await newest.until(lambda: newest.ended)
            (ended,) = newest.ended
            assert (ended["reason"], ended["channels"]) == (OVERLOAD, {"book", "trades"})
            assert not any(watcher.ended for watcher in clients[:-1])
            newest.subscribe("book")
            await newest.until(lambda: newest.errors)
            assert newest.errors[0]["code"] == "unavailable"
            refused = await http(server.port, upgrade())
            assert (refused.status, refused.headers.get("retry-after") is not None) == (503, True)
            await publish(pub)
            await all_have_all(clients[:-1], pub)

            strained.last(SHEDS * (DOWN_S + LOOK_S), 0.0)
            assert server._hub.stretch == 1
            for watcher in clients[1:-1]:
                await watcher.until(lambda watcher=watcher: not watcher.states[-1].get("slowed"))
                assert watcher.states[-1]["state"] == "live"
            newest.subscribe("book", 100)
            newest.subscribe("trades")
            await newest.until(lambda: len(newest.subs) == 2)
            assert newest.resumed == {"book": True, "trades": True}
            await publish(pub)
            await all_have_all(clients, pub)
            (await ws.open(server.port)).send({"op": "ping"})

    run(scenario())


@contextmanager
def burning() -> Iterator[None]:
    """Keeps the loop so busy that each of its turns is late."""
    loop = asyncio.get_running_loop()
    work: list[asyncio.Handle] = []

    def burn() -> None:
        until_s = time.monotonic() + BURN_S
        while time.monotonic() < until_s:
            pass
        work[:] = [loop.call_soon(burn)]

    work.append(loop.call_soon(burn))
    try:
        yield
    finally:
        work[0].cancel()


@pytest.mark.complete
def test_a_loop_that_is_really_too_busy(run, nats_server, gateway, feed, ws) -> None:
    async def scenario() -> None:
        async with feed(nats_server.url, "SIM:A") as pub, gateway(nats_server.url) as server:
            await pub.announce(BIDS, ASKS)
            clients = await watchers(ws, server)
            newest = clients[-1]
            with burning():
                await newest.until(lambda: newest.states)
                assert newest.states[-1]["slowed"] and not newest.ended, "intervals come first"
                await publish(pub)
                await newest.until(lambda: newest.ended)
                assert newest.ended[0]["reason"] == OVERLOAD
            await publish(pub)
            first = clients[0]
            await all_have_all([first], pub)
            while server._relief.overload.level:
                await asyncio.sleep(LOOK_S)
            for channel in ("book", "trades"):
                newest.subscribe(channel)
            await publish(pub)
            await all_have_all([first, newest], pub)

    run(scenario(), deadline_s=120, debug=False)


def test_a_bound_of_memory_closes_the_newest_until_there_is_room(
    run, nats_server, gateway, feed, ws, http, upgrade
) -> None:
    """The memory is really used: this process is the gateway's."""

    async def scenario() -> None:
        bound = int(memory_bytes() * 1.4)
        async with (
            feed(nats_server.url, "SIM:A") as pub,
            gateway(nats_server.url, max_memory_bytes=bound) as server,
        ):
            await pub.announce(BIDS, ASKS)
            _, newest = await watchers(ws, server, 2)
            ballast = b"x" * int(bound * 1.02 - memory_bytes())
            assert await newest.client.closed() == CloseCode.OVER_CAPACITY
            assert server._relief.overload.is_short
            refused = await http(server.port, upgrade())
            assert refused.status == 503
            del ballast
            while server._relief.overload.refuses:
                await asyncio.sleep(0.01)
            again = Watcher(await ws.open(server.port, "msgpack"))
            again.at = newest.at
            again.trades, again.sides = newest.trades, newest.sides
            for channel in ("book", "trades"):
                again.subscribe(channel)
            await publish(pub)
            await all_have_all([again], pub)

    run(scenario())
