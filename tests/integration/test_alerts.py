"""Alerts before a real nats-server: each crossing is told once, whatever happens to watchers between any two steps."""

from __future__ import annotations

import asyncio
from typing import Any

import msgpack
import msgspec
import pytest

from mdstream.alerts import AlertWatcher
from mdstream.bus.alerts import (
    MD_ALERTS,
    Place,
    Record,
    Waiting,
    ensure_alerts,
    place_subject,
    record_subject,
)
from mdstream.bus.map_streams import MD_MAPS
from mdstream.bus.subjects import subject
from mdstream.errors import BusError
from mdstream.model import InstrumentId
from support.alerts import (
    STEPS,
    active,
    at_of,
    bus_of,
    entries,
    expected,
    market_of,
    options,
    put,
    told,
    until_marked,
    until_told,
    value_of,
)

QUICK = ("recorded", "published", "recorded all")


def test_each_crossing_is_told_once_and_the_map_shows_it(run, nats_server) -> None:
    async def scenario() -> None:
        async with market_of(nats_server.url) as (bus, market):
            await market.trade(100)
            alerts = {
                "cross": value_of("crosses", "1.05"),
                "up": value_of("above", "1.05", once=True, note="sell"),
                "now": value_of("below", "1.05", once=True),
                "last": value_of("crosses", "1.05", on="last"),
                "never": value_of("above", "9.99"),
            }
            async with AlertWatcher(bus, options()) as watcher:
                rev = await put(bus, "alice", alerts)
                await market.bid(104, 105, 106, 107, 104, 106)
                await market.trade(105, 106, 104)
                wanted = expected(market, alerts)
                found = await until_told(bus, "alice", wanted)
                assert [len(each) for each in wanted.values()] == [3, 1, 1, 2, 0]
                (up,) = [data for data in found if data["alert"] == "up"]
                assert up == {
                    **{name: alerts["up"][name] for name in ("instrument", "on", "when", "price", "note")},
                    "alert": "up",
                    "crossed": "1.06",
                    "epoch": market.epoch,
                    "seq": 4,
                    "ts": 4_000_000,
                    "rev": rev,
                    "count": 1,
                    "id": f"{rev}.{market.epoch}.4",
                }
                assert not any("late" in data for data in found)
                shown = await until_marked(
                    bus, "alice", {"cross": 3, "up": 1, "now": 1, "last": 2, "never": 0}
                )
                assert shown["up"] == {
                    **alerts["up"],
                    "fired": {"rev": rev, "count": 1, "ts": 4_000_000, "price": "1.06", "paused": False},
                }
                assert watcher.counters["fired"] == 7 and watcher.counters["restarts"] == 0
                assert watcher.alerts == 3

    run(scenario())


@pytest.mark.parametrize(
    "step",
    [each if each in QUICK else pytest.param(each, marks=pytest.mark.complete) for each in STEPS],
)
def test_stopped_between_any_two_steps_it_tells_each_crossing_once(run, nats_server, step) -> None:
    """Whatever was done before, and at whichever time that it comes there; the next one begins from what is stored."""

    async def scenario() -> None:
        reached = [0]

        def at(name: str) -> None:
            if name == step:
                reached[0] += 1
                if reached[0] in (1, 3):
                    raise BusError("stopped by the test")

        async with market_of(nats_server.url) as (bus, market):
            alerts = {"cross": value_of("crosses", "1.05"), "once": value_of("above", "1.05", once=True)}
            async with AlertWatcher(bus, options(at=at)) as watcher:
                await put(bus, "alice", alerts)
                await market.bid(106, 104)
                while not reached[0]:
                    await asyncio.sleep(0.01)
                await market.bid(106, 107, 104)
                wanted = expected(market, alerts)
                await until_told(bus, "alice", wanted)
                await until_marked(bus, "alice", {"cross": 4, "once": 1})
                assert watcher.counters["restarts"] >= 1
            assert len(await told(bus, "alice")) == 5

    run(scenario())


def test_what_crossed_while_nobody_watched_is_found_in_the_log(run, nats_server) -> None:
    async def scenario() -> None:
        async with market_of(nats_server.url) as (bus, market):
            await market.trade(100)
            alerts = {"bid": value_of("crosses", "1.05"), "last": value_of("crosses", "1.05", on="last")}
            await put(bus, "alice", alerts)
            await market.bid(106, 104)
            await market.snap()
            await market.trade(106)
            async with AlertWatcher(bus, options()):
                wanted = expected(market, alerts)
                found = await until_told(bus, "alice", wanted)
                assert not any("late" in data for data in found)
            await market.bid(107, 103)
            await market.trade(103)
            async with AlertWatcher(bus, options()):
                wanted = expected(market, alerts)
                assert [len(each) for each in wanted.values()] == [4, 2]
                found = await until_told(bus, "alice", wanted)
                assert not any("late" in data for data in found)

    run(scenario())


def test_the_beginning_of_an_epoch_in_the_log_will_do_where_no_snapshot_reaches_back(
    run, nats_server
) -> None:
    async def scenario() -> None:
        async with market_of(nats_server.url) as (bus, market):
            value = value_of("crosses", "1.05")
            await put(bus, "alice", {"k": value})
            for price in (106, 104) * 5:
                await market.bid(price)
                await market.snap()  # eight of these are kept
            async with AlertWatcher(bus, options()):
                found = await until_told(bus, "alice", expected(market, {"k": value}))
                assert len(found) == 10 and not any("late" in data for data in found)

    run(scenario())


def test_a_snapshot_that_the_log_does_not_reach_is_passed_over(run, nats_server) -> None:
    async def scenario() -> None:
        async with market_of(nats_server.url) as (bus, market):
            await market.bid(101)
            await market.snap()
            stranger = [2, market.epoch, 500, 0, [200, 1], [300, 1]]
            await bus.publish_acked(subject(market.instrument, "snap"), msgpack.packb(stranger))
            value = value_of("crosses", "1.05")
            await put(bus, "alice", {"k": value})
            async with AlertWatcher(bus, options()):
                await market.bid(106, 104)
                found = await until_told(bus, "alice", expected(market, {"k": value}))
                assert len(found) == 2

    run(scenario())


def test_where_the_log_does_not_reach_back_the_newest_price_counts_and_is_late(run, nats_server) -> None:
    async def scenario() -> None:
        async with market_of(nats_server.url) as (bus, market):
            alerts = {"bid": value_of("crosses", "1.05")}
            await put(bus, "alice", alerts)
            async with AlertWatcher(bus, options()) as watcher:
                await market.bid(101)
                while not watcher.alerts:
                    await asyncio.sleep(0.01)
                while (await bus.jetstream.stream_info(MD_ALERTS)).state.messages < 2:
                    await asyncio.sleep(0.01)
            await market.bid(106, 104, 106)
            await bus.jetstream.purge_stream("MD_LOG")
            await market.bid(107)
            await market.snap()
            async with AlertWatcher(bus, options()):
                (data,) = await until_told(bus, "alice", {"bid": [f"{market.epoch}.{len(market.bids)}"]})
                assert data["late"] is True and data["crossed"] == "1.07"

    run(scenario())


def test_two_watchers_are_one_and_the_other_takes_over(run, nats_server) -> None:
    async def scenario() -> None:
        async with market_of(nats_server.url) as (bus, market), bus_of(nats_server.url) as other:
            value = value_of("crosses", "1.05")
            first, second = (AlertWatcher(each, options(lease_s=1.0)) for each in (bus, other))
            async with first:
                await active(first)
                async with second:
                    await put(bus, "alice", {"k": value})
                    await market.bid(106, 104)
                    await until_told(bus, "alice", expected(market, {"k": value}))
                    assert not (first.is_active and second.is_active)
                    await first.__aexit__()
                    await active(second)
                    await market.bid(106)
                    await until_told(bus, "alice", expected(market, {"k": value}))

    run(scenario())


def test_two_that_both_evaluate_tell_each_crossing_once(run, nats_server, monkeypatch) -> None:
    """As where one was stopped for a while and does not know that its lease is over."""

    async def at_once(_: object) -> None: ...

    async def for_ever(_: object) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr("mdstream.bus.sole_lease.Lease.acquire", at_once)
    monkeypatch.setattr("mdstream.bus.sole_lease.Lease.keep", for_ever)

    async def scenario() -> None:
        async with market_of(nats_server.url) as (bus, market), bus_of(nats_server.url) as other:
            alerts = {f"k{n}": value_of("crosses", f"1.0{n}") for n in range(1, 9)}
            await put(bus, "alice", alerts)
            async with AlertWatcher(bus, options()), AlertWatcher(other, options()):
                for price in (109, 100, 105, 109, 100):
                    await market.bid(price)
                    wanted = expected(market, alerts)
                    await until_told(bus, "alice", wanted)

    run(scenario())


def test_an_edit_at_the_moment_of_the_crossing_wins(run, nats_server) -> None:
    async def scenario() -> None:
        edited: list[Any] = []
        new = value_of("above", "2.00", once=True)

        async with market_of(nats_server.url) as (bus, market):
            old = value_of("above", "1.05", once=True)

            def at(step: str) -> None:
                if step == "recorded" and not edited:
                    edited.append(asyncio.ensure_future(put(bus, "alice", {"k": new})))

            async with AlertWatcher(bus, options(at=at)):
                await put(bus, "alice", {"k": old})
                await market.bid(106)
                found = await until_told(bus, "alice", {"k": [f"{market.epoch}.2"]})
                await edited[0]
                assert await entries(bus, "alice") == {"k": new}
                await market.bid(104, 201)
                found = await until_told(bus, "alice", {"k": [f"{market.epoch}.2", f"{market.epoch}.4"]})
                assert [each["price"] for each in found] == ["1.05", "2.00"]
                assert found[1]["rev"] == edited[0].result()
                await until_marked(bus, "alice", {"k": 1})

    run(scenario())


def test_alerts_that_are_removed_are_forgotten_and_may_be_set_again(run, nats_server) -> None:
    async def scenario() -> None:
        async with market_of(nats_server.url) as (bus, market):
            value = value_of("above", "1.05", once=True)
            async with AlertWatcher(bus, options()) as watcher:
                await put(bus, "alice", {"k": value})
                await market.bid(106)
                await until_told(bus, "alice", {"k": [f"{market.epoch}.2"]})
                for _ in range(3):
                    await put(bus, "alice", {}, delete=["k"])
                    await put(bus, "alice", {"k": value})
                wanted = [f"{market.epoch}.2"]
                while len(await told(bus, "alice")) < 2:  # it is above already, and each setting begins anew
                    await asyncio.sleep(0.02)
                await until_marked(bus, "alice", {"k": 1})
                await put(bus, "alice", {}, delete=["k"])
                name = "alert.state.*"
                while (await bus.jetstream.stream_info(MD_ALERTS, subjects_filter=name)).state.subjects:
                    await asyncio.sleep(0.05)
                assert {at_of(data) for data in await told(bus, "alice")} == set(wanted)
                found = await told(bus, "alice")
                assert len({data["id"] for data in found}) == len(found)
                assert watcher.counters["restarts"] == 0

    run(scenario())


def test_what_a_program_writes_that_is_no_alert_is_told_and_costs_nobody(run, nats_server, caplog) -> None:
    async def scenario() -> None:
        async with market_of(nats_server.url) as (bus, market):
            value = value_of("above", "1.05")
            bad = {
                "one": 1,
                "two": {"price": "x"},
                "three": {**value, "instrument": "no"},
                "four\n": {**value, "on": []},
            }
            await put(bus, "mallory", bad)
            await put(bus, "alice", {"k": value, "else": {**value, "instrument": "SIM:NOBODY"}})
            await bus.publish_acked("map.alerts.x.y", b"{}")
            async with AlertWatcher(bus, options()) as watcher:
                await market.bid(106)
                await until_told(bus, "alice", {"k": [f"{market.epoch}.2"]})
                await until_marked(bus, "alice", {"k": 1})
                assert watcher.counters["refused"] == 4 and watcher.counters["restarts"] == 0
                await put(bus, "mallory", {"one": 1})
                while watcher.counters["refused"] < 5:
                    await asyncio.sleep(0.01)

    run(scenario())
    assert "alerts.mallory: 'four\\n' is no alert and is not watched" in caplog.text


def forged() -> dict[str, bytes]:
    """By bus subject, what no watcher has stored there."""

    def record(topic: str, key: str, events: list[Waiting], **more: Any) -> bytes:
        made = Record(topic, key, 1, 1, 1, 0, 1, 1, 1, False, "1", 1, events)
        return msgspec.msgpack.encode(msgspec.structs.replace(made, **more))

    instrument = InstrumentId.parse("SIM:A")
    nothing = [Waiting({}, 0)]
    large = [Waiting({"alert": "k", "id": "1", "x": "y" * 20_000}, 0)]
    return {
        record_subject("alerts.alice", "k"): b"\xc1",
        record_subject("alerts.alice", "last"): record("alerts.alice", "k", []),
        record_subject("alerts.bob", "k"): record("alerts.bob", "k", nothing),
        record_subject("alerts.bob", "l"): record("alerts.bob", "l", large),
        record_subject("alerts.bob", "m"): record("alerts.bob", "m", [], side=7),
        record_subject("alerts.*", "k"): record("alerts.*", "k", nothing),
        record_subject("desk", "k"): record("desk", "k", nothing),
        "alert.state.x": record("alerts.alice", "k", nothing),
        place_subject(instrument, "book"): msgspec.msgpack.encode(Place(1, 1, 1, 1, 1, 10**9, 1)),
        place_subject(instrument, "trade"): msgspec.msgpack.encode(Place(1, 1, 1, 1, 1, -(10**9), 1, 2**60)),
        "mapsnap.head.alerts.mallory": b"\x00",
        "map.alerts.mallory": b"\xc1",
        "map.alerts.%zz": b"{}",
        "map.alerts." + "x" * 300: b"{}",
    }


def test_what_is_forged_on_the_bus_costs_nobody_his_alerts(run, nats_server, caplog) -> None:
    async def scenario() -> None:
        async with market_of(nats_server.url) as (bus, market):
            await ensure_alerts(bus)
            await market.trade(100)
            alerts = {"k": value_of("above", "1.05"), "last": value_of("above", "1.05", on="last")}
            await put(bus, "alice", alerts)
            for name, payload in forged().items():
                await bus.publish_acked(name, payload)
            async with AlertWatcher(bus, options()) as watcher:
                await market.bid(106)
                await market.trade(106)
                await until_told(bus, "alice", expected(market, alerts))
                await until_marked(bus, "alice", {"k": 1, "last": 1})
                assert watcher.counters["restarts"] == 0

    run(scenario())
    assert "alerts.mallory is not watched, as it cannot be read" in caplog.text
    assert "7 messages of MD_ALERTS" in caplog.text


def test_alerts_are_told_where_the_maps_are_full_and_cannot_show_it(run, nats_server, caplog) -> None:
    async def scenario() -> None:
        async with market_of(nats_server.url) as (bus, market):
            value = value_of("above", "1.05")
            await put(bus, "alice", {"k": value})
            found = await bus.jetstream.stream_info(MD_MAPS)
            found.config.max_bytes = found.state.bytes
            await bus.jetstream.update_stream(found.config)
            async with AlertWatcher(bus, options()) as watcher:
                await market.bid(106, 104, 107)
                await until_told(bus, "alice", expected(market, {"k": value}))
                while "maps do not show now which alerts have fired" not in caplog.text:
                    await asyncio.sleep(0.01)
                found.config.max_bytes = 1_000_000
                await bus.jetstream.update_stream(found.config)
                await until_marked(bus, "alice", {"k": 2})
                assert watcher.counters["restarts"] == 0

    run(scenario())


def test_instruments_that_there_are_not_are_let_go_with_their_alerts(run, nats_server, monkeypatch) -> None:
    monkeypatch.setattr("mdstream.alerts.evaluation.IDLE_S", float("inf"))

    async def scenario() -> None:
        async with market_of(nats_server.url) as (bus, _), AlertWatcher(bus, options()) as watcher:
            keys = [f"k{n}" for n in range(100)]
            names = {key: {**value_of("above", "1"), "instrument": f"SIM:NO{key}"} for key in keys}
            await put(bus, "alice", {"here": value_of("above", "9"), **names})
            while watcher.instruments < 101:
                await asyncio.sleep(0.01)
            await put(bus, "alice", {}, delete=keys)
            while watcher.instruments > 1:
                await asyncio.sleep(0.01)
            assert watcher.alerts == 1

    run(scenario())
