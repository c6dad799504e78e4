"""Alerts and entitlements: who loses the right to see a price loses the alerts on it, and is told nothing more."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

import pytest

from mdstream.alerts import AlertWatcher
from support.alerts import entries, market_of, options, put, told, until_told, value_of
from support.tokens import CLAIMS, public_pem, sign


def token(*instruments: str) -> str:
    now_s = int(time.time())
    grant = {"channels": ["ticker"], "instruments": list(instruments)}
    return sign({**CLAIMS, "md": {"grants": [grant]}, "iat": now_s, "exp": now_s + 600}).decode()


def bearer(*instruments: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token(*instruments)}"}


@pytest.mark.parametrize("how", ["another session", "auth"])
def test_alerts_go_with_the_right_to_see_the_price(
    run, nats_server, gateway, ws, tmp_path: Path, how
) -> None:
    key = tmp_path / "public.pem"
    key.write_bytes(public_pem("EdDSA"))
    alerts: dict[str, Any] = {
        "a": value_of("crosses", "1.05"),
        "b": value_of("above", "1", instrument="SIM:B"),
    }

    async def scenario() -> None:
        async with (
            market_of(nats_server.url) as (bus, market),
            gateway(nats_server.url, auth_key_file=(key,)) as server,
            AlertWatcher(bus, options()),
        ):
            alice = await ws.open(server.port, **bearer("SIM:A", "SIM:B"))
            alice.send({"op": "put", "id": 1, "topic": "alerts", "set": alerts})
            await alice.until("stored")
            await put(bus, "bob", {"a": alerts["a"]})  # told when alice's would have been
            await ws.open(server.port, **bearer("SIM:*"))
            if how == "auth":
                alice.send({"op": "auth", "token": token("SIM:B")})
                await alice.until("authenticated")
            else:
                await ws.open(server.port, **bearer("SIM:B"))
            while set(await entries(bus, "alice")) != {"b"}:
                await asyncio.sleep(0.01)
            await market.bid(106, 104)
            await until_told(bus, "bob", {"a": [f"{market.epoch}.2", f"{market.epoch}.3"]})
            assert await told(bus, "alice") == []

    run(scenario())
