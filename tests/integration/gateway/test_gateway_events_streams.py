"""Events where NATS is away, its stream is lost or another one, or its server is an older one."""

from __future__ import annotations

from typing import Any

from mdstream.bus import connect
from mdstream.bus.direct import DirectReader
from mdstream.bus.topic_streams import TopicStreamOptions, ensure_events
from support.events import LETTERS, SUBSCRIBE, answer, bearer, events, eventually, publish


def test_without_nats_events_are_unavailable_at_once_and_soon_after_it_is_back(
    run, nats_server, gateway, ws
) -> None:
    async def scenario() -> None:
        async with gateway(nats_server.url) as server:
            client = await ws.open(server.port)
            client.send({**SUBSCRIBE, "topics": ["desk.a"]})
            await client.until("subscribed")
            await publish(client, "desk.a", 1)
            assert await events(client, 1) == [1]
            nats_server.kill()
            await eventually(lambda: not server._link.connected)
            client.send({"op": "publish", "id": 5, "topic": "desk.a", "event": "x", "data": 2})
            assert (await client.until("error", id=5))["code"] == "unavailable"
            await nats_server.restart()
            await eventually(lambda: server._link.connected)
            post = {"op": "publish", "id": 6, "topic": "desk.a", "event": "x", "data": 3, "key": "three"}
            client.send(post)
            while (await answer(client, 6))["type"] == "error":  # JetStream takes a moment
                client.send(post)
            assert await events(client, 1) == [3]

    run(scenario())


def test_a_stream_that_begins_anew_ends_subscriptions_which_may_come_again(
    run, nats_server, gateway, ws
) -> None:
    async def scenario() -> None:
        async with gateway(nats_server.url) as server, await connect(nats_server.url) as bus:
            client = await ws.open(server.port)
            client.send({**SUBSCRIBE, "topics": ["desk.a"]})
            told = await client.until("subscribed")
            for number in range(5):
                await publish(client, "desk.a", number)
            await events(client, 5)
            await bus.jetstream.delete_stream("MD_EVENTS")
            await ensure_events(bus.jetstream, TopicStreamOptions())
            await bus.publish_acked("ev.desk.a", b'{"type":"x","data":"anew"}')
            assert (await client.until("unsubscribed"))["reason"] == "rescaled"
            client.send({**SUBSCRIBE, "topics": ["desk.a"], "resume": {"desk.a": [told["epoch"], 1]}})
            again = await client.until("subscribed")
            assert (again["newest"], again["resumed"]) == (1, False)
            assert again["epoch"] > told["epoch"]
            assert await publish(client, "desk.a", "more") == 2
            assert await events(client, 1) == ["more"]

    run(scenario())


def test_a_stream_that_somebody_deleted_is_created_again(run, nats_server, gateway, ws) -> None:
    async def scenario() -> None:
        async with gateway(nats_server.url) as server, await connect(nats_server.url) as bus:
            client = await ws.open(server.port)
            await publish(client, "desk.a", 1)
            await bus.jetstream.delete_stream("MD_EVENTS")
            post = {"op": "publish", "id": 6, "topic": "desk.a", "event": "x", "data": 2, "key": "two"}
            client.send(post)
            assert (await answer(client, 6))["code"] == "unavailable"
            client.send(post)
            while (found := await answer(client, 6))["type"] == "error":
                client.send(post)
            assert found["seq"] == 1

    run(scenario())


def test_an_older_server_is_asked_for_one_message_at_a_time(
    run, nats_server, gateway, ws, key, monkeypatch
) -> None:
    """nats-server before 2.11 answers a question for a batch with one message, and does not say whether there are others."""
    ask = DirectReader._ask

    async def ask_for_one(self: DirectReader, question: dict[str, Any], subject: str) -> Any:
        return await ask(
            self, {name: question[name] for name in question if name not in ("batch", "max_bytes")}, subject
        )

    monkeypatch.setattr(DirectReader, "_ask", ask_for_one)

    async def scenario() -> None:
        async with (
            gateway(nats_server.url, auth_key_file=(key,)) as one,
            gateway(nats_server.url, auth_key_file=(key,)) as other,
        ):
            writer = await ws.open(one.port, **bearer("sender", LETTERS))
            for number in range(100):
                await publish(writer, "user.alice", number)
            alice = await ws.open(other.port, **bearer("alice"))
            alice.send({**SUBSCRIBE, "topics": ["user"]})
            sub = (await alice.until("subscribed"))["sub"]
            for number in range(100):
                event = await alice.until("event")
                assert event["data"] == number
                alice.send({"op": "ack", "sub": sub, "seq": event["seq"]})

    run(scenario())
