"""What a session may spend: commands, errors, levels that are read, bytes of answers; and what it is told beyond that."""

from __future__ import annotations

import msgpack

from mdstream.codes import ErrorCode
from mdstream.errors import CommandError
from support.sessions import BOOK, NAMES, answers, opened, types


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
