from __future__ import annotations

import asyncio
import gc
import logging
import weakref
from typing import Any

import msgpack
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mdstream.codes import ErrorCode
from mdstream.errors import CommandError
from mdstream.gateway.turns import Turns
from mdstream.model import Ref

ANSWERS = {"subscribed", "unsubscribed", "state", "error", "pong"}
BOOK: dict[str, Any] = {"op": "subscribe", "channel": "book", "instruments": ["SIM:A"]}


async def turns(count: int = 10) -> None:
    """Lets everything run that is ready to."""
    for _ in range(count):
        await asyncio.sleep(0)


async def answers(client) -> list[Any]:
    """The next messages, as soon as there are any."""
    while not (messages := client.taken()):
        await asyncio.sleep(0.005)
    return messages


def types(messages: list[Any]) -> list[str]:
    return [message["type"] for message in messages]


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


def test_what_recovers_cost_is_bounded(run, stage) -> None:
    async def scenario() -> None:
        on = stage(levels_burst=30, levels_per_second=10)
        on.announce("SIM:A")
        on.readers.live_at_once = True
        client = on.client()
        on.say(client, **BOOK)
        subscribed, *_ = await answers(client)
        recover = {"op": "recover", "sub": subscribed["sub"], "from": 0}
        for _ in range(17):
            on.say(client, **recover)
        assert types(client.taken()) == ["snapshot"] * 16 + ["error"], (
            "12 levels for the subscribe, 3 for the first recover, 1 for a ready one"
        )
        on.say(client, **recover, id=7)
        (error,) = client.taken()
        assert (error["id"], error["code"]) == (7, "rate_limited")
        assert "levels_per_second" in error["message"]
        on.pass_s(1)
        on.say(client, **recover)
        assert types(client.taken()) == ["snapshot"]

    run(scenario())


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


def test_errors_spend_the_budget_which_fills_up_again(run, stage) -> None:
    async def scenario() -> None:
        on = stage(max_errors=2)
        client = on.client()
        for _ in range(2):
            on.say(client, op="nope")
        assert client.open
        on.pass_s(31)
        on.say(client, op="nope")
        assert client.open
        on.say(client, op="nope")
        assert client.code == 4400
        assert types(client.taken()) == ["error"] * 4

    run(scenario())


def test_what_the_gateway_cannot_do_just_now_costs_the_client_nothing(run, stage) -> None:
    async def scenario() -> None:
        on = stage(max_errors=2)
        client = on.client()
        for _ in range(5):
            on.sessions.refuse(client, 1, CommandError(ErrorCode.UNAVAILABLE, "try again"))
        assert client.open
        assert types(client.taken()) == ["error"] * 5

    run(scenario())


def test_the_command_rate(run, stage) -> None:
    async def scenario() -> None:
        on = stage(commands_burst=2, commands_per_second=2, max_errors=1)
        client = on.client()
        for i in range(3):
            on.say(client, op="ping", id=i)
        assert [(m["type"], m["id"]) for m in client.taken()] == [("pong", 0), ("pong", 1), ("error", 2)]
        on.pass_s(0.5)
        on.say(client, op="ping", id=3)
        assert client.taken()[0]["type"] == "pong"
        on.say(client, op="ping", id=4)
        assert (client.taken()[0]["code"], client.code) == ("rate_limited", 4429)

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


NAMES = [f"SIM:{number}" for number in range(10)]


async def opened(on: Any) -> None:
    """All of ``NAMES`` are open."""
    on.announce(*NAMES)
    on.readers.live_at_once = True
    client = on.client()
    on.say(client, **{**BOOK, "instruments": NAMES})
    while on.hub.stats()["subscriptions"] < len(NAMES):
        await asyncio.sleep(0)
    on.say(client, op="ping")


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


def test_a_command_beyond_a_budget_is_refused_before_it_is_done(run, stage) -> None:
    async def scenario() -> None:
        on = stage(answer_bytes_burst=1_000, answer_bytes_per_second=1)
        await opened(on)
        on.audit.limited_total.clear()
        client = on.client()
        on.say(client, **{**BOOK, "instruments": NAMES})
        assert len(client.taken()) == 20, "more than there is at once, but it was all there"
        on.say(client, **{**BOOK, "instruments": NAMES, "depth": 5}, id=2)
        (error,) = client.taken()
        assert (error["id"], error["code"]) == (2, "rate_limited")
        assert "answer_bytes_burst" in error["message"]
        assert client.sink.subscriptions == len(NAMES)
        assert on.audit.limited_total == {("session", "answer_bytes"): 1}

    run(scenario())


def test_a_long_id_is_echoed_in_each_answer_and_charged_for_each(run, stage) -> None:
    async def scenario() -> None:
        on = stage(answer_bytes_burst=20_000, answer_bytes_per_second=1)
        await opened(on)
        client, long = on.client(), "x" * 3_000
        on.say(client, **{**BOOK, "instruments": NAMES}, id=long)
        answers = [message for message in client.taken() if message["type"] == "subscribed"]
        assert [answer["id"] for answer in answers] == [long] * len(NAMES)
        on.say(client, **{**BOOK, "instruments": NAMES[:1], "depth": 5}, id=2)
        (error,) = client.taken()
        assert (error["code"], "answer_bytes_burst" in error["message"]) == ("rate_limited", True)

    run(scenario())


def test_what_is_compressed_is_charged_for_the_time_that_it_takes(run, stage) -> None:
    async def scenario() -> None:
        on = stage()
        await opened(on)
        charged: dict[int, list[float]] = {0: [], 15: []}
        for window_bits, amounts in charged.items():
            client = on.client(window_bits=window_bits)
            on.say(client, **{**BOOK, "instruments": NAMES})
            client.context.budgets.also = lambda cost, amount, amounts=amounts: (
                amounts.append(amount) if cost == "answer_bytes" else None
            )
            on.say(client, **{**BOOK, "instruments": NAMES, "depth": 5})
            on.say(client, op="recover", sub=client.sink.topics()[0].number, **{"from": 0})
            on.say(client, op="ping", data="x" * 1_000)
        assert len(charged[0]) == 3
        assert charged[15] == [4 * amount for amount in charged[0]]

    run(scenario())


def test_clients_that_alternate_have_each_snapshot_encoded_anew_and_are_charged_for_it(run, stage) -> None:
    async def scenario() -> None:
        on = stage()
        await opened(on)
        name, levels = NAMES[0], 2_000
        core = on.instruments.find(name).core
        bids = [number for level in range(levels) for number in (1_000_000 - level, 1)]
        assert on.hub.load_snap(core, msgpack.packb([2, core.book.epoch + 1, 9, 1, bids, []]))
        one, two = on.client(), on.client()
        on.say(one, **{**BOOK, "instruments": [name]})
        sub = next(topic.number for topic in one.sink.topics())
        charged: list[float] = []
        for client in (one, two):
            client.context.budgets.also = lambda cost, amount: (
                charged.append(amount) if cost == "levels" else None
            )
        for again in range(3):
            on.say(one, op="recover", sub=sub, **{"from": 0})
            on.say(two, **{**BOOK, "instruments": [name]})
            assert min(charged[-2:]) > levels, (again, charged)
            on.say(two, op="unsubscribe", subs=[topic.number for topic in two.sink.topics()])
        on.say(one, op="recover", sub=sub, **{"from": 0})
        on.say(one, op="recover", sub=sub, **{"from": 0})
        assert charged[-1] < 100, "the one that was just sent is sent again"

    run(scenario())


def test_what_a_session_costs_is_charged_to_others_too(run, stage) -> None:
    async def scenario() -> None:
        on = stage()
        client = on.client()
        charged = []

        def charge(cost: str, amount: float) -> str | None:
            charged.append((cost, amount))
            return "too much of one user" if cost == "decoded_bytes" and len(charged) > 3 else None

        client.context.budgets.also = charge
        payload = b'{"op":"ping"}'
        on.sessions.received(client, payload)
        on.sessions.received(client, payload)
        assert types(client.taken()) == ["pong", "error"]
        assert [cost for cost, _ in charged] == ["decoded_bytes", "commands", "answer_bytes", "decoded_bytes"]
        assert charged[0] == ("decoded_bytes", len(payload))
        assert not on.audit.limited_total, "whoever refuses counts it"

    run(scenario())


def test_what_the_core_refuses_is_told_and_counted(run, stage) -> None:
    async def scenario() -> None:
        on = stage(max_errors=1)
        client = on.client()
        on.sessions.limited(client, "control_frames")
        assert client.taken() == []
        on.sessions.limited(client, "decoded_bytes")
        assert client.taken()[0]["code"] == "rate_limited"
        on.sessions.limited(client, "decoded_bytes")
        assert client.code == 4429
        assert on.audit.limited_total == {
            ("session", "control_frames"): 1,
            ("session", "decoded_bytes"): 2,
            ("session", "errors"): 1,
        }

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
