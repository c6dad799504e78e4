"""What many clients send alike is read once. Each of them is still judged, charged and counted by itself."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import msgpack
import pytest

from mdstream._core.entry.shares import Share
from mdstream.auth.entitlements import Entitlements
from mdstream.auth.identity import NOBODY
from mdstream.gateway.commands import USUALS, CommandReader
from mdstream.gateway.config import GatewayConfig
from mdstream.gateway.usage import Usage

BOOK: dict[str, Any] = {"op": "subscribe", "channel": "book", "instruments": ["SIM:A"], "depth": 5}
PACK: dict[int, Callable[[Any], bytes]] = {0: lambda value: json.dumps(value).encode(), 1: msgpack.packb}


async def opened(on: Any) -> None:
    on.announce("SIM:A")
    await on.instruments.open(["SIM:A"], "book")
    on.readers.go_live("SIM:A")


def answers(on: Any, client: Any, **more: Any) -> list[Any]:
    on.say(client, **BOOK, **more)
    return client.taken()


def knows(on: Any, client: Any, **more: Any) -> bool:
    return PACK[client.format]({**BOOK, **more}) in on.sessions._reader.usual[client.format]


@pytest.mark.parametrize("id", [{}, {"id": 1}, {"id": 2**40}, {"id": "one"}], ids=str)
@pytest.mark.parametrize("format", [0, 1])
def test_all_are_answered_as_the_first(run, stage, format: int, id: dict[str, Any]) -> None:
    async def scenario() -> None:
        on = stage()
        await opened(on)
        clients = [on.client(format) for _ in range(4)]
        first, *others = [answers(on, client, **id) for client in clients]
        assert knows(on, clients[0], **id)
        assert len(first) == 2 and others == [first] * 3
        assert first[0].get("id") == id.get("id")
        again = answers(on, clients[0], **id)
        assert again == [{**first[0], "resumed": True}], "it has the topic already"
        assert on.sessions.commands_total == {"subscribe": 5}
        assert [client.sink.subscriptions for client in clients] == [1, 1, 1, 1]
        assert [client.context.opening for client in clients] == [0, 0, 0, 0]

    run(scenario())


def test_only_a_plain_subscribe_to_one_instrument_is_remembered() -> None:
    reader = CommandReader(GatewayConfig())
    known = {}
    for name, command in {
        "book": BOOK,
        "trades": {"op": "subscribe", "channel": "trades", "instruments": ["SIM:A"]},
        "ticker": {"op": "subscribe", "channel": "ticker", "instruments": ["SIM:A"], "id": "x"},
        "grouped": {**BOOK, "group": 10},
        "resumed": {**BOOK, "resume": {"SIM:A": [1, 1]}},
        "two": {**BOOK, "instruments": ["SIM:A", "SIM:B"]},
        "long": {**BOOK, "id": "x" * 200},
        "unserved": {**BOOK, "depth": 7},
        "token": {"op": "auth", "token": "x"},
        "ping": {"op": "ping"},
    }.items():
        payload = PACK[0](command)
        list(reader.read_message(0, payload))
        known[name] = payload in reader.usual[0]
        assert payload not in reader.usual[1], "the same bytes in another format are another message"
    assert [name for name, is_known in known.items() if is_known] == ["book", "trades", "ticker"]
    both = msgpack.packb(BOOK) * 2
    assert len(list(reader.read_message(1, both))) == 2 and both not in reader.usual[1]


def test_what_is_remembered_is_bounded_and_the_newest() -> None:
    reader = CommandReader(GatewayConfig())
    payloads = [PACK[0]({**BOOK, "id": number}) for number in range(USUALS + 1)]
    for payload in payloads:
        list(reader.read_message(0, payload))
    found = [payload in reader.usual[0] for payload in payloads]
    assert found == [False] + [True] * USUALS


def test_everyone_is_judged_by_his_own_entitlements(run, stage) -> None:
    async def scenario() -> None:
        on = stage()
        await opened(on)
        some = {"channels": ["book"], "instruments": ["SIM:*"]}
        few = {"channels": ["book"], "instruments": ["SIM:*"], "depth": 1}
        for grants, is_allowed in 2 * [([some], True), ([few], False), ([], False), ([some, few], True)]:
            client = on.client()
            claim = Entitlements.from_claim({"grants": grants})
            client.context.identity = replace(NOBODY, subject="x", entitlements=claim)
            answer = answers(on, client)[0]
            assert answer.get("code", "subscribed") == ("subscribed" if is_allowed else "not_entitled")
            assert knows(on, client) and client.sink.subscriptions == is_allowed

    run(scenario())


def test_everyone_is_charged_by_the_same_budgets(run, stage) -> None:
    async def scenario() -> None:
        on = stage(commands_burst=3, commands_per_second=1)
        await opened(on)
        first = on.client()
        assert answers(on, first)[0]["type"] == "subscribed"
        client = on.client()
        codes = [answers(on, client)[0].get("code") for _ in range(5)]
        assert codes == [None, None, None, "rate_limited", "rate_limited"]
        assert on.audit.limited_total == {("session", "commands"): 2}
        assert (
            on.sessions.commands_total == {"subscribe": 4} and on.sessions.errors_total["rate_limited"] == 2
        )

    run(scenario())


def test_answers_are_charged_before_they_are_made(run, stage) -> None:
    async def scenario() -> None:
        on = stage(answer_bytes_burst=450, answer_bytes_per_second=1)
        await opened(on)
        assert answers(on, on.client(), id="i" * 60)[0]["type"] == "subscribed"
        client = on.client()
        codes = [answers(on, client, id="i" * 60)[0].get("code") for _ in range(3)]
        assert codes == [None, None, "rate_limited"], "156 bytes, and 60 of the id, each"

    run(scenario())


def test_address_and_user_are_charged_too(run, stage) -> None:
    async def scenario() -> None:
        on = stage()
        await opened(on)
        answers(on, on.client())
        client = on.client()
        charged: list[tuple[str, float]] = []
        client.context.budgets.also = lambda cost, amount: charged.append((str(cost), amount))
        answers(on, client)
        size = len(PACK[0](BOOK))
        assert charged == [("decoded_bytes", size), ("commands", 1), ("levels", 12), ("answer_bytes", 156)]
        client.context.budgets.also = lambda cost, amount: "no" if cost == "decoded_bytes" else None
        answers(on, client, id=3)
        (again,) = answers(on, client, id=3)
        assert (again["code"], "id" in again) == ("rate_limited", False), "it is not read"

    run(scenario())


def test_subscriptions_are_bounded_and_counted(run, stage) -> None:
    async def scenario() -> None:
        on = stage(max_subscriptions=1)
        await opened(on)
        answers(on, on.client())
        client = on.client()
        visitor = client.context.visitor
        visitor.place = place = Share(b"\x0a\x00\x00\x01")
        on.say(client, op="subscribe", channel="ticker", instruments=["SIM:A"])
        assert place.subscriptions == visitor.subscriptions == 1
        assert answers(on, client)[-1]["code"] == "limit_subscriptions"
        assert place.subscriptions == visitor.subscriptions == client.sink.subscriptions == 1
        addresses = on.sessions._limits.addresses
        addresses.bind(dict.fromkeys(addresses.bounds, 0) | {"subscriptions": 1})
        other = on.client()
        other.context.visitor.place = place
        assert answers(on, other)[0]["code"] == "limit_subscriptions"

    run(scenario())


def test_use_is_counted(run, stage) -> None:
    async def scenario() -> None:
        on = stage()
        on.sessions.subscriptions.usage = usage = Usage(0)
        await opened(on)
        for _ in range(3):
            client = on.client()
            client.context.identity = replace(NOBODY, subject="alice")
            answers(on, client)
            answers(on, client)
        assert [(part.subject, part.depth) for (part,) in client.context.parts.values()] == [("alice", 5)]
        _, uses = usage.close(1)
        assert [(use.subject, use.instrument, use.depth) for use in uses] == [("alice", "SIM:A", 5)]

    run(scenario())


def test_what_is_not_open_is_opened_and_what_is_unknown_refused(run, stage) -> None:
    async def scenario() -> None:
        on = stage()
        client = on.client()
        for _ in range(3):
            on.say(client, **BOOK)
            await on.sessions.subscriptions._tasks.copy().pop()
            assert client.taken()[-1]["code"] == "unknown_instrument"
        await opened(on)
        assert answers(on, client)[0]["type"] == "subscribed"

    run(scenario())


def test_it_waits_behind_what_the_client_sent_before(run, stage) -> None:
    async def scenario() -> None:
        on = stage()
        await opened(on)
        answers(on, on.client())
        client = on.client()
        on.sessions.turns._left_us = 0
        on.say(client, op="ping", id=1)
        on.say(client, **BOOK)
        assert client.taken() == [] and client.paused
        on.sessions.turns._turn()
        assert [message["type"] for message in client.taken()] == ["pong", "subscribed", "snapshot"]

    run(scenario())


def test_many_that_wait_are_answered_as_those_that_do_not(run, stage) -> None:
    async def scenario() -> None:
        on = stage()
        await opened(on)
        at_once = answers(on, on.client(), id=7)
        read: list[bytes] = []
        steps_of = on.sessions.steps_of
        on.sessions.steps_of = lambda session, payload: read.append(payload) or steps_of(session, payload)
        clients = [on.client() for _ in range(3)]
        on.sessions.turns._left_us = 0
        for client in clients:
            on.say(client, **BOOK, id=7)
            assert client.taken() == [] and client.paused
        on.sessions.turns._turn()
        assert [client.taken() for client in clients] == [at_once] * 3 and read == []
        assert not any(client.paused for client in clients)

    run(scenario())


def test_one_that_waits_for_an_instrument_that_is_not_open_is_read(run, stage) -> None:
    """What came behind it waits behind it, and nothing is lost."""

    async def scenario() -> None:
        on = stage()
        await opened(on)
        answers(on, on.client())
        unknown = {**BOOK, "instruments": ["SIM:NO"]}
        client = on.client()
        on.say(client, **unknown)
        await on.sessions.subscriptions._tasks.copy().pop()
        assert client.taken()[-1]["code"] == "unknown_instrument"
        on.sessions.turns._left_us = 0
        on.say(client, **unknown)
        on.say(client, **BOOK)
        on.say(client, op="ping", id=1)
        assert client.taken() == []
        while on.sessions.turns.waiting:
            on.sessions.turns._turn()
        await on.sessions.subscriptions._tasks.copy().pop()
        told = client.taken()
        assert sorted(message["type"] for message in told) == ["error", "pong", "snapshot", "subscribed"]
        assert on.sessions.errors_total["unknown_instrument"] == 2

    run(scenario())
