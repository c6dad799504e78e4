"""Maps and presence by the Python client over real gateways and a real NATS: two gateways, one truth."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from mdstream.bus import Bus, EmbeddedNats
from mdstream.bus import connect as connect_bus
from mdstream.bus import maps as bus_maps
from mdstream.bus.map_reader import MapReader, MapStream
from mdstream.bus.map_streams import MAPS, PRESENCE
from mdstream.client import Policy, PutConflict, PutRefused, SubscriptionRefused, connect
from mdstream.errors import CommandError
from mdstream.gateway import Gateway, GatewayConfig
from mdstream.maps import Applied, Change, MapState, Outcome
from mdstream.model import Channel

WAIT_S = 20.0
QUICK = Policy(backoff_base_s=0.01, backoff_cap_s=0.1)


@contextlib.asynccontextmanager
async def gateways(url: str, count: int = 2, **settings: Any) -> AsyncIterator[list[Gateway]]:
    started: list[Gateway] = []
    try:
        for number in range(count):
            config = GatewayConfig(
                nats=(url,), node=f"g{number}", port=0, admin_port=0, drain_spread_ms=0, **settings
            )
            started.append(Gateway(config))
            await started[-1].start()
            await started[-1].wait_ready()
        yield started
    finally:
        for gateway in started:
            await gateway.stop()


async def until(reached: Callable[[], bool]) -> None:
    async with asyncio.timeout(WAIT_S):
        while not reached():
            await asyncio.sleep(0.01)


def held(map: Any) -> dict[str, Any]:
    return {key: entry.value for key, entry in map.entries.items()}


async def began() -> None: ...
def nothing() -> None: ...


async def of_bus(bus: Bus, topic: str) -> dict[str, Any]:
    """The map as the bus has it."""
    stream = MapStream(bus, MAPS)
    reader = MapReader(stream, topic, began=began, followed=lambda change, applied: None, ready=nothing)
    try:
        await reader.open()
        return {key: entry.value for key, entry in reader.state.items()}
    finally:
        await stream.close()


@pytest.mark.parametrize("format", ["json", "msgpack"])
def test_what_one_client_puts_every_client_of_every_gateway_has(
    run, nats_server: EmbeddedNats, format
) -> None:
    async def scenario() -> None:
        async with gateways(nats_server.url) as (one, two), connect_bus_of(nats_server) as bus:
            async with connect(one.url, format=format) as alice, connect(two.url, format=format) as bob:
                topic = f"desk.{format}"
                before = await alice.map(topic)
                assert held(before) == {}
                first = await alice.put(topic, {"a": 1, "b": {"x": [1.5, None, True, "ü"]}})
                after = await bob.map(topic)
                assert held(after) == {"a": 1, "b": {"x": [1.5, None, True, "ü"]}}
                assert after.rev("a") == first and after.rev("never") == 0
                await bob.put(topic, {"c": 3}, delete=["a"])
                await until(
                    lambda: held(before) == held(after) == {"b": {"x": [1.5, None, True, "ü"]}, "c": 3}
                )
                assert before.trusted and after.trusted and before.gaps == 0
                narrow = await bob.map(topic, prefix="c")
                assert held(narrow) == {"c": 3}
                await bus.publish_acked(f"map.{topic}", json.dumps({"set": {"cc": [4, None]}}).encode())
                await until(lambda: held(narrow) == {"c": 3, "cc": 4})
                assert narrow.entries["cc"].by is None
                assert await of_bus(bus, topic) == held(before) == held(after)

    run(scenario())


@contextlib.asynccontextmanager
async def connect_bus_of(server: EmbeddedNats) -> AsyncIterator[Bus]:
    async with await connect_bus(server.url) as bus:
        await bus.ensure_streams()
        yield bus


def test_of_two_bids_one_wins_and_the_other_is_told_what_holds(run, nats_server: EmbeddedNats) -> None:
    async def scenario() -> None:
        async with gateways(nats_server.url) as (one, two):
            async with connect(one.url) as alice, connect(two.url) as bob:
                bids = [
                    client.put("auction.1", {"bid": amount}, expect={"bid": 0})
                    for client, amount in ((alice, 10), (bob, 11))
                ]
                answers = await asyncio.gather(*bids, return_exceptions=True)
                (won,) = [each for each in answers if isinstance(each, int)]
                (lost,) = [each for each in answers if isinstance(each, PutConflict)]
                assert lost.current["bid"].rev == won and lost.current["bid"].value in (10, 11)
                shown = await bob.map("auction.1")
                assert shown["bid"] == lost.current["bid"].value and shown.rev("bid") == won
                assert await bob.put("auction.1", {"bid": 12}, expect={"bid": won}) > won
                with pytest.raises(PutRefused, match="at most 256 keys"):
                    await bob.put("auction.1", {str(n): 1 for n in range(257)})
                with pytest.raises(ValueError):
                    await bob.map("no topic")

    run(scenario())


def test_a_map_goes_on_over_a_restart_of_the_gateway_and_of_nats(run, nats_server: EmbeddedNats) -> None:
    async def scenario() -> None:
        async with gateways(nats_server.url) as (one, two):
            async with connect([one.url, two.url]) as client, connect(two.url) as other:
                map = await client.map("m")
                await other.map("m")  # so that the other gateway keeps it
                await client.put("m", {"a": 1})
                await until(lambda: held(map) == {"a": 1})
                wholes: list[bool] = []
                map.on_update(lambda update: wholes.append(update.whole))
                await one.stop()
                await other.put("m", {"b": 2})
                await until(lambda: held(map) == {"a": 1, "b": 2})
                assert not any(wholes), "the other gateway goes on from where the first one was"
                await until(lambda: held(map) == {"a": 1, "b": 2})
                nats_server.kill()
                await until(lambda: map.state_code == "nats_away")
                assert not map.trusted or map.state == "stale"
                await nats_server.restart()
                await until(lambda: map.state == "live")
                await other.put("m", {"c": 3})
                await until(lambda: held(map) == {"a": 1, "b": 2, "c": 3})

    run(scenario())


def test_a_key_ends_when_its_time_is_over(run, nats_server: EmbeddedNats) -> None:
    async def scenario() -> None:
        async with gateways(nats_server.url) as (one, two):
            async with connect(one.url) as alice, connect(two.url) as bob:
                one_, two_ = await alice.map("ttl"), await bob.map("ttl")
                await alice.put("ttl", {"short": 1}, ttl_ms=200)
                await alice.put("ttl", {"long": 1}, ttl_ms=3_600_000)
                await until(lambda: held(one_) == held(two_) == {"long": 1})

    run(scenario())


def test_a_large_map_is_stored_as_a_whole_and_read_from_there(
    run, nats_server: EmbeddedNats, monkeypatch
) -> None:
    monkeypatch.setattr("mdstream.bus.map_keeper.CHANGES", 5)

    async def scenario() -> None:
        async with gateways(nats_server.url, 1) as (gateway,), connect_bus_of(nats_server) as bus:
            async with connect(gateway.url) as client:
                map = await client.map("large")
                for number in range(40):
                    await client.put("large", {f"{number}.{n}": "x" * 200 for n in range(100)})
                await until(lambda: len(map) == 4_000)
                stream = await until_stored(bus, "large")
                assert stream.pages > 1
                await client.put("large", {"last": 1}, delete=["0.0"])
                state = MapState()
                await bus_maps.read_map(bus, MAPS, "large", state)
                assert len(state) > 1_000 and state.find("0.0") is not None
                assert await of_bus(bus, "large") == held(map)
            async with gateways(nats_server.url, 1) as (fresh,), connect(fresh.url, format="json") as late:
                again = await late.map("large")
                assert len(again) == 4_000 and "0.0" not in again.entries and again["last"] == 1

    run(scenario())


async def until_stored(bus: Bus, topic: str) -> bus_maps.Whole:
    async with asyncio.timeout(WAIT_S):
        while not (found := await bus_maps.whole_of(bus, MAPS, topic)).seq:
            await asyncio.sleep(0.05)
    return found


def test_changes_that_are_gone_from_the_log_are_in_the_whole_map(run, nats_server: EmbeddedNats) -> None:
    """A reader that was away for longer than the log keeps loads the whole map again, and misses no deletion."""

    async def scenario() -> None:
        async with connect_bus_of(nats_server) as bus:
            stream = MapStream(bus, MAPS)
            loads: list[int] = []
            reader = MapReader(
                stream, "away", began=began, followed=lambda *_: None, ready=lambda: loads.append(1)
            )
            await reader.open()
            for n in range(5):
                await bus_maps.put_change(bus, MAPS, "away", Change({f"k{n}": (n, None)}), timeout_s=2)
            await until(lambda: len(reader.state) == 5)
            truth = MapState()
            truth.load(reader.state.whole(9_999).page(0), 0)
            assert reader._changes is not None and reader._changes._subscription is not None
            await bus.unsubscribe(reader._changes._subscription)  # it hears nothing more
            for change in (Change(delete=("k0",)), Change({"k9": (9, None)})):
                put = await bus_maps.put_change(bus, MAPS, "away", change, timeout_s=2)
                truth.apply(put.seq, 1, change)
            await bus_maps.write_map(bus, MAPS, "away", truth, expected_seq=0)
            await bus_maps.forget_changes(bus, MAPS, "away", truth.seq)
            reader._changes.ask()
            await until(lambda: len(loads) == 2)
            assert set(dict(reader.state.items())) == {"k1", "k2", "k3", "k4", "k9"}
            await stream.close()

    run(scenario())


def test_a_message_that_is_no_change_changes_nothing(run, nats_server: EmbeddedNats) -> None:
    async def scenario() -> None:
        async with gateways(nats_server.url, 1) as (gateway,), connect_bus_of(nats_server) as bus:
            async with connect(gateway.url) as client:
                map = await client.map("odd")
                await client.put("odd", {"a": 1})
                for payload in (b"", b"{", b"\xc1", b'{"set":{"a":2}}', b"[" * 50_000, b"\x91" * 50_000):
                    await bus.publish_acked("map.odd", payload)
                last = await client.put("odd", {"b": 2})
                await until(lambda: map.seq == last)
                assert held(map) == {"a": 1, "b": 2} == await of_bus(bus, "odd")

    run(scenario())


def test_a_change_that_may_have_won_is_not_told_to_have_lost(run, nats_server: EmbeddedNats) -> None:
    """The gateway has read the whole map since, and others have set the same key."""

    async def scenario() -> None:
        async with gateways(nats_server.url, 1) as (gateway,), connect(gateway.url) as client:
            first, second = (
                Change({"a": (1, None)}, expect={"a": 0}),
                Change({"a": (2, None)}, expect={"a": 0}),
            )
            won = await client.put("desk", {"a": 1}, expect={"a": 0})
            await client.put("desk", {"b": 1})
            found = gateway._sessions.subscriptions.maps.topics.find(Channel.MAP, "desk")
            assert found is not None
            found._known_from = found.state.seq
            assert found.outcome(won, first) == Applied(Outcome.APPLIED)
            await client.put("desk", {"a": 3})
            found._known_from = found.state.seq
            with pytest.raises(CommandError, match="not known what the change did"):
                found.outcome(won, second)

    run(scenario())


def test_a_replica_that_does_not_have_the_whole_map_yet_is_not_believed(
    run, nats_server: EmbeddedNats, monkeypatch
) -> None:
    """The log begins after it: what was set before would be missing."""

    async def scenario() -> None:
        async with connect_bus_of(nats_server) as bus:
            await bus_maps.ensure_maps(bus, MAPS)
            state = MapState()
            for number in range(3):
                change = Change({f"k{number}": (number, None)})
                seq = (await bus_maps.put_change(bus, MAPS, "old", change, timeout_s=2)).seq
                state.apply(seq, 1, change)
            await bus_maps.write_map(bus, MAPS, "old", state, expected_seq=0)
            await bus_maps.forget_changes(bus, MAPS, "old", seq + 1)

            async def lags(*_: Any) -> None: ...

            monkeypatch.setattr(type(bus), "last_stored", lags)
            assert await of_bus(bus, "old") == {"k0": 0, "k1": 1, "k2": 2}

    run(scenario())


# ---- presence


def test_who_is_present_is_the_same_on_every_gateway(run, nats_server: EmbeddedNats) -> None:
    async def scenario() -> None:
        async with gateways(nats_server.url) as (one, two):
            async with connect(one.url) as alice, connect(two.url, format="json") as bob:
                here = await alice.presence("room", join=True, info={"name": "A"}, who=True, interval_ms=100)
                there = await bob.presence("room", interval_ms=100)
                await until(lambda: there.count == here.count == 1)
                assert [each.info for each in here.sessions.values()] == [{"name": "A"}]
                assert not there.sessions
                also = await bob.presence("room", join=True, info="B", who=True, interval_ms=100)
                await until(lambda: here.count == there.count == also.count == 2)
                assert {each.info == "B" for each in here.sessions.values()} == {True, False}
                await also.close()
                await until(lambda: here.count == there.count == 1 == len(here.sessions))
            async with connect(two.url) as carol:
                left = await carol.presence("room", interval_ms=100)
                await until(lambda: left.count == 0)

    run(scenario())


def test_a_gateway_that_ends_leaves_no_ghost(run, nats_server: EmbeddedNats, monkeypatch) -> None:
    """Nobody waits for its silence: it takes its entries with it."""
    monkeypatch.setattr("mdstream.gateway.alive.SILENT_S", 1_000.0)

    async def scenario() -> None:
        async with contextlib.AsyncExitStack() as stack:
            first = await stack.enter_async_context(contextlib.AsyncExitStack())
            urls = []
            for of_one in (first, stack):
                (gateway,) = await of_one.enter_async_context(gateways(nats_server.url, 1))
                urls.append(gateway.url)
            clients = [
                await stack.enter_async_context(
                    connect(urls[number % 2 :] + urls[: number % 2], policy=QUICK)
                )
                for number in range(4)
            ]
            rooms = [
                await each.presence("room", join=True, who=True, info=number, interval_ms=100)
                for number, each in enumerate(clients)
            ]
            await until(lambda: all(each.count == 4 for each in rooms))
            await first.aclose()
            await until(lambda: all(each.trusted and each.count == 4 for each in rooms))
            assert sorted(each.info for each in rooms[0].sessions.values()) == [0, 1, 2, 3]

    run(scenario())


def test_the_entries_of_a_dead_gateway_go(run, nats_server: EmbeddedNats, monkeypatch) -> None:
    monkeypatch.setattr("mdstream.gateway.alive.SILENT_S", 0.5)

    async def scenario() -> None:
        async with gateways(nats_server.url, 1) as (gateway,), connect_bus_of(nats_server) as bus:
            ghost = Change({"dead": (["x", 1, None, "gone-1"], None)})
            await bus_maps.ensure_maps(bus, PRESENCE)
            await bus_maps.put_change(bus, PRESENCE, "room2", ghost, timeout_s=2)
            async with connect(gateway.url) as client:
                here = await client.presence("room2", join=True, who=True, interval_ms=100)
                await until(lambda: here.count == 1 and "dead" not in here.sessions)

    run(scenario())


async def joined(client: Any, topic: str) -> Any:
    """nats-server gives the memory of a deleted stream back a moment later; until then who asks is told to try again."""
    while True:
        with contextlib.suppress(SubscriptionRefused):
            return await client.presence(topic, join=True, interval_ms=100)
        await asyncio.sleep(0.05)


@pytest.mark.parametrize("says_so", [True, False])
def test_a_lost_stream_of_presence_is_written_again(
    run, nats_server: EmbeddedNats, monkeypatch, says_so
) -> None:
    """After all of a cluster was restarted, its streams in memory are empty, and say that they were created as before."""
    monkeypatch.setattr("mdstream.gateway.map_topics.LOOK_S", 0.2)
    monkeypatch.setattr("mdstream.bus.map_reader.DOUBT_S", 0.01)
    if not says_so:
        monkeypatch.setattr("mdstream.bus.streams.created_us", lambda told: 1_700_000_000_000_000)
        monkeypatch.setattr("mdstream.bus.numbered.created_us", lambda told: 1_700_000_000_000_000)

    async def scenario() -> None:
        async with gateways(nats_server.url) as (one, two), connect_bus_of(nats_server) as bus:
            async with connect(one.url) as alice, connect(two.url) as bob:
                here = await alice.presence("room3", join=True, who=True, interval_ms=100)
                there = await bob.presence("room3", join=True, who=True, interval_ms=100)
                await until(lambda: here.count == there.count == 2)
                await bus.jetstream.delete_stream("MD_PRESENCE")
                third = await joined(alice, "room4")
                await until(lambda: third.count == 1)
                await until(lambda: here.trusted and there.trusted and here.count == there.count == 2)

    run(scenario())


# ---- who may


def test_what_is_not_allowed_is_refused_before_anything_is_asked(run, nats_server: EmbeddedNats) -> None:
    async def scenario() -> None:
        async with gateways(nats_server.url, 1) as (gateway,):
            async with connect(gateway.url) as client:
                for bad in ("", "a..b", "a b", "x" * 300):
                    with pytest.raises((ValueError, SubscriptionRefused)):
                        await client.map(bad)

    run(scenario())
