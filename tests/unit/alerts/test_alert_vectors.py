"""The golden vectors of alerts: what is on the bus is read and written as they say, and the same prices fire."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from mdstream.alert import AlertState, event_data, move, read_alert, side_of
from mdstream.bus.events import Event, decode_event, encode_event
from mdstream.maps import decode_change, encode_change

VECTORS = json.loads((Path(__file__).parents[2] / "vectors" / "alerts.json").read_text(encoding="utf-8"))
MINUTE_US = 60_000_000


def of(section: str) -> list[Any]:
    return [pytest.param(vector, id=vector["name"]) for vector in VECTORS[section]]


@pytest.mark.parametrize("vector", of("bus"))
def test_what_is_on_the_bus(vector: dict[str, Any]) -> None:
    payload = bytes.fromhex(vector["msgpack"])
    message = vector["message"]
    if vector["subject"].startswith("ev."):
        assert decode_event(payload) == Event(*message.values())
        assert encode_event(decode_event(payload)) == payload
        return
    change = decode_change(payload)
    assert encode_change(change) == payload
    for key, (value, _) in change.set.items():
        assert value == message["set"][key][0]
        fired = read_alert(value).fired
        assert (None if fired is None else fired.value()) == value.get("fired")


@pytest.mark.parametrize("vector", of("crossings"))
def test_which_prices_fire(vector: dict[str, Any]) -> None:
    alert, state, exponent = read_alert(vector["alert"]), AlertState(), vector["price_exp"]
    fires = [
        number
        for number, ticks in enumerate(vector["prices"], 1)
        if move(alert, state, side_of(alert, ticks, exponent), 5 * MINUTE_US + number)
    ]
    assert fires == vector["fires"]
    assert state.paused == (vector["name"] == "sixty in a minute, then it is paused")


@pytest.mark.parametrize("vector", of("data"))
def test_what_an_event_says(vector: dict[str, Any]) -> None:
    data = vector["fields"]["data"]
    entry = {name: data[name] for name in ("instrument", "on", "when", "price", "note") if name in data}
    state = AlertState(data["epoch"], data["seq"], count=data["count"], paused=data.get("paused", False))
    made = event_data(
        data["alert"], data["rev"], read_alert(entry), state, data["crossed"], data["ts"], late="late" in data
    )
    assert made == data
