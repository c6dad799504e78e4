"""Commands and answers that take more than a turn of the loop: in slices, so that everybody has his."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import msgpack

from mdstream.gateway.turns import Turns
from mdstream.model import Ref
from support.sessions import BOOK, NAMES, opened, turns, types


class Slices:
    """Turns of the loop by hand, in each of which three steps are done."""

    def __init__(self, on: Any) -> None:
        self.now_us = 0
        self.due: list[Any] = []
        on.sessions.turns = Turns(
            on.hub, clock_us=self.clock, call_soon=self.due.append, slice_us=3, moment_us=3
        )

    def clock(self) -> int:
        self.now_us += 1
        return self.now_us

    def turn(self) -> None:
        (due,) = self.due
        self.due.clear()
        due()


def test_a_long_answer_comes_in_slices_and_in_order(run, stage) -> None:
    async def scenario() -> None:
        on = stage()
        await opened(on)
        slices = Slices(on)
        client = on.client()
        on.say(client, **{**BOOK, "instruments": NAMES}, id=1)
        first = client.taken()
        assert 0 < len(first) < 2 * len(NAMES) and client.paused
        other = on.client()
        on.say(other, op="ping", id="quick")
        slices.turn()
        slices.turn()
        assert other.taken()[-1]["id"] == "quick" and client.paused, "it has its turn in between"
        while slices.due:
            slices.turn()
        messages = first + client.taken()
        assert types(messages) == ["subscribed", "snapshot"] * len(NAMES)
        assert [m["instrument"] for m in messages[::2]] == NAMES
        assert not client.paused

    run(scenario())


def test_the_values_of_one_message_are_answered_in_slices_too(run, stage) -> None:
    async def scenario() -> None:
        on = stage()
        slices = Slices(on)
        client = on.client(format=1)
        on.sessions.received(client, b"".join(msgpack.packb({"op": "ping", "id": i}) for i in range(50)))
        assert client.paused
        while slices.due:
            slices.turn()
        assert [message["id"] for message in client.taken()] == list(range(50))

    run(scenario())


def test_what_is_not_answered_when_a_session_ends_is_dropped(run, stage, caplog) -> None:
    async def scenario() -> None:
        on = stage()
        await opened(on)
        slices = Slices(on)
        before = on.hub.stats()
        client = on.client()
        on.say(client, **{**BOOK, "instruments": NAMES, "depth": 5})
        assert on.hub.stats()["topics"] > before["topics"]
        client.close()
        client.sink.close()
        on.sessions.closed(client, 1006)
        while slices.due:
            slices.turn()
        assert on.hub.stats()["topics"] == before["topics"]
        assert on.sessions.turns.waiting == 0

    with caplog.at_level(logging.WARNING):
        run(scenario())
    assert caplog.records == []


def test_an_instrument_that_is_let_go_between_two_slices_is_opened_again(run, stage) -> None:
    async def scenario() -> None:
        on = stage()
        await opened(on)
        slices = Slices(on)
        client = on.client()
        on.say(client, **{**BOOK, "instruments": NAMES}, id=1)
        asked = len(on.readers.opened)
        on.readers.refs[NAMES[-1]] = Ref(price_exp=-3, size_exp=-3)
        on.readers.watchers[NAMES[-1]].on_ref(on.readers.refs[NAMES[-1]], rescaled=True)
        while slices.due:
            slices.turn()
        subscribed = [m["instrument"] for m in client.taken() if m["type"] == "subscribed"]
        while NAMES[-1] not in subscribed:
            await asyncio.sleep(0)
            while slices.due:
                slices.turn()
            subscribed += [m["instrument"] for m in client.taken() if m["type"] == "subscribed"]
        assert on.readers.opened[asked:] == [NAMES[-1]]
        assert subscribed[-1] == NAMES[-1] and client.context.opening == 0

    run(scenario())


def test_the_subscriptions_of_an_instrument_end_in_slices_and_then_it_opens_again(run, stage) -> None:
    async def scenario() -> None:
        on = stage()
        await opened(on)
        book = {**BOOK, "instruments": NAMES[:1]}
        clients = [on.client() for _ in range(30)]
        for client in clients[:-5]:
            on.say(client, **book)
            client.taken()
        slices = Slices(on)
        on.readers.refs[NAMES[0]] = Ref(price_exp=-3, size_exp=-3)
        on.readers.watchers[NAMES[0]].on_ref(on.readers.refs[NAMES[0]], rescaled=True)
        told = [client for client in clients if types(client.taken()) == ["unsubscribed"]]
        assert len(told) < len(clients) - 5 and on.sessions.turns.waiting == 0, "none of them waits"
        on.say(clients[0], **book)
        await turns()
        assert clients[0].taken() == [], "it opens when the last one has been told"
        while slices.due:
            slices.turn()
        told += [client for client in clients if types(client.taken()) == ["unsubscribed"]]
        assert sorted(map(id, told)) == sorted(map(id, clients[:-5]))
        while not (messages := clients[0].taken()):
            await asyncio.sleep(0)
            while slices.due:
                slices.turn()
        assert (messages[0]["type"], messages[0]["price_exp"]) == ("subscribed", -3)

    run(scenario())
