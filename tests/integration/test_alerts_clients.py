"""Alerts of clients, over gateways: set at one, told at another, and gone with the right to see the price."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import jwt
import pytest

from mdstream.alerts import AlertWatcher
from mdstream.bus import Bus
from mdstream.bus.events import Event, publish_event
from mdstream.client import Alerts, PutConflict, PutRefused, connect
from mdstream.gateway import Gateway, GatewayConfig
from support.alerts import Market, entries, market_of, options, value_of
from support.program import ROOT
from support.tokens import private_key

TICKER = {"channels": ["ticker"], "instruments": ["SIM:A"]}


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


@asynccontextmanager
async def alerts_of_alice(url: str, key: Path) -> AsyncIterator[tuple[Bus, Market, Alerts]]:
    """A market, whoever watches alerts on it, and what its user sets and is told at a gateway."""
    async with (
        market_of(url) as (bus, market),
        gateways(url, key) as (one, _),
        AlertWatcher(bus, options()),
        connect(one.url, token=token("alice", TICKER)) as client,
        await client.alerts() as alerts,
    ):
        yield bus, market, alerts


def token(user: str, *grants: dict[str, Any]) -> str:
    claims = {"sub": user, "aud": "mdstream", "exp": 4_000_000_000, "md": {"grants": list(grants)}}
    return jwt.encode(claims, private_key("EdDSA"), "EdDSA")


async def until(reached: Callable[[], bool]) -> None:
    while not reached():
        await asyncio.sleep(0.01)


def test_a_user_sets_alerts_at_one_gateway_and_is_told_at_another(run, nats_server, key) -> None:
    late = {"channels": ["ticker"], "instruments": ["SIM:LATE"], "delay_ms": 60_000}

    async def scenario() -> None:
        async with market_of(nats_server.url) as (bus, market), gateways(nats_server.url, key) as (one, two):
            async with (
                AlertWatcher(bus, options()),
                connect(one.url, token=token("alice", TICKER, late)) as alice,
                connect(two.url, token=token("alice", TICKER)) as phone,
                connect(two.url, token=token("bob", TICKER)) as bob,
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


def test_the_helper_sets_lists_and_removes_alerts_and_tells_what_has_fired(run, nats_server, key) -> None:
    async def scenario() -> None:
        async with alerts_of_alice(nats_server.url, key) as (_, market, alerts):
            rev = await alerts.set("up", "SIM:A", "bid", "above", Decimal("1.050"), note="sell")
            await alerts.set("often", "SIM:A", "bid", "crosses", "1.05", once=False)
            await alerts.set("gone", "SIM:A", "bid", "above", "1.05")
            await alerts.delete("gone")
            await until(lambda: set(alerts.all()) == {"up", "often"})
            assert (alerts["up"].text, alerts["up"].note, alerts["often"].once) == ("1.050", "sell", False)
            with pytest.raises(ValueError, match="when must be one of above"):
                await alerts.set("x", "SIM:A", "bid", "over", "1.05")
            await market.bid(106)
            fired = alerts.fired()
            found = {each.key: each for each in [await anext(fired), await anext(fired)]}
            assert (found["up"].rev, found["up"].crossed, found["up"].note) == (rev, "1.06", "sell")
            assert (found["often"].seq, found["often"].count, found["often"].late) == (2, 1, False)
            await until(lambda: alerts["up"].fired is not None)

    run(scenario())


def test_what_has_fired_is_acknowledged_but_not_beyond_what_others_must_see(run, nats_server, key) -> None:
    async def scenario() -> None:
        async with alerts_of_alice(nats_server.url, key) as (bus, market, alerts):
            await alerts.set("often", "SIM:A", "bid", "crosses", "1.05", once=False)
            fired = alerts.fired()
            await market.bid(106)
            first = await anext(fired)
            notice = await publish_event(bus, "user.alice", Event("notice", "call me", None))
            await market.bid(104, 106)
            second, third = await anext(fired), await anext(fired)
            await until(lambda: alerts.inbox.acknowledged == first.event.seq)
            alerts.inbox.acknowledge(notice.seq)
            await until(lambda: alerts.inbox.acknowledged == notice.seq)
            await market.bid(104)
            fourth = await anext(fired)
            await until(lambda: alerts.inbox.acknowledged == third.event.seq)
            assert [each.count for each in (first, second, third, fourth)] == [1, 2, 3, 4]

    run(scenario())


def test_the_example_in_the_documentation_tells_what_fires(run, nats_server, key) -> None:
    example = ROOT / "examples" / "alerts.py"
    assert f"```python\n{example.read_text()}```" in (ROOT / "docs" / "client.md").read_text()
    ticker = {**TICKER, "instruments": ["SIM:BTC-USD"]}

    async def scenario() -> None:
        async with (
            market_of(nats_server.url, 6_390_000, "SIM:BTC-USD") as (bus, market),
            gateways(nats_server.url, key) as (one, _),
            AlertWatcher(bus, options()),
        ):
            command = (sys.executable, str(example), one.url, token("alice", ticker))
            process = await asyncio.create_subprocess_exec(*command, cwd=ROOT, stdout=asyncio.subprocess.PIPE)
            assert process.stdout is not None
            try:
                while "up" not in await entries(bus, "alice"):
                    await asyncio.sleep(0.02)
                await market.bid(6_400_001)
                assert await process.stdout.readline() == b"up SIM:BTC-USD 64000.01 sell\n"
            finally:
                process.kill()
                await process.wait()

    run(scenario())
