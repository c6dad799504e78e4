"""Entitlements at each command, over the real core and a fake bus."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from mdstream.auth.entitlements import Entitlements
from mdstream.auth.identity import Identity
from mdstream.errors import CommandError
from mdstream.gateway.commands import Subscribe
from mdstream.model import Channel

SIM = {"channels": ["book", "ticker"], "instruments": ["SIM:*"], "depth": 20}


def identity(*grants: dict[str, Any]) -> Identity:
    return Identity("alice", "jwt", Entitlements.from_claim({"grants": list(grants)}))


def client(on: Any, *grants: dict[str, Any]) -> Any:
    session = on.client()
    session.context.identity = identity(*grants)
    return session


async def opened(on: Any, session: Any, **command: Any) -> list[Any]:
    """What is answered to a subscribe, with openings done."""
    on.say(session, op="subscribe", **{"channel": "book", **command})
    await asyncio.gather(*on.sessions.subscriptions._tasks)
    return session.taken()


def test_what_is_allowed_is_subscribed_and_the_rest_is_not_entitled(run, stage) -> None:
    async def scenario() -> None:
        on = stage()
        on.announce("SIM:A", "X:A")
        on.readers.live_at_once = True
        alice = client(on, SIM)
        answers = await opened(on, alice, instruments=["SIM:A"], depth=10)
        assert answers[0]["type"] == "subscribed"
        (error,) = await opened(on, alice, instruments=["SIM:A"], depth=50, id=7)
        assert (error["type"], error["id"], error["code"]) == ("error", 7, "not_entitled")
        assert "at most 20" in error["message"]

    run(scenario())


def test_of_several_instruments_all_are_subscribed_or_none(run, stage) -> None:
    async def scenario() -> None:
        on = stage()
        on.announce("SIM:A", "X:A")
        alice = client(on, SIM)
        (error,) = await opened(on, alice, instruments=["SIM:A", "X:A"], depth=1)
        assert error["code"] == "not_entitled"
        assert on.readers.opened == []
        assert alice.sink.subscriptions == 0

    run(scenario())


@pytest.mark.parametrize("name", ["X:A", "X:NOWHERE", "x:a", "no instrument", "X:", "", "A:B:C", "SI:M"])
@pytest.mark.parametrize("also_open", [False, True])
def test_outside_the_patterns_the_answer_does_not_depend_on_what_exists(run, stage, name, also_open) -> None:
    async def scenario() -> None:
        on = stage()
        on.announce("X:A")
        on.readers.subjects = ["md.X.A.ref"]
        if also_open:
            await opened(on, on.client(), instruments=["X:A"])
        before = list(on.readers.opened)
        (error,) = await opened(on, client(on, SIM), instruments=[name], depth=1)
        assert (error["code"], error["message"]) == (
            "not_entitled",
            f"{name} is not among the instruments that you may see",
        )
        assert (on.readers.opened, on.readers.asked) == (before, [])

    run(scenario())


def test_a_hint_names_only_what_the_asker_may_see(run, stage) -> None:
    async def scenario() -> None:
        on = stage()
        on.readers.subjects = ["md.SIM.b.ref", "md.SIM2.B.ref", "md.SIM.B-.ref"]
        gate = asyncio.Event()
        on.readers.gate = gate.wait
        alice, bob = (
            client(on, {**SIM, "instruments": ["SIM:*"]}),
            client(on, {**SIM, "instruments": ["SIM:B*"]}),
        )
        for each in (alice, bob):
            on.say(each, op="subscribe", channel="book", instruments=["SIM:B"], depth=1)
        await asyncio.sleep(0)
        on.instruments._next_hint_s = 0.0
        gate.set()
        await asyncio.gather(*on.sessions.subscriptions._tasks)
        said = [session.taken()[0]["message"] for session in (alice, bob)]
        assert said[0] == "no publisher has announced SIM:B; nearly the same on the bus: SIM:B-, SIM:b"
        assert said[1] == "no publisher has announced SIM:B"  # asked of the bus once a second at most
        assert on.readers.opened == ["SIM:B"]
        on.instruments._next_hint_s = 0.0
        (error,) = await opened(on, bob, instruments=["SIM:B"], depth=1)
        assert error["message"] == "no publisher has announced SIM:B; nearly the same on the bus: SIM:B-"

    run(scenario())


def test_new_entitlements_end_what_they_do_not_allow(run, stage) -> None:
    async def scenario() -> None:
        on = stage()
        on.announce("SIM:A", "SIM:B")
        alice = client(on, SIM)
        first, _, second, _ = await opened(on, alice, instruments=["SIM:A", "SIM:B"], depth=20)
        third, *_ = await opened(on, alice, instruments=["SIM:A"], channel="ticker")
        alice.context.identity = identity({**SIM, "depth": 10}, {**SIM, "instruments": ["SIM:B"]})
        on.sessions.end_not_entitled(alice)
        (ended,) = alice.taken()
        assert ended == {"type": "unsubscribed", "subs": [first["sub"]], "reason": "not_entitled"}
        assert {topic.number for topic in alice.sink.topics()} == {second["sub"], third["sub"]}
        on.say(alice, op="recover", sub=first["sub"], **{"from": 0})
        assert alice.taken()[0]["code"] == "unknown_sub"
        on.sessions.end_not_entitled(alice)
        assert alice.taken() == []

    run(scenario())


def test_recover_is_checked_too(run, stage) -> None:
    async def scenario() -> None:
        on = stage()
        on.announce("SIM:A")
        on.readers.live_at_once = True
        alice = client(on, SIM)
        answer, *_ = await opened(on, alice, instruments=["SIM:A"], depth=20)
        on.say(alice, op="recover", sub=answer["sub"], **{"from": 0})
        assert alice.taken()[0]["type"] == "snapshot"
        alice.context.identity = identity()
        on.say(alice, op="recover", sub=answer["sub"], **{"from": 0})
        assert alice.taken()[0]["code"] == "not_entitled"

    run(scenario())


def test_what_is_lost_while_an_instrument_opens_is_not_subscribed(run, stage) -> None:
    async def scenario() -> None:
        on = stage()
        on.announce("SIM:A")
        gate = asyncio.Event()
        on.readers.gate = gate.wait
        alice = client(on, SIM)
        on.say(alice, op="subscribe", channel="book", instruments=["SIM:A"], depth=1)
        alice.context.identity = identity({**SIM, "instruments": ["X:*"]})
        gate.set()
        await asyncio.gather(*on.sessions.subscriptions._tasks)
        assert [answer["code"] for answer in alice.taken()] == ["not_entitled"]
        assert alice.sink.subscriptions == 0

    run(scenario())


def test_delayed_entitlements_give_no_live_data(run, stage) -> None:
    async def scenario() -> None:
        on = stage()
        on.announce("SIM:A")
        alice = client(on, {**SIM, "delay_ms": 900_000})
        (error,) = await opened(on, alice, instruments=["SIM:A"], depth=1)
        assert error["code"] == "not_entitled"
        assert error["message"] == (
            "you may see book of SIM:A only 900000 ms late, and this gateway serves live data; use one with that delay"
        )

    run(scenario())


@pytest.mark.parametrize(("served_ms", "allowed"), [(600_000, False), (900_000, True), (1_800_000, True)])
def test_delayed_entitlements_are_served_by_gateways_that_are_as_late(run, stage, served_ms, allowed) -> None:
    async def scenario() -> None:
        on = stage(delay_ms=served_ms)
        on.announce("SIM:A")
        alice = client(on, {**SIM, "delay_ms": 900_000})
        answer, *_ = await opened(on, alice, instruments=["SIM:A"], depth=1)
        assert (answer["type"] == "subscribed") == allowed
        if allowed:
            assert answer["delay_ms"] == served_ms
        else:
            assert answer["code"] == "not_entitled"
            assert "this gateway is 600000 ms late" in answer["message"]

    run(scenario())


def test_many_instruments_are_checked_in_steps_and_all_are_subscribed_or_none(run, stage) -> None:
    async def scenario() -> None:
        on = stage()
        names = [f"SIM:{number}" for number in range(200)]
        on.announce(*names, "X:A")
        alice = client(on, SIM)
        answers = await opened(on, alice, instruments=names, depth=1)
        assert [each["instrument"] for each in answers if each["type"] == "subscribed"] == names
        (error,) = await opened(on, alice, instruments=[*names, "X:A"], depth=5, id=7)
        assert (error["id"], error["code"]) == (7, "not_entitled")
        assert alice.sink.subscriptions == len(names)

    run(scenario())


def test_what_is_lost_between_the_steps_of_a_check_is_not_subscribed(run, stage) -> None:
    async def scenario() -> None:
        on = stage()
        names = [f"SIM:{number}" for number in range(200)]
        on.announce(*names)
        alice = client(on, SIM)
        command = Subscribe(channel=Channel.BOOK, instruments=names, depth=1)
        steps = on.sessions.subscriptions.subscribe(alice, command)
        next(steps)
        alice.context.identity = identity({**SIM, "instruments": ["SIM:1*"]})
        with pytest.raises(CommandError, match="SIM:0 is not among"):
            for _ in steps:
                pass
        assert on.readers.opened == []

    run(scenario())
