"""What clients may ask for in groups of ticks, and what they are told beyond it."""

from __future__ import annotations

from typing import Any

import msgpack

from mdstream.gateway import messages
from mdstream.model import GROUPS, Ref

BOOK: dict[str, Any] = {"op": "subscribe", "channel": "book", "instruments": ["SIM:A"]}


async def opened(stage, *, tick: int = 1, **changes: int):
    """A stage on which SIM:A and SIM:B are open and live, and a client."""
    on = stage(**changes)
    on.announce("SIM:A", "SIM:B")
    for name in on.readers.refs:
        on.readers.refs[name] = Ref(price_exp=-2, size_exp=-3, tick=tick)
    on.readers.live_at_once = True
    client = on.client()
    await on.instruments.open(["SIM:A", "SIM:B"], "book")
    return on, client


def ask(on, client, **view: Any) -> dict[str, Any]:
    """The first answer to a subscribe."""
    on.say(client, **{**BOOK, **view})
    answer, *_ = client.taken()
    return answer


def test_usual_groups_are_served_to_everybody(run, stage) -> None:
    async def scenario() -> None:
        on, client = await opened(stage, max_other_groups=0)
        assert {ask(on, client, group=group)["type"] for group in (1, *GROUPS)} == {"subscribed"}
        assert len(GROUPS) <= on.config.max_grouped

    run(scenario())


def test_usual_groups_are_counted_in_the_ticks_of_the_instrument_too(run, stage) -> None:
    async def scenario() -> None:
        on, client = await opened(stage, tick=25, max_other_groups=0)
        for group, expected in ((25, True), (125, True), (2, True), (75, False), (3, False)):
            served = ask(on, client, group=group)["type"] == "subscribed"
            assert served is expected, group

    run(scenario())


def test_other_groups_are_served_while_there_is_room_and_what_is_shown_can_be_joined(run, stage) -> None:
    async def scenario() -> None:
        on, client = await opened(stage, max_other_groups=2)
        other = on.client()
        assert ask(on, client, group=3)["type"] == "subscribed"
        assert ask(on, client, group=3, depth=5)["type"] == "subscribed"
        error = ask(on, other, group=7, id=9)
        assert (error["type"], error["id"], error["code"]) == ("error", 9, "limit_subscriptions")
        assert error["message"] == (
            "SIM:A shows 2 views of unusual groups, and no more, so not of group 7 too; always served are "
            "2, 5, 10, 20, 25, 50, 100, 200 …, and these times the tick, 1 (welcome.limits.groups lists all)"
        )
        assert ask(on, other, group=3)["type"] == "subscribed"
        assert ask(on, other, group=7, instruments=["SIM:B"])["type"] == "subscribed"
        on.say(client, op="unsubscribe", subs=[topic.number for topic in client.sink.topics()])
        client.taken()
        assert ask(on, other, group=7)["type"] == "subscribed", "the view of depth 5 has ended"

    run(scenario())


def test_a_refused_group_changes_nothing(run, stage) -> None:
    async def scenario() -> None:
        on, client = await opened(stage, max_other_groups=1)
        assert ask(on, client, group=3, instruments=["SIM:B"])["type"] == "subscribed"
        assert ask(on, client, group=7, instruments=["SIM:A", "SIM:B"])["code"] == "limit_subscriptions"
        assert client.sink.subscriptions == 1
        assert on.hub.stats()["topics"] == 1

    run(scenario())


def test_a_client_has_so_many_grouped_views(run, stage) -> None:
    async def scenario() -> None:
        on, client = await opened(stage, max_grouped=3)
        groups = (2, 5, 10)
        assert [ask(on, client, group=group)["type"] for group in groups] == ["subscribed"] * 3
        error = ask(on, client, group=20)
        assert (error["code"], error["message"]) == (
            "limit_subscriptions",
            "3 of 3 grouped views are in use; 1 more are too many. Group 1 is not counted",
        )
        assert ask(on, client, group=10)["type"] == "subscribed", "it has that one already"
        assert ask(on, client, depth=5)["type"] == "subscribed"
        assert ask(on, on.client(), group=20)["type"] == "subscribed"

    run(scenario())


def test_welcome_says_what_is_served(run, stage) -> None:
    on = stage(groups=(10, 100), max_grouped=7, max_other_groups=3)
    limits = messages.welcome(on.config, "x", 1, {})["limits"]
    assert (limits["groups"], limits["max_grouped"], limits["max_other_groups"]) == ([10, 100], 7, 3)


def test_many_groups_by_one_client_leave_a_bounded_number_of_topics(run, stage) -> None:
    async def scenario() -> None:
        on, client = await opened(stage, commands_burst=2000)
        answers = [ask(on, client, group=2 + number)["type"] for number in range(990)]
        assert answers.count("subscribed") <= on.config.max_grouped
        assert on.hub.stats()["topics"] == answers.count("subscribed")
        client.sink.close()
        assert on.hub.stats()["topics"] == 0

    run(scenario())


def test_the_views_of_all_clients_together_have_so_much_memory(run, stage) -> None:
    async def scenario() -> None:
        on, client = await opened(stage, max_grouped_bytes=3 * 5_000)
        others = [on.client() for _ in range(2)]
        assert [ask(on, client, group=group)["type"] for group in (2, 5, 10)] == ["subscribed"] * 3
        error = ask(on, others[0], group=20)
        assert (error["code"], "of all clients take" in error["message"]) == ("limit_subscriptions", True)
        assert ask(on, others[0], group=10)["type"] == "subscribed", "it is shared"
        assert ask(on, others[1], depth=5)["type"] == "subscribed", "it is not grouped"
        before = on.sessions.grouped_bytes
        on.say(client, op="unsubscribe", subs=[topic.number for topic in client.sink.topics()])
        assert ask(on, others[1], group=20)["type"] == "subscribed", "two views have ended"
        on.sessions.sweep()
        assert 0 < on.sessions.grouped_bytes < before
        for other in others:
            other.sink.close()
        on.sessions.sweep()
        assert on.sessions.grouped_bytes == 0

    run(scenario())


def test_a_view_that_grows_takes_what_it_takes_now(run, stage) -> None:
    async def scenario() -> None:
        on, client = await opened(stage)
        ask(on, client, group=2)
        small = on.sessions.grouped_bytes
        (topic,) = client.sink.topics()
        bids = [number for level in range(2_000) for number in (1_000_000 - 10 * level, 1)]
        epoch = topic.instrument.book.epoch + 1
        assert on.hub.load_snap(topic.instrument, msgpack.packb([2, epoch, 9, 1, bids, []]))
        on.hub.flush(10**9)
        on.sessions.sweep()
        assert on.sessions.grouped_bytes > small + 2_000 * 16

    run(scenario())
