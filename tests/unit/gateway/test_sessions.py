"""What a session answers, and when: at once, or once its instrument is open."""

from __future__ import annotations

import asyncio
import gc
import logging
import weakref

import msgpack
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mdstream.codes import ErrorCode
from support.sessions import BOOK, answers, turns, types

ANSWERS = {"subscribed", "unsubscribed", "state", "error", "pong"}


def test_subscribed_then_state_then_data_when_it_is_there(run, stage) -> None:
    async def scenario() -> None:
        on = stage()
        on.announce("SIM:A")
        client = on.client()
        on.say(client, **BOOK, id=1)
        assert client.taken() == []
        subscribed, state = await answers(client)
        assert (subscribed["type"], subscribed["id"]) == ("subscribed", 1)
        assert (state["type"], state["state"], state["reason"]) == ("state", "recovering", "opening")
        on.readers.go_live("SIM:A", seq=3)
        snapshot, state = client.taken()
        assert (snapshot["type"], snapshot["seq"], snapshot["reason"]) == ("snapshot", 3, "subscribe")
        assert (state["type"], state["state"]) == ("state", "live")
        later = on.client()
        on.say(later, **BOOK)
        assert types(later.taken()) == ["subscribed", "snapshot"], "what is open is answered at once"

    run(scenario())


def test_a_resume_waits_for_the_book_and_then_goes_on(run, stage) -> None:
    async def scenario() -> None:
        on = stage()
        on.announce("SIM:A")
        client = on.client()
        on.say(client, **BOOK, resume={"SIM:A": [1000, 3]})
        await turns()
        assert client.taken() == []
        on.readers.go_live("SIM:A", seq=3)
        (subscribed,) = await answers(client)
        assert subscribed["resumed"] is True

    run(scenario())


def test_a_resume_does_not_wait_beyond_the_deadline(run, stage) -> None:
    async def scenario() -> None:
        on = stage(open_timeout_ms=100)
        on.announce("SIM:A")
        client = on.client()
        on.say(client, **BOOK, resume={"SIM:A": [1000, 3]})
        messages = await answers(client)
        assert types(messages) == ["subscribed", "state"]
        assert messages[0]["resumed"] is False

    run(scenario())


def test_other_commands_do_not_wait_for_an_opening(run, stage) -> None:
    async def scenario() -> None:
        on = stage()
        on.announce("SIM:A", "SIM:B")
        on.readers.live_at_once = True
        opening = asyncio.Event()
        client = on.client()
        on.say(client, **{**BOOK, "instruments": ["SIM:B"]})
        assert types(await answers(client)) == ["subscribed", "snapshot"]
        on.readers.gate = opening.wait
        on.say(client, **BOOK, id="slow")
        on.say(client, **{**BOOK, "instruments": ["SIM:B"], "depth": 5}, id="fast")
        on.say(client, op="ping", id="ping")
        await turns()
        assert [message.get("id") for message in client.taken()] == ["fast", None, "ping"]
        opening.set()
        assert (await answers(client))[0]["id"] == "slow"

    run(scenario())


def test_pending_subscriptions_count_against_the_limit(run, stage) -> None:
    async def scenario() -> None:
        on = stage(max_subscriptions=3)
        on.announce("SIM:A", "SIM:B", "SIM:C", "SIM:D")
        on.readers.live_at_once = True
        opening = asyncio.Event()
        on.readers.gate = opening.wait
        client = on.client()
        on.say(client, **{**BOOK, "instruments": ["SIM:A", "SIM:B"]})
        on.say(client, **{**BOOK, "instruments": ["SIM:C", "SIM:D"]}, id=2)
        (error,) = client.taken()
        assert (error["id"], error["code"]) == (2, "limit_subscriptions")
        opening.set()
        assert types(await answers(client)) == ["subscribed", "snapshot"] * 2
        on.say(client, **{**BOOK, "instruments": ["SIM:C"]}, id=3)
        assert (await answers(client))[0]["id"] == 3

    run(scenario())


def test_a_client_that_leaves_while_its_instrument_opens_is_forgotten(run, stage, caplog) -> None:
    async def scenario() -> None:
        on = stage()
        on.announce("SIM:A")
        opening = asyncio.Event()
        on.readers.gate = opening.wait
        client = on.client()
        on.say(client, **BOOK)
        await turns()
        client.close()
        client.sink.close()
        on.sessions.closed(client, 1006)
        opening.set()
        await turns()
        assert client.taken() == []
        assert on.hub.stats()["subscriptions"] == 0

    with caplog.at_level(logging.WARNING):
        run(scenario())
    assert caplog.records == []


def test_what_a_client_that_left_had_asked_for_is_not_opened(run, stage) -> None:
    async def scenario() -> None:
        on = stage()
        names = [f"SIM:N{i}" for i in range(100)]
        opening = asyncio.Event()
        on.readers.gate = opening.wait
        client, other = on.client(), on.client()
        on.say(client, **{**BOOK, "instruments": names})
        on.say(other, **{**BOOK, "instruments": names[:1]})
        await turns()
        begun = len(on.readers.opened)
        assert begun < len(names)
        client.close()
        client.sink.close()
        on.sessions.closed(client, 1006)
        await turns()
        assert client.context.opening == 0
        assert on.instruments.opening == 1, "the other client still waits"
        opening.set()
        assert (await answers(other))[0]["code"] == "unknown_instrument"
        assert len(on.readers.opened) == begun
        assert on.instruments.opening == 0

    run(scenario())


def test_an_asker_may_be_other_than_the_session(run, stage) -> None:
    async def scenario() -> None:
        on = stage(asker_of=lambda session: "the same user")
        opening = asyncio.Event()
        on.readers.gate = opening.wait
        for number in range(50):
            on.say(on.client(), **{**BOOK, "instruments": [f"SIM:N{number}"]})
        await turns()
        assert len(on.readers.opened) == 16
        await on.sessions.cancel_openings()

    run(scenario())


def test_a_client_that_has_gone_costs_nothing_more(run, stage, caplog) -> None:
    """A write finds out that the peer has gone before the event loop says so; its commands still lie in our buffer."""

    async def scenario() -> None:
        on = stage()
        on.announce("SIM:A", "SIM:B")
        on.readers.live_at_once = True
        client, other = on.client(), on.client()
        on.say(other, **{**BOOK, "instruments": ["SIM:A", "SIM:B"]})
        await answers(other)
        client.sink.close()
        for depth in (0, 5, 10, 20):
            on.say(client, **BOOK, depth=depth)
            on.say(client, op="recover", sub=1, **{"from": 0})
        assert on.hub.stats()["topics"] == 2
        assert client.code == 0, "no error of ours"

    run(scenario())
    assert caplog.records == []


def test_a_failure_of_ours_closes_with_1011_and_is_logged(run, stage, caplog) -> None:
    async def scenario() -> None:
        on = stage()
        on.announce("SIM:A")

        async def fail() -> None:
            raise ZeroDivisionError("a bug")

        on.readers.gate = fail
        client = on.client()
        on.say(client, **BOOK)
        await turns()
        assert client.code == 1011

    run(scenario())
    assert [record.levelname for record in caplog.records] == ["ERROR", "ERROR"]


def test_cancelled_openings_answer_nobody(run, stage) -> None:
    async def scenario() -> None:
        on = stage()
        on.announce("SIM:A")
        on.readers.gate = asyncio.Event().wait
        client = on.client()
        on.say(client, **BOOK)
        await turns()
        await on.sessions.cancel_openings()
        await on.instruments.close()
        assert client.taken() == []

    run(scenario())


@pytest.mark.parametrize("format", [0, 1])
def test_data_is_echoed_or_refused_however_deep_it_is_nested(run, stage, format) -> None:
    def payload(depth: int) -> bytes:
        if format == 0:
            return b'{"op":"ping","data":' + b"[" * depth + b"]" * depth + b"}"
        return b"\x82\xa2op\xa4ping\xa4data" + b"\x91" * depth + b"\xc0"

    async def scenario() -> None:
        on = stage()
        client = on.client(format)
        answers = []
        for depth in (1, 100, *range(900, 1100, 3), 15_000):
            on.sessions.received(client, payload(depth))
            # Not decoded here: the client's own libraries have limits too.
            (frame,) = client.sink.take()
            answers.append(b"pong" in frame[:20])
            assert answers[-1] or b"nested too deep" in frame
        assert answers[:2] == [True, True]
        assert answers[-1] is False
        assert sorted(answers, reverse=True) == answers

    run(scenario())


_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=6,
)
_COMMANDS = st.fixed_dictionaries(
    {"op": st.sampled_from(["subscribe", "unsubscribe", "recover", "auth", "ping", "nope"])},
    optional={
        "id": st.integers(0, 9) | _VALUES,
        "channel": st.sampled_from(["book", "trades", "ticker"]) | _VALUES,
        "instruments": st.lists(st.sampled_from(["SIM:A", "SIM:B", "SIM:NONE", "x"]), max_size=3) | _VALUES,
        "depth": st.sampled_from([0, 5, 7]) | _VALUES,
        "group": st.integers(0, 3) | _VALUES,
        "interval_ms": st.sampled_from([0, 100]) | _VALUES,
        "resume": st.dictionaries(st.just("SIM:A"), st.tuples(st.integers(0, 1001), st.integers(0, 9)))
        | _VALUES,
        "subs": st.lists(st.integers(0, 9), max_size=3) | _VALUES,
        "sub": st.integers(0, 9) | _VALUES,
        "from": st.integers(0, 9) | _VALUES,
        "token": st.text(max_size=5),
        "data": _VALUES,
    },
)
_PAYLOADS = st.binary(max_size=40) | _COMMANDS.map(msgpack.packb)


@given(st.lists(_PAYLOADS, max_size=12))
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_a_client_says_it_is_answered_by_the_contract_and_the_state_is_kept(
    run, stage, payloads
) -> None:
    async def scenario() -> None:
        on = stage()
        on.announce("SIM:A", "SIM:B")
        on.readers.live_at_once = True
        client = on.client(format=1)
        for payload in payloads:
            before = client.sink.subscriptions
            on.sessions.received(client, payload)
            await turns()
            messages = client.taken()
            for message in messages:
                assert isinstance(message, list) or message["type"] in ANSWERS
            errors = [m for m in messages if isinstance(m, dict) and m["type"] == "error"]
            assert all(error["code"] in tuple(ErrorCode) for error in errors)
            if len(messages) == len(errors):
                assert client.sink.subscriptions == before, "a refusal changes nothing"
        assert client.open

    run(scenario())


@pytest.mark.parametrize("format", [0, 1])
def test_counts(run, stage, format) -> None:
    async def scenario() -> None:
        on = stage()
        client = on.client(format)
        on.say(client, op="ping")
        on.say(client, op="nope")
        assert (len(on.sessions), on.sessions.opened_total) == (1, 1)
        assert on.sessions.commands_total == {"ping": 1}
        assert on.sessions.errors_total == {"unknown_op": 1}
        on.sessions.closed(client, 1001)
        assert (len(on.sessions), on.sessions.closes_total) == (0, {1001: 1})

    run(scenario())


@pytest.mark.parametrize("format", [0, 1])
def test_a_session_that_said_nonsense_leaves_nothing_to_the_garbage_collector(run, stage, format) -> None:
    """A flood of them would fill the memory until it runs."""

    async def scenario() -> None:
        on = stage()
        client = on.client(format)
        on.say(client)
        on.say(client, op="nope")
        assert types(client.taken()) == ["error"] * 2
        on.sessions.closed(client, 1006)
        gone = weakref.ref(client)
        client.context = None
        del client
        assert gone() is None

    gc.disable()
    try:
        run(scenario(), debug=False)
    finally:
        gc.enable()
