"""Candles in the Python client: the golden vectors, revisions, holes, and what a new connection brings."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest

from mdstream.candle import Candle
from mdstream.client import events, protocol
from mdstream.client.candles import Candles, CandleUpdate
from mdstream.client.protocol import Request
from mdstream.client.protocol_json import JsonCodec
from mdstream.client.protocol_msgpack import MsgpackCodec
from mdstream.client.states import SubscriptionState
from mdstream.errors import ProtocolViolation

VECTORS = json.loads((Path(__file__).parents[2] / "vectors" / "candles.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("vector", VECTORS["data"], ids=lambda vector: vector["name"])
def test_both_formats_give_the_same_candles(vector: dict[str, Any]) -> None:
    fields = vector["fields"]
    wanted = events.Candles(fields["sub"], [Candle(*row) for row in fields["rows"]], fields["more"])
    assert JsonCodec().decode(vector["json"].encode()) == [wanted]
    assert MsgpackCodec().decode(bytes.fromhex(vector["msgpack"])) == [wanted]


@pytest.mark.parametrize("vector", VECTORS["messages"], ids=lambda vector: vector["name"])
def test_the_answer_is_read(vector: dict[str, Any]) -> None:
    (event,) = JsonCodec().decode(vector["json"].encode())
    assert isinstance(event, events.Subscribed) and event.span == "1m" and event.instrument == "SIM:BTC-USD"


def test_the_command_is_the_vector() -> None:
    command = protocol.subscribe(1, [Request("candles", "SIM:BTC-USD", span="1d", history=1_000)])
    wanted = next(each for each in VECTORS["commands"] if "history" in each["name"])
    assert msgspec.json.encode(command).decode() == wanted["json"]


@pytest.mark.parametrize(
    "text",
    [
        '{"type":"candles","sub":9,"rows":[[1,2]],"more":false}',
        '{"type":"candles","sub":9,"rows":[[1,1,"1","1","1","x","1",1,1,1,1,-2,-8,0]],"more":false}',
        '{"type":"candles","sub":9}',
    ],
)
def test_what_is_no_candle_breaks_the_contract(text: str) -> None:
    with pytest.raises(ProtocolViolation):
        JsonCodec().decode(text.encode())


def candle(start_s: int, rev: int = 1, close: int = 5) -> Candle:
    return Candle(start_s, rev, 5, 9, 1, close, 7, 3, 2, 1, 3, -2, -8, 0)


def subscribed(link: Any) -> Candles:
    candles = Candles(Request("candles", "SIM:A", span="1m", history=9), link)
    candles.requested()
    candles.accept(events.Subscribed(9, "candles", "SIM:A", -2, -8), 0.0)
    return candles


def take(candles: Candles, *rows: Candle, more: bool = False) -> None:
    candles.take(events.Candles(9, list(rows), more), 0.0)


def test_it_is_live_once_the_history_is_there(link: Any) -> None:
    candles = subscribed(link)
    assert candles.state is SubscriptionState.PENDING and candles.newest is None
    take(candles, candle(60), more=True)
    assert candles.state is SubscriptionState.PENDING
    take(candles, candle(180))
    assert candles.state is SubscriptionState.LIVE
    assert [each.start_s for each in candles.all()] == [60, 180] and len(candles) == 2
    assert candles.newest == candles[180] and candles[60].prices.close == Decimal("0.05")


def test_the_greater_revision_holds(link: Any) -> None:
    candles = subscribed(link)
    seen: list[CandleUpdate] = []
    candles.on_candle(seen.append)
    take(candles, candle(60, 3))
    take(candles, candle(60, 2), candle(60, 3, 99), candle(60, 4, 8))
    assert candles[60].close == 8 and [update.candle.rev for update in seen] == [3, 4]


def test_a_new_connection_brings_the_history_anew(link: Any) -> None:
    candles = subscribed(link)
    take(candles, candle(60, 7), candle(120, 7), candle(180, 7))
    candles.detach("lost")
    assert candles.state is SubscriptionState.DISCONNECTED and len(candles) == 3
    candles.requested()
    candles.accept(events.Subscribed(9, "candles", "SIM:A", -2, -8), 1.0)
    assert candles.state is SubscriptionState.RECOVERING
    take(candles, candle(120, 1), candle(240, 1))
    assert candles.state is SubscriptionState.LIVE
    assert [(each.start_s, each.rev) for each in candles.all()] == [(60, 7), (120, 1), (240, 1)]
