"""Events over a real nats-server: at most once with recovery, at least once with acknowledgement, on one gateway and on two."""

from __future__ import annotations

import json
import time
from typing import Any

import msgpack
import pytest

from mdstream.bus import connect
from mdstream.gateway import event_followers
from support.events import DESK, LETTERS, SUBSCRIBE, answer, bearer, events, publish, token


@pytest.mark.parametrize("format", ["json", "msgpack"])
def test_from_a_client_of_one_gateway_to_a_client_of_another(run, nats_server, gateway, ws, format) -> None:
    async def scenario() -> None:
        async with gateway(nats_server.url) as one, gateway(nats_server.url) as other:
            reader, writer = await ws.open(one.port, format), await ws.open(other.port, "json")
            reader.send({**SUBSCRIBE, "id": 7, "topics": ["desk.a", "desk.b"]})
            subs = {}
            for topic in ("desk.a", "desk.b"):
                told = await reader.until("subscribed")
                assert (told["id"], told["topic"], told["acknowledge"]) == (7, topic, "none")
                assert (told["position"], told["newest"], told["resumed"]) == (None, 0, False)
                subs[topic] = told["sub"]
            data = {"text": "é", "numbers": [1, -2.5, None, True], "big": 2**62}
            first = await publish(writer, "desk.a", data)
            second = await publish(writer, "desk.b", [1])
            third = await publish(writer, "desk.a", "again")
            got = [await reader.until("event") for _ in range(3)]
            assert [each["seq"] for each in got] == [first, second, third]
            assert [each["sub"] for each in got] == [subs["desk.a"], subs["desk.b"], subs["desk.a"]]
            assert [each["prev"] for each in got] == [0, 0, first]
            assert [each["data"] for each in got] == [data, [1], "again"]
            assert all(
                (each["event"], each["sender"], each["redelivered"]) == ("notice", None, False)
                for each in got
            )
            assert abs(got[0]["time"] / 1e6 - time.time()) < 60

    run(scenario())


def test_the_same_key_is_stored_once_and_the_sender_is_who_he_is(run, nats_server, gateway, ws, key) -> None:
    async def scenario() -> None:
        async with gateway(nats_server.url, auth_key_file=(key,)) as server:
            alice = await ws.open(server.port, **bearer("alice", DESK))
            bob = await ws.open(server.port, **bearer("bob", DESK))
            alice.send({**SUBSCRIBE, "topics": ["desk.a"]})
            await alice.until("subscribed")
            for client, sender in ((alice, "alice"), (bob, "bob")):
                seq = await publish(client, "desk.a", {"sender": "eve"}, key="k1")
                client.send(
                    {"op": "publish", "id": 2, "topic": "desk.a", "event": "x", "data": 1, "key": "k1"}
                )
                again = await answer(client, 2)
                assert (again["seq"], again["duplicate"]) == (seq, True)
                event = await alice.until("event")
                assert (event["sender"], event["data"]) == (sender, {"sender": "eve"})

    run(scenario())


def test_who_resumes_gets_what_came_meanwhile_and_who_lacks_more_recovers(
    run, nats_server, gateway, ws
) -> None:
    async def scenario() -> None:
        async with gateway(nats_server.url) as one:
            writer = await ws.open(one.port)
            numbers = [await publish(writer, "desk.a", number) for number in range(5)]
            reader = await ws.open(one.port)
            reader.send({**SUBSCRIBE, "topics": ["desk.a"]})
            told = await reader.until("subscribed")
            assert told["newest"] == numbers[-1]
            epoch = told["epoch"]
            numbers += [await publish(writer, "desk.a", number) for number in range(5, 8)]
            assert await events(reader, 3) == [5, 6, 7]
            await reader.abort()
            numbers += [await publish(writer, "desk.a", number) for number in range(8, 10)]

            same = await ws.open(one.port)
            same.send({**SUBSCRIBE, "topics": ["desk.a"], "resume": {"desk.a": [epoch, numbers[7]]}})
            assert (await same.until("subscribed"))["resumed"] is True
            assert await events(same, 2) == [8, 9]
            async with gateway(nats_server.url) as other:
                elsewhere = await ws.open(other.port)
                elsewhere.send({**SUBSCRIBE, "topics": ["desk.a"], "resume": {"desk.a": [epoch, numbers[7]]}})
                told = await elsewhere.until("subscribed")
                assert (told["resumed"], told["newest"]) == (False, numbers[9])
                elsewhere.send({"op": "recover", "id": 3, "sub": told["sub"], "from": numbers[7] + 1})
                first = await elsewhere.until("event")
                assert (first["data"], first["prev"], first["redelivered"]) == (8, numbers[7], True)
                assert await events(elsewhere, 1) == [9]
                done = await elsewhere.until("recovered")
                assert (done["id"], done["last"], done["more"]) == (3, numbers[9], False)
                elsewhere.send({"op": "recover", "sub": told["sub"], "from": 0})
                assert await events(elsewhere, 10) == list(range(10))

    run(scenario())


def test_what_a_user_has_not_acknowledged_comes_on_any_gateway(run, nats_server, gateway, ws, key) -> None:
    async def scenario() -> None:
        config = {"auth_key_file": (key,)}
        async with gateway(nats_server.url, **config) as one, gateway(nats_server.url, **config) as other:
            writer = await ws.open(one.port, **bearer("sender", LETTERS))
            numbers = [await publish(writer, "user.alice", number) for number in range(4)]

            phone = await ws.open(one.port, **bearer("alice"))
            phone.send({**SUBSCRIBE, "topics": ["user"]})
            told = await phone.until("subscribed")
            assert (told["topic"], told["acknowledge"], told["position"]) == ("user.alice", "user", None)
            got = [await phone.until("event") for _ in range(4)]
            assert [(each["data"], each["redelivered"]) for each in got] == [(n, True) for n in range(4)]
            assert [each["prev"] for each in got] == [0, *numbers[:3]]
            numbers.append(await publish(writer, "user.alice", 4))
            assert (await phone.until("event"))["redelivered"] is False

            desk = await ws.open(other.port, "msgpack", **bearer("alice"))
            desk.send({**SUBSCRIBE, "topics": ["user.alice"]})
            assert (await desk.until("subscribed"))["position"] is None
            assert await events(desk, 5) == [0, 1, 2, 3, 4]
            phone.send({"op": "ack", "sub": told["sub"], "seq": numbers[2]})
            for client in (phone, desk):  # on both gateways
                assert (await client.until("acknowledged"))["seq"] == numbers[2]

            late = await ws.open(other.port, **bearer("alice"))
            late.send({**SUBSCRIBE, "topics": ["user"]})
            assert (await late.until("subscribed"))["position"] == numbers[2]
            assert await events(late, 2) == [3, 4]
            back = await ws.open(one.port, **bearer("alice"))
            back.send({**SUBSCRIBE, "topics": ["user"], "resume": {"user": [told["epoch"], numbers[3]]}})
            assert (await back.until("subscribed"))["resumed"] is True
            event = await back.until("event")
            assert (event["data"], event["redelivered"]) == (4, False)

    run(scenario())


def test_what_is_not_acknowledged_in_time_is_sent_again(
    run, nats_server, gateway, ws, key, monkeypatch
) -> None:
    monkeypatch.setattr(event_followers, "LEAST_WAIT_S", 0.3)

    async def scenario() -> None:
        async with gateway(nats_server.url, auth_key_file=(key,)) as server:
            writer = await ws.open(server.port, **bearer("sender", LETTERS))
            alice = await ws.open(server.port, **bearer("alice"))
            alice.send({**SUBSCRIBE, "topics": ["user"]})
            sub = (await alice.until("subscribed"))["sub"]
            numbers = [await publish(writer, "user.alice", number) for number in range(3)]
            got = [await alice.until("event") for _ in range(3)]
            assert not any(each["redelivered"] for each in got)
            alice.send({"op": "ack", "sub": sub, "seq": numbers[0]})
            again = [await alice.until("event") for _ in range(2)]
            assert [(each["data"], each["redelivered"]) for each in again] == [(1, True), (2, True)]
            assert again[0]["prev"] == numbers[0]
            alice.send({"op": "ack", "sub": sub, "seq": numbers[2]})
            await alice.until("acknowledged", seq=numbers[2])
            numbers.append(await publish(writer, "user.alice", 3))
            event = await alice.until("event")
            assert (event["data"], event["redelivered"], event["prev"]) == (3, False, numbers[2])

    run(scenario())


def test_who_acknowledges_nothing_is_sent_a_window_and_the_rest_as_it_acknowledges(
    run, nats_server, gateway, ws, key
) -> None:
    async def scenario() -> None:
        async with gateway(nats_server.url, auth_key_file=(key,), publishes_burst=1_000) as server:
            writer = await ws.open(server.port, **bearer("sender", LETTERS))
            count = 3 * event_followers.WINDOW
            numbers = [await publish(writer, "user.alice", number) for number in range(count)]
            async with gateway(nats_server.url, auth_key_file=(key,)) as other:
                alice = await ws.open(other.port, **bearer("alice"))
                alice.send({**SUBSCRIBE, "topics": ["user"]})
                sub = (await alice.until("subscribed"))["sub"]
                got = await events(alice, event_followers.WINDOW)
                alice.send({"op": "ping", "data": 1})
                assert (await alice.recv())["type"] == "pong"  # nothing else came
                while len(got) < count:
                    alice.send({"op": "ack", "sub": sub, "seq": numbers[len(got) - 1]})
                    got.append((await alice.until("event"))["data"])
                assert got == list(range(count))

    run(scenario())


def test_each_device_acknowledges_by_itself_where_the_topic_says_so(
    run, nats_server, gateway, ws, key
) -> None:
    async def scenario() -> None:
        config = {"auth_key_file": (key,), "events_topics": ("desk.orders:device:all", "desk.new:user:new")}
        async with gateway(nats_server.url, **config) as server:
            alice = await ws.open(server.port, **bearer("alice", DESK))
            numbers = [await publish(alice, "desk.orders", number) for number in range(2)]
            await publish(alice, "desk.new", "before")
            alice.send({**SUBSCRIBE, "topics": ["desk.orders"]})
            error = await alice.until("error")
            assert error["code"] == "bad_value" and "device" in error["message"]
            alice.send({**SUBSCRIBE, "topics": ["desk.orders"], "device": "phone"})
            sub = (await alice.until("subscribed", acknowledge="device"))["sub"]
            assert await events(alice, 2) == [0, 1]
            alice.send({"op": "ack", "sub": sub, "seq": numbers[1]})
            await alice.until("acknowledged", seq=numbers[1])
            for device, position in (("phone", numbers[1]), ("laptop", None)):
                other = await ws.open(server.port, **bearer("alice", DESK))
                other.send({**SUBSCRIBE, "topics": ["desk.orders"], "device": device})
                assert (await other.until("subscribed"))["position"] == position
            alice.send({**SUBSCRIBE, "topics": ["desk.new"]})
            told = await alice.until("subscribed", topic="desk.new")
            assert told["position"] == told["newest"] > 0
            await publish(alice, "desk.new", "after")
            assert (await alice.until("event"))["data"] == "after"

    run(scenario())


def test_what_is_no_event_is_refused_counted_and_leaves_no_gap(run, nats_server, gateway, ws, caplog) -> None:
    async def scenario() -> None:
        async with gateway(nats_server.url) as server, await connect(nats_server.url) as bus:
            reader = await ws.open(server.port)
            reader.send({**SUBSCRIBE, "topics": ["desk.a"]})
            await reader.until("subscribed")
            first = await publish(reader, "desk.a", 0)
            await reader.until("event")
            deep = b'{"type":"x","data":' + 100 * b"[" + 100 * b"]" + b"}"
            wrong = [
                b"",
                b"\xff\x00\x1b[31m",
                b'{"type":7,"data":1}',
                deep,
                b'{"data":1}',
                msgpack.packb({"type": "x", "data": b"bytes"}),
            ]
            wrong += [json.dumps({"type": "x", "data": 20_000 * "x"}).encode(), 70_000 * b"x"]
            wrong.append(json.dumps({"type": "x", "data": 1, "sender": "a\x1b[31mb"}).encode())
            for payload in wrong:
                await bus.publish_acked("ev.desk.a", payload)
            await bus.publish_acked("ev.desk.a", json.dumps({"type": "news", "data": {"a": 1}}).encode())
            event = await reader.until("event")
            assert (event["event"], event["data"], event["sender"], event["prev"]) == (
                "news",
                {"a": 1},
                None,
                first,
            )
            assert server._sessions.subscriptions.event_topics.counts["refused"] == len(wrong)
        assert "\x1b" not in caplog.text and "number" in caplog.text

    run(scenario())


def test_what_left_the_stream_unacknowledged_is_told(run, nats_server, gateway, ws, key) -> None:
    async def scenario() -> None:
        config = {"auth_key_file": (key,), "events_max_per_topic": 3}
        async with gateway(nats_server.url, **config) as server:
            writer = await ws.open(server.port, **bearer("sender", LETTERS))
            alice = await ws.open(server.port, **bearer("alice"))
            first = await publish(writer, "user.alice", 0)
            alice.send({**SUBSCRIBE, "topics": ["user"]})
            sub = (await alice.until("subscribed"))["sub"]
            assert (await alice.until("event"))["seq"] == first
            alice.send({"op": "ack", "sub": sub, "seq": first})
            await alice.until("acknowledged")
            await alice.abort()
            numbers = [await publish(writer, "user.alice", number) for number in range(1, 8)]
            async with gateway(nats_server.url, **config) as other:
                again = await ws.open(other.port, **bearer("alice"))
                again.send({**SUBSCRIBE, "topics": ["user"]})
                assert (await again.until("subscribed"))["position"] == first
                lost = await again.until("lost")
                assert (lost["first"], lost["last"]) == (first + 1, numbers[4] - 1)
                assert await events(again, 3) == [5, 6, 7]

    run(scenario())


def test_what_is_not_allowed_is_refused(run, nats_server, gateway, ws, key) -> None:
    async def scenario() -> None:
        reads = {"channels": ["events"], "topics": ["desk.*"]}
        async with gateway(
            nats_server.url, auth_key_file=(key,), publishes_burst=5, publishes_per_second=1
        ) as server:
            alice = await ws.open(server.port, **bearer("alice", reads, LETTERS))

            async def refused(command: dict[str, Any]) -> tuple[str, str]:
                alice.send({"id": 9, **command})
                error = await alice.until("error")
                assert error["id"] == 9
                return error["code"], error["message"]

            post = {"op": "publish", "event": "x", "data": 1}
            for topic in ("news", "user.bob", "user.nobody", "*"):
                code, _ = await refused({**SUBSCRIBE, "topics": [topic]})
                assert code == ("bad_value" if topic == "*" else "not_entitled")
            assert (await refused({**post, "topic": "desk.a"}))[0] == "not_entitled"
            assert (await refused({**post, "topic": "desk a"}))[0] == "bad_value"
            assert (await refused({**post, "topic": "user.bob", "sender": "bob"}))[0] == "bad_command"
            assert (await refused({**post, "topic": "user.bob", "data": 20_000 * "x"}))[0] == "bad_value"
            assert (await refused({**post, "topic": "user.bob", "event": ""}))[0] == "bad_value"
            assert (await refused({**post, "topic": "user.bob", "key": 65 * "k"}))[0] == "bad_value"
            assert (await refused({**SUBSCRIBE, "topics": []}))[0] == "bad_value"
            assert (await refused({**SUBSCRIBE, "topics": ["user", "user.alice"]}))[0] == "bad_value"
            assert (await refused({**SUBSCRIBE, "topics": ["desk.a"], "resume": {"desk.b": [1, 1]}}))[
                0
            ] == "bad_value"
            assert (await refused({**SUBSCRIBE, "topics": ["desk.a"], "depth": 1}))[0] == "bad_command"
            alice.send({**SUBSCRIBE, "topics": ["user"]})
            sub = (await alice.until("subscribed"))["sub"]
            alice.send({**SUBSCRIBE, "topics": ["desk.a"]})
            plain = (await alice.until("subscribed"))["sub"]
            code, said = await refused({"op": "ack", "sub": sub, "seq": 1})
            assert code == "bad_value" and "newest that was sent is 0" in said
            assert (await refused({"op": "ack", "sub": plain, "seq": 0}))[0] == "bad_value"
            assert (await refused({"op": "ack", "sub": 999, "seq": 0}))[0] == "unknown_sub"
            assert (await refused({"op": "recover", "sub": sub, "from": 0}))[0] == "bad_value"
            codes = [(await refused({**post, "topic": "news"}))[0] for _ in range(3)]
            assert codes == 3 * ["not_entitled"]
            for _ in range(20):
                alice.send({**post, "topic": "user.bob", "id": 10})
            codes = [(await alice.recv()).get("code", "stored") for _ in range(20)]
            assert set(codes) == {"stored", "rate_limited"}

            alice.send({"op": "auth", "id": 3, "token": token("alice")})
            ended = await alice.until("unsubscribed")
            assert (ended["subs"], ended["reason"]) == ([plain], "not_entitled")

    run(scenario())


def test_what_was_acknowledged_is_stored_before_the_gateway_ends(run, nats_server, gateway, ws, key) -> None:
    async def scenario() -> None:
        async with gateway(nats_server.url, auth_key_file=(key,)) as server:
            writer = await ws.open(server.port, **bearer("sender", LETTERS))
            alice = await ws.open(server.port, **bearer("alice"))
            alice.send({**SUBSCRIBE, "topics": ["user"]})
            sub = (await alice.until("subscribed"))["sub"]
            numbers = [await publish(writer, "user.alice", number) for number in range(20)]
            for number in numbers:
                alice.send({"op": "ack", "sub": sub, "seq": number})
            alice.send({"op": "ping"})
            await alice.until("pong")
        async with gateway(nats_server.url, auth_key_file=(key,)) as server:
            alice = await ws.open(server.port, **bearer("alice"))
            alice.send({**SUBSCRIBE, "topics": ["user"]})
            assert (await alice.until("subscribed"))["position"] == numbers[-1]

    run(scenario())


@pytest.mark.parametrize("topic", ["user.alice", "desk.a"])
def test_a_slow_client_is_not_queued_for_and_misses_nothing(
    run, nats_server, gateway, ws, key, topic
) -> None:
    """What it lacks is more than the gateway keeps of the topic."""
    count, data = 150, 10_000 * "x"

    async def scenario() -> None:
        config = {"auth_key_file": (key,), "publishes_burst": 1_000, "send_buffer_bytes": 8_192}
        async with gateway(nats_server.url, **config) as server:
            writer = await ws.open(server.port, **bearer("sender", LETTERS, DESK))
            alice = await ws.open(server.port, receive_buffer=4_096, **bearer("alice", DESK))
            alice.send({**SUBSCRIBE, "topics": [topic]})
            sub = (await alice.until("subscribed"))["sub"]
            alice.stop_reading()
            for number in range(count):
                await publish(writer, topic, [number, data])
            assert server._hub.stats()["slow_sinks"] == 1
            alice.read_on()
            last, got, asks = 0, [], False
            while len(got) < count:
                message = await alice.recv()
                if message["type"] == "event" and message["seq"] > last and message["prev"] <= last:
                    last = message["seq"]
                    got.append(message["data"][0])
                    assert topic == "desk.a" or not message["redelivered"]
                    if topic != "desk.a":
                        alice.send({"op": "ack", "sub": sub, "seq": last})
                elif message["type"] == "event":
                    assert topic == "desk.a", "a gap, or an event that came twice"
                    if message["seq"] > last and not asks:
                        asks = True
                        alice.send({"op": "recover", "id": 1, "sub": sub, "from": last + 1})
                elif message["type"] == "recovered" and len(got) < count:
                    alice.send({"op": "recover", "id": 1, "sub": sub, "from": last + 1})
            assert got == list(range(count))
            assert asks == (topic == "desk.a")

    run(scenario())
