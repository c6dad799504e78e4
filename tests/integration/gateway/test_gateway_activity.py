"""What sessions do is stored for webhooks: from a gateway, through an outage, when it dies, and not at all unless it is wanted."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from mdstream.bus import Bus, connect
from mdstream.bus.activity import MD_ACTIVITY, decode_activity
from mdstream.bus.direct import DirectReader
from mdstream.errors import BusError
from support.events import bearer
from support.tokens import public_pem

KINDS = ("session", "subscription", "presence")
DESK = {"channels": ["*"], "topics": ["desk.*"], "publish": True, "who": True}
MARKET = {"channels": ["*"], "instruments": ["SIM:*"]}
JOIN = {"op": "subscribe", "channel": "presence", "topics": ["desk.a"], "join": True, "info": "\x1b[31m"}


@pytest.fixture
def keys(tmp_path) -> dict[str, Any]:
    path = tmp_path / "public.pem"
    path.write_bytes(public_pem("EdDSA"))
    return {"auth_key_file": (path,), "stale_after_ms": 0}


async def stored(bus: Bus) -> list[Any]:
    reader = DirectReader(bus, MD_ACTIVITY)
    await reader.begin()
    found = await reader.read("mdstream.activity.*", 1)
    await reader.close()
    return [each for message in found.messages for each in decode_activity(message.payload)]


async def until(bus: Bus, type: str, count: int = 1) -> list[Any]:
    while True:
        try:
            found = await stored(bus)
        except BusError:  # the first record makes the stream
            found = []
        if sum(each.type == type for each in found) >= count:
            return found
        await asyncio.sleep(0.01)


def told(records: list[Any]) -> list[tuple[str, dict[str, Any]]]:
    return [
        (each.type, {key: value for key, value in each.data.items() if key not in ("gateway", "session")})
        for each in records
    ]


def test_all_that_a_session_does_in_order_and_through_an_outage(
    run, nats_server, gateway, feed, ws, http, keys
) -> None:
    async def scenario() -> None:
        async with (
            feed(nats_server.url, "SIM:A") as sim,
            gateway(nats_server.url, activity_kinds=KINDS, **keys) as server,
            await connect(nats_server.url) as bus,
        ):
            await sim.announce([1000, 5], [1001, 7])
            alice = await ws.open(server.port, **bearer("alice", DESK, MARKET))
            subs = []
            for command in (
                {"op": "subscribe", "channel": "book", "instruments": ["SIM:A"]},
                {"op": "subscribe", "channel": "book", "instruments": ["SIM:A"]},
                {"op": "subscribe", "channel": "board", "instruments": ["SIM:*"]},
                {"op": "subscribe", "channel": "events", "topics": ["desk.a"]},
                {"op": "subscribe", "channel": "map", "topics": ["desk.b"]},
                JOIN,
            ):
                alice.send(command)
                subs.append((await alice.until("subscribed"))["sub"])
            await until(bus, "presence.joined")
            nats_server.kill()
            while server._link.connected:
                await asyncio.sleep(0.01)
            alice.send({"op": "unsubscribe", "subs": [subs[0]]})
            await alice.until("unsubscribed")
            alice.close()
            while server.clients:
                await asyncio.sleep(0.01)
            await nats_server.restart()
            records = await until(bus, "session.closed")
            page = (await http(server.admin_port, b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n")).body
            assert b'mdstream_activity_records_total{outcome="lost"} 0.0' in page
            assert b"mdstream_activity_waiting" in page

        who = {"subject": "alice"}
        book, board, events, desk, present = (
            {**who, "sub": sub, "channel": channel, key: name}
            for sub, (channel, key, name) in zip(
                subs[1:],
                (
                    ("book", "instrument", "SIM:A"),
                    ("board", "instrument", "*"),
                    ("events", "topic", "desk.a"),
                    ("map", "topic", "desk.b"),
                    ("presence", "topic", "desk.a"),
                ),
                strict=True,
            )
        )
        found = told(records)
        assert found[0] == ("gateway.started", {"node": "test"})
        assert found[1] == ("session.opened", {**who, "method": "jwt"})
        begun = [data for type, data in found if type == "subscription.begun"]
        assert begun == [book, board, events, desk, present]
        joined = ("presence.joined", {**who, "topic": "desk.a", "info": "\x1b[31m"})
        assert joined in found
        ends = found[-7:]
        assert ends[0] == ("subscription.ended", book)
        assert [data for type, data in ends if type == "subscription.ended"] == begun
        assert ends[-2] == ("presence.left", {**who, "topic": "desk.a"})
        assert ends[-1][0] == "session.closed"
        sessions = {each.data["session"] for each in records if "session" in each.data}
        gateways = {each.data["gateway"] for each in records}
        assert len(sessions) == len(gateways) == 1
        async with await connect(nats_server.url) as bus:
            assert (await stored(bus))[-1].type == "gateway.stopped"

    run(scenario())


def test_the_usual_subscribe_is_told_of_each_that_sends_it(run, nats_server, gateway, feed, ws, keys) -> None:
    async def scenario() -> None:
        async with (
            feed(nats_server.url, "SIM:A") as sim,
            gateway(nats_server.url, activity_kinds=("subscription",), **keys) as server,
            await connect(nats_server.url) as bus,
        ):
            await sim.announce([1000, 5], [1001, 7])
            for _ in range(5):
                client = await ws.open(server.port, **bearer("alice", MARKET))
                client.send({"op": "subscribe", "channel": "book", "instruments": ["SIM:A"]})
                await client.until("snapshot")
            records = await until(bus, "subscription.begun", 5)
            assert len({each.data["session"] for each in records if "session" in each.data}) == 5
            assert {each.type for each in records} == {"gateway.started", "subscription.begun"}

    run(scenario())


def test_who_was_present_at_a_dead_gateway_is_told_once_by_the_others(
    run, nats_server, gateway, ws, keys
) -> None:
    async def scenario() -> None:
        options = {"activity_kinds": ("presence",), **keys}
        async with (
            gateway(nats_server.url, **options) as one,
            gateway(nats_server.url, **options) as two,
            await connect(nats_server.url) as bus,
        ):
            dead = one._sessions.subscriptions.maps.alive.instance
            silent = set[str]()

            def is_silent(node: str) -> bool:
                """Once: then it gives signs of life again."""
                return node in silent and silent.discard(node) is None

            two._sessions.subscriptions.maps.topics._keeper._is_silent = is_silent
            alice = await ws.open(one.port, **bearer("alice", DESK))
            alice.send(JOIN)
            await alice.until("subscribed")
            here = [await ws.open(each.port, **bearer("bob", DESK)) for each in (two, two)]
            for client in here:
                client.send({**JOIN, "who": True})
                await client.until("subscribed")
            await until(bus, "presence.joined", 3)
            silent.add(dead)
            records = await until(bus, "presence.left")
            left = [each.data for each in records if each.type == "presence.left"]
            assert [(each["subject"], each["gateway"]) for each in left] == [("alice", dead)]
            # It is not dead, hears that it was dropped, and says that its session is there.
            records = await until(bus, "presence.joined", 4)
            assert [each.type for each in records if each.data.get("subject") == "alice"] == [
                "presence.joined",
                "presence.left",
                "presence.joined",
            ]

    run(scenario())


def test_nothing_is_told_and_no_stream_is_made_unless_it_is_wanted(
    run, nats_server, gateway, feed, ws, keys
) -> None:
    async def scenario() -> None:
        async with (
            feed(nats_server.url, "SIM:A") as sim,
            gateway(nats_server.url, **keys) as server,
            await connect(nats_server.url) as bus,
        ):
            await sim.announce([1000, 5], [1001, 7])
            client = await ws.open(server.port, **bearer("alice", MARKET))
            client.send({"op": "subscribe", "channel": "book", "instruments": ["SIM:A"]})
            await client.until("snapshot")
            assert server._activity.activity is server._sessions.subscriptions.activity is None
            assert server._sessions.opened == server._sessions._arrivals.opened
            with pytest.raises(BusError):
                await stored(bus)

    run(scenario())
