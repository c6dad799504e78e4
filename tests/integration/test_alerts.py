"""Alerts before a real nats-server: each crossing is told once, whatever happens to watchers between any two steps."""

from __future__ import annotations

import asyncio
import os
import random
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import jwt
import pytest

from mdstream.alerts import AlertOptions, AlertWatcher
from mdstream.bus import Bus, BusOptions, connect
from mdstream.bus.alerts import MD_ALERTS
from mdstream.children import start_module
from mdstream.client import PutConflict, PutRefused
from mdstream.client import connect as connect_client
from mdstream.errors import BusError
from mdstream.gateway import Gateway, GatewayConfig
from support.alerts import (
    Market,
    at_of,
    crossings,
    ensure,
    entries,
    put,
    told,
    until_marked,
    until_told,
    value_of,
)
from support.tokens import private_key, public_pem

TESTS = Path(__file__).resolve().parents[1]
STEPS = ("crossed", "recorded", "published", "finished", "marked", "recorded all", "placed")
QUICK = ("recorded", "published", "recorded all")


@asynccontextmanager
async def bus_of(nats_server: Any) -> AsyncIterator[Bus]:
    async with await connect(BusOptions((nats_server.url,), reconnect_cap_s=0.05)) as bus:
        await ensure(bus)
        yield bus


def options(**more: Any) -> AlertOptions:
    return AlertOptions(**({"lease_s": 5.0, "place_s": 0.05} | more))


def fires(market: Market, key: str, value: dict[str, Any], since: int = 0) -> dict[str, list[str]]:
    """What an alert must tell that was set when so many prices had come."""
    prices = market.trades if value["on"] == "last" else market.bids
    found = crossings(prices[max(since - 1, 0) :], value["when"], value["price"], once=value["once"])
    return {key: found}


async def active(*watchers: AlertWatcher) -> None:
    while not any(each.is_active for each in watchers):
        await asyncio.sleep(0.01)


def test_each_crossing_is_told_once_and_the_map_shows_it(run, nats_server) -> None:
    async def scenario() -> None:
        async with bus_of(nats_server) as bus:
            market = Market(bus)
            await market.announce()
            await market.bid(100)
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
                wanted = {}
                for key, value in alerts.items():
                    wanted |= fires(market, key, value, 1)
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

        async with bus_of(nats_server) as bus:
            market = Market(bus)
            await market.announce()
            await market.bid(100)
            alerts = {"cross": value_of("crosses", "1.05"), "once": value_of("above", "1.05", once=True)}
            async with AlertWatcher(bus, options(at=at)) as watcher:
                await put(bus, "alice", alerts)
                await market.bid(106, 104)
                while not reached[0]:
                    await asyncio.sleep(0.01)
                await market.bid(106, 107, 104)
                wanted = fires(market, "cross", alerts["cross"], 1) | fires(market, "once", alerts["once"], 1)
                await until_told(bus, "alice", wanted)
                await until_marked(bus, "alice", {"cross": 4, "once": 1})
                assert watcher.counters["restarts"] >= 1
            assert len(await told(bus, "alice")) == 5

    run(scenario())


async def stopped(url: str, step: str, number: int) -> asyncio.subprocess.Process:
    environ = os.environ | {"PYTHONPATH": f"{TESTS}:{os.environ.get('PYTHONPATH', '')}"}
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", "support.alerts_stopped", url, step, str(number), env=environ
    )


async def killed_at(run_step: str, nats_server: Any) -> None:
    async with bus_of(nats_server) as bus:
        market = Market(bus)
        await market.announce()
        await market.bid(100)
        alerts = {"cross": value_of("crosses", "1.05"), "once": value_of("above", "1.05", once=True)}
        await put(bus, "alice", alerts)
        victim = await stopped(nats_server.url, run_step, 1)
        await market.bid(106, 104)
        assert await victim.wait() == -9
        await market.bid(106, 107, 104, 103)  # nobody watches
        async with AlertWatcher(bus, options(lease_s=0.5)):
            wanted = fires(market, "cross", alerts["cross"], 1) | fires(market, "once", alerts["once"], 1)
            found = await until_told(bus, "alice", wanted)
            assert not any("late" in data for data in found)
            await until_marked(bus, "alice", {"cross": 4, "once": 1})
        assert len(await told(bus, "alice")) == 5


def test_killed_after_the_event_and_before_all_else(run, nats_server) -> None:
    run(killed_at("published", nats_server))


@pytest.mark.complete
@pytest.mark.parametrize("step", STEPS)
def test_killed_at_each_step(run, nats_server, step) -> None:
    run(killed_at(step, nats_server))


def test_what_crossed_while_nobody_watched_is_found_in_the_log(run, nats_server) -> None:
    async def scenario() -> None:
        async with bus_of(nats_server) as bus:
            market = Market(bus)
            await market.announce()
            await market.bid(100)
            await market.trade(100)
            alerts = {"bid": value_of("crosses", "1.05"), "last": value_of("crosses", "1.05", on="last")}
            await put(bus, "alice", alerts)
            await market.bid(106, 104)
            await market.snap()
            await market.trade(106)
            async with AlertWatcher(bus, options()):
                wanted = fires(market, "bid", alerts["bid"], 1) | fires(market, "last", alerts["last"], 1)
                found = await until_told(bus, "alice", wanted)
                assert not any("late" in data for data in found)
            await market.bid(107, 103)
            await market.trade(103)
            async with AlertWatcher(bus, options()):
                wanted = fires(market, "bid", alerts["bid"], 1) | fires(market, "last", alerts["last"], 1)
                assert [len(each) for each in wanted.values()] == [4, 2]
                found = await until_told(bus, "alice", wanted)
                assert not any("late" in data for data in found)

    run(scenario())


def test_the_beginning_of_an_epoch_in_the_log_will_do_where_no_snapshot_reaches_back(
    run, nats_server
) -> None:
    async def scenario() -> None:
        async with bus_of(nats_server) as bus:
            market = Market(bus)
            await market.announce()
            await market.bid(100)
            value = value_of("crosses", "1.05")
            await put(bus, "alice", {"k": value})
            for price in (106, 104) * 5:
                await market.bid(price)
                await market.snap()  # eight of these are kept
            async with AlertWatcher(bus, options()):
                found = await until_told(bus, "alice", fires(market, "k", value, 1))
                assert len(found) == 10 and not any("late" in data for data in found)

    run(scenario())


def test_where_the_log_does_not_reach_back_the_newest_price_counts_and_is_late(run, nats_server) -> None:
    async def scenario() -> None:
        async with bus_of(nats_server) as bus:
            market = Market(bus)
            await market.announce()
            await market.bid(100)
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
        async with bus_of(nats_server) as bus, bus_of(nats_server) as other:
            market = Market(bus)
            await market.announce()
            await market.bid(100)
            value = value_of("crosses", "1.05")
            first, second = (AlertWatcher(each, options(lease_s=1.0)) for each in (bus, other))
            async with first:
                await active(first)
                async with second:
                    await put(bus, "alice", {"k": value})
                    await market.bid(106, 104)
                    await until_told(bus, "alice", fires(market, "k", value, 1))
                    assert not (first.is_active and second.is_active)
                    await first.__aexit__()
                    await active(second)
                    await market.bid(106)
                    await until_told(bus, "alice", fires(market, "k", value, 1))

    run(scenario())


def test_two_that_both_evaluate_tell_each_crossing_once(run, nats_server, monkeypatch) -> None:
    """As where one was stopped for a while and does not know that its lease is over."""

    async def at_once(_: object) -> None: ...

    async def for_ever(_: object) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr("mdstream.alerts.lease.Lease.acquire", at_once)
    monkeypatch.setattr("mdstream.alerts.lease.Lease.keep", for_ever)

    async def scenario() -> None:
        async with bus_of(nats_server) as bus, bus_of(nats_server) as other:
            market = Market(bus)
            await market.announce()
            await market.bid(100)
            alerts = {f"k{n}": value_of("crosses", f"1.0{n}") for n in range(1, 9)}
            await put(bus, "alice", alerts)
            async with AlertWatcher(bus, options()), AlertWatcher(other, options()):
                for price in (109, 100, 105, 109, 100):
                    await market.bid(price)
                    wanted: dict[str, list[str]] = {}
                    for key, value in alerts.items():
                        wanted |= fires(market, key, value, 1)
                    await until_told(bus, "alice", wanted)

    run(scenario())


def test_an_edit_at_the_moment_of_the_crossing_wins(run, nats_server) -> None:
    async def scenario() -> None:
        edited: list[Any] = []
        new = value_of("above", "2.00", once=True)

        async with bus_of(nats_server) as bus:
            market = Market(bus)
            await market.announce()
            await market.bid(100)
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
        async with bus_of(nats_server) as bus:
            market = Market(bus)
            await market.announce()
            await market.bid(100)
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
        async with bus_of(nats_server) as bus:
            market = Market(bus)
            await market.announce()
            await market.bid(100)
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


# ---- by clients


@asynccontextmanager
async def gateways(url: str, key: Path) -> AsyncIterator[list[Gateway]]:
    started: list[Gateway] = []
    try:
        for number in range(2):
            started.append(
                Gateway(
                    GatewayConfig(
                        nats=(url,),
                        node=f"g{number}",
                        port=0,
                        admin_port=0,
                        drain_spread_ms=0,
                        auth_key_file=(key,),
                    )
                )
            )
            await started[-1].start()
            await started[-1].wait_ready()
        yield started
    finally:
        for each in started:
            await each.stop()


def token(user: str, *grants: dict[str, Any]) -> str:
    claims = {"sub": user, "aud": "mdstream", "exp": 4_000_000_000, "md": {"grants": list(grants)}}
    return jwt.encode(claims, private_key("EdDSA"), "EdDSA")


async def until(reached: Callable[[], bool]) -> None:
    while not reached():
        await asyncio.sleep(0.01)


def test_a_user_sets_alerts_at_one_gateway_and_is_told_at_another(run, nats_server, tmp_path) -> None:
    key = tmp_path / "key.pem"
    key.write_bytes(public_pem("EdDSA"))
    ticker = {"channels": ["ticker"], "instruments": ["SIM:A"]}
    late = {"channels": ["ticker"], "instruments": ["SIM:LATE"], "delay_ms": 60_000}

    async def scenario() -> None:
        async with bus_of(nats_server) as bus, gateways(nats_server.url, key) as (one, two):
            market = Market(bus)
            await market.announce()
            await market.bid(100)
            async with (
                AlertWatcher(bus, options()),
                connect_client(one.url, token=token("alice", ticker, late)) as alice,
                connect_client(two.url, token=token("alice", ticker)) as phone,
                connect_client(two.url, token=token("bob", ticker)) as bob,
            ):
                inbox = await phone.events()
                shown = await phone.map("alerts")
                value = value_of("crosses", "1.05")
                rev = await alice.put("alerts", {"k": value})
                await market.bid(106)
                event = await anext(inbox.updates())
                assert event.type == "alert" and event.data["id"] == f"{rev}.{market.epoch}.2"
                await until(lambda: shown["k"].get("fired", {}).get("count") == 1)
                with pytest.raises(PutConflict):
                    await alice.put("alerts", {"k": value}, expect={"k": rev})
                for wrong, code, why in (
                    (shown["k"], "bad_value", "leave it out"),
                    ({**value, "price": 1.05}, "bad_value", "exact decimal"),
                    (value_of("above", "1", instrument="SIM:B"), "not_entitled", "SIM:B"),
                    (value_of("above", "1", instrument="SIM:LATE"), "not_entitled", "only late"),
                ):
                    with pytest.raises(PutRefused, match=why) as refused:
                        await alice.put("alerts", {"new": wrong})
                    assert refused.value.code == code
                with pytest.raises(PutRefused) as refused:
                    await bob.put("alerts.alice", {"k": value})
                assert refused.value.code == "not_entitled"
                many = {f"n{n}": value for n in range(100)}
                await alice.put("alerts", many)
                with pytest.raises(PutRefused, match="200 alerts at most") as refused:
                    await phone.put("alerts", {f"m{n}": value for n in range(100)})
                assert refused.value.code == "map_full"
                await alice.put("alerts", delete=list(many))

    run(scenario())


# ---- for a long time


@pytest.mark.complete
def test_killed_again_and_again_while_the_market_crosses_hundreds_of_prices(run, nats_server) -> None:
    async def scenario() -> None:
        chance = random.Random(7)
        async with bus_of(nats_server) as bus:
            market = Market(bus)
            await market.announce()
            await market.bid(1_000)
            await market.trade(1_000)
            alerts = {
                f"{on}-{when}-{n}": value_of(when, f"{10 + n / 10 + 0.005:.3f}", on=on, once=n % 4 == 0)
                for on in ("bid", "last")
                for when in ("above", "below", "crosses")
                for n in range(-8, 9)
            }
            await put(bus, "alice", alerts)
            stop = asyncio.Event()
            killing = asyncio.create_task(_kill_watchers(nats_server.url, chance, stop))
            price = 1_000
            for number in range(1_500):
                price += chance.choice((-23, -7, -1, 1, 7, 23)) + (1_000 - price) // 40
                await market.bid(price)
                await market.trade(price + chance.randrange(5))
                if number % 100 == 0:
                    await market.snap()
                await asyncio.sleep(0.01)
            stop.set()
            kills = await killing
            wanted: dict[str, list[str]] = {}
            for key, value in alerts.items():
                wanted |= fires(market, key, value, 1)
            async with AlertWatcher(bus, options(lease_s=0.5)):
                found = await until_told(bus, "alice", wanted)
            assert len(found) > 500 and kills > 10
            assert not any("late" in data or "paused" in data for data in found)
            print(f"{len(found)} crossings of {len(alerts)} alerts, {kills} kills")

    run(scenario(), 600.0, debug=False)


async def _kill_watchers(url: str, chance: random.Random, stop: asyncio.Event) -> int:
    """Two watchers run; again and again one of them is killed and another one started."""

    async def start() -> asyncio.subprocess.Process:
        return await start_module("mdstream.cli", ["alerts", "--nats", url, "--lease", "500ms"])

    running, kills = [await start(), await start()], 0
    while not stop.is_set():
        await asyncio.sleep(chance.uniform(0.2, 2.5))
        victim = running.pop(chance.randrange(len(running)))
        victim.kill()
        await victim.wait()
        kills += 1
        running.append(await start())
    for each in running:
        each.kill()
        await each.wait()
    return kills
