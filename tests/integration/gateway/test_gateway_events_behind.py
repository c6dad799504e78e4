"""Events where a replica of the stream that answers lags behind: nothing is lost, and nothing comes twice as if it were new."""

from __future__ import annotations

from typing import Any

import pytest

from mdstream.bus import connect, numbered
from mdstream.bus.direct import DirectReader
from mdstream.bus.numbered import NumberedReader
from mdstream.bus.positions import BEGINS, position_key
from mdstream.bus.topic_streams import POSITIONS_SUBJECT
from mdstream.errors import BusConflict
from support.events import SUBSCRIBE, answer, bearer, events, publish

BOTH = {"channels": ["events"], "topics": ["desk.*", "user.*"], "read": True, "publish": True}


class Replica:
    """Answers questions about one subject; it lags behind so many ``times``, and has only the oldest messages then."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, subject: str) -> None:
        self.times = self.has = 0
        ask = DirectReader._ask

        async def ask_this(reader: DirectReader, question: dict[str, Any], asked: str) -> Any:
            found = await ask(reader, question, asked)
            if self.times and asked.endswith(subject):
                self.times -= 1
                del found.messages[self.has :]
                found.has_more = False
            return found

        monkeypatch.setattr(DirectReader, "_ask", ask_this)


@pytest.mark.parametrize(
    ("topic", "resumes", "wanted"),
    [
        ("desk.a", True, [(3, False)]),
        ("user.alice", True, [(3, False)]),
        ("user.alice", False, [(0, True), (1, True), (2, True), (3, False)]),
    ],
)
def test_a_gateway_that_is_behind_another_catches_up_before_it_serves_a_client_of_that(
    run, nats_server, gateway, ws, key, monkeypatch, topic, resumes, wanted
) -> None:
    replica = Replica(monkeypatch, f"ev.{topic}")

    async def scenario() -> None:
        config = {"auth_key_file": (key,)}
        async with gateway(nats_server.url, **config) as one:
            writer = await ws.open(one.port, **bearer("sender", BOTH))
            alice = await ws.open(one.port, **bearer("alice", BOTH))
            alice.send({**SUBSCRIBE, "topics": [topic]})
            epoch = (await alice.until("subscribed"))["epoch"]
            numbers = [await publish(writer, topic, number) for number in range(3)]
            assert await events(alice, 3) == [0, 1, 2]
            await alice.abort()
            replica.times = 2
            async with gateway(nats_server.url, **config) as other:
                back = await ws.open(other.port, **bearer("alice", BOTH))
                resume = {"resume": {topic: [epoch, numbers[2]]}} if resumes else {}
                back.send({**SUBSCRIBE, "topics": [topic], **resume})
                told = await back.until("subscribed")
                assert (told["resumed"], told["newest"]) == (resumes, numbers[2])
                await publish(writer, topic, 3)
                got = [await back.until("event") for _ in wanted]
                assert [(each["data"], each["redelivered"]) for each in got] == wanted
                assert replica.times == 0

    run(scenario())


def test_recover_is_answered_with_all_there_is(run, nats_server, gateway, ws, monkeypatch) -> None:
    replica = Replica(monkeypatch, "ev.desk.a")

    async def scenario() -> None:
        async with gateway(nats_server.url) as one, gateway(nats_server.url) as other:
            writer = await ws.open(one.port)
            numbers = [await publish(writer, "desk.a", number) for number in range(5)]
            reader = await ws.open(other.port)
            reader.send({**SUBSCRIBE, "topics": ["desk.a"]})
            sub = (await reader.until("subscribed"))["sub"]
            for from_seq, count in ((0, 5), (numbers[0] + 1, 4)):
                replica.times, replica.has = 2, count - 2
                reader.send({"op": "recover", "id": 2, "sub": sub, "from": from_seq})
                got = [await reader.recv() for _ in range(count + 1)]
                assert [each["type"] for each in got] == [*count * ["event"], "recovered"]
                assert (got[-1]["last"], got[-1]["more"], replica.times) == (numbers[-1], False, 0)

    run(scenario())


def test_recover_is_not_answered_with_what_has_yet_to_come_live(
    run, nats_server, gateway, ws, monkeypatch
) -> None:
    """Else it would come a second time, as if it were new."""
    hear = NumberedReader._hear
    is_deaf = False

    def hear_or_not(self: NumberedReader, *message: Any) -> None:
        if not is_deaf:
            hear(self, *message)

    monkeypatch.setattr(NumberedReader, "_hear", hear_or_not)
    monkeypatch.setattr(numbered, "LOOK_S", 1_000.0)

    async def scenario() -> None:
        nonlocal is_deaf
        async with gateway(nats_server.url) as one, gateway(nats_server.url) as other:
            writer = await ws.open(one.port)
            numbers = [await publish(writer, "desk.a", number) for number in range(3)]
            reader = await ws.open(other.port)
            reader.send({**SUBSCRIBE, "topics": ["desk.a"]})
            sub = (await reader.until("subscribed"))["sub"]
            is_deaf = True
            await publish(writer, "desk.a", 3)
            reader.send({"op": "recover", "id": 2, "sub": sub, "from": numbers[0]})
            got = [await reader.recv() for _ in range(4)]
            assert [(each["type"], each.get("data")) for each in got[:3]] == [("event", n) for n in range(3)]
            assert (got[3]["last"], got[3]["more"]) == (numbers[2], False)
            is_deaf = False
            topic = other._sessions.subscriptions.event_topics.find("desk.a")
            topic.reader.ask()
            event = await reader.until("event")
            assert (event["data"], event["prev"], event["redelivered"]) == (3, numbers[2], False)

    run(scenario())


def test_a_topic_without_events_is_recovered_at_once(run, nats_server, gateway, ws) -> None:
    async def scenario() -> None:
        async with gateway(nats_server.url) as server:
            reader = await ws.open(server.port)
            reader.send({**SUBSCRIBE, "topics": ["desk.a"]})
            sub = (await reader.until("subscribed"))["sub"]
            reader.send({"op": "recover", "id": 2, "sub": sub, "from": 0})
            assert (await answer(reader, 2))["last"] == 0

    run(scenario())


def test_what_only_a_replica_lacks_is_not_told_to_be_lost(
    run, nats_server, gateway, ws, key, monkeypatch
) -> None:
    monkeypatch.setattr(numbered, "HOLE_S", 0.0)
    replica = Replica(monkeypatch, "ev.user.alice")

    async def scenario() -> None:
        config = {"auth_key_file": (key,)}
        async with gateway(nats_server.url, **config) as one:
            writer = await ws.open(one.port, **bearer("sender", BOTH))
            alice = await ws.open(one.port, **bearer("alice", BOTH))
            alice.send({**SUBSCRIBE, "topics": ["user"]})
            sub = (await alice.until("subscribed"))["sub"]
            numbers = [await publish(writer, "user.alice", number) for number in range(4)]
            assert await events(alice, 4) == [0, 1, 2, 3]
            alice.send({"op": "ack", "sub": sub, "seq": numbers[0]})
            await alice.until("acknowledged")
            async with gateway(nats_server.url, **config) as other:
                replica.times, replica.has = 6, 1
                late = await ws.open(other.port, **bearer("alice", BOTH))
                late.send({**SUBSCRIBE, "topics": ["user"]})
                await late.until("subscribed")
                got = [await late.recv() for _ in range(3)]
                assert [(each["type"], each.get("data")) for each in got] == [("event", n) for n in (1, 2, 3)]
                assert replica.times == 0

    run(scenario())


def test_where_a_user_begins_is_not_decided_by_a_replica(
    run, nats_server, gateway, ws, key, monkeypatch
) -> None:
    """It does not know yet what he has acknowledged, so he would begin with what is new, and never be sent the rest."""
    replica = Replica(monkeypatch, ".desk.new")

    async def scenario() -> None:
        config = {"auth_key_file": (key,), "events_topics": ("desk.new:user:new",)}
        async with gateway(nats_server.url, **config) as one:
            alice = await ws.open(one.port, **bearer("alice", BOTH))
            alice.send({**SUBSCRIBE, "topics": ["desk.new"]})
            sub = (await alice.until("subscribed"))["sub"]
            numbers = [await publish(alice, "desk.new", number) for number in range(3)]
            assert await events(alice, 3) == [0, 1, 2]
            alice.send({"op": "ack", "sub": sub, "seq": numbers[0]})
            await alice.until("acknowledged", seq=numbers[0])
            async with gateway(nats_server.url, **config) as other:
                replica.times = 3
                late = await ws.open(other.port, **bearer("alice", BOTH))
                late.send({**SUBSCRIBE, "topics": ["desk.new"]})
                assert (await late.until("subscribed"))["position"] == numbers[0]
                assert await events(late, 2) == [1, 2]

    run(scenario())


def test_where_another_gateway_wanted_a_user_to_begin_and_was_refused_moves_nothing(
    run, nats_server, gateway, ws, key
) -> None:
    async def scenario() -> None:
        config = {"auth_key_file": (key,), "events_topics": ("desk.new:user:new",)}
        async with gateway(nats_server.url, **config) as server, await connect(nats_server.url) as bus:
            alice = await ws.open(server.port, **bearer("alice", BOTH))
            alice.send({**SUBSCRIBE, "topics": ["desk.new"]})
            told = await alice.until("subscribed")
            await publish(alice, "desk.new", 0)
            place = f"{POSITIONS_SUBJECT}.{position_key('alice', 'desk.new', None)}"
            with pytest.raises(BusConflict):
                payload = f"{told['epoch']}:{10**6}".encode()
                await bus.publish_acked(place, payload, expected_seq=0, headers={BEGINS: "1"})
            await alice.until("event")
            late = await ws.open(server.port, **bearer("alice", BOTH))
            late.send({**SUBSCRIBE, "topics": ["desk.new"]})
            assert (await late.until("subscribed"))["position"] == told["position"]
            assert await events(late, 1) == [0]

    run(scenario())
