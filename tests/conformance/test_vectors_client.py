"""The Python client reads every golden vector of the gateway, writes those of the commands, and applies the views."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mdstream.client import topic_events
from mdstream.client.alerts import Crossing
from mdstream.client.book import Book
from mdstream.client.events import Event, Heartbeat, Subscribed, Ticker, TradeEntry, Trades
from mdstream.client.policy import Policy
from mdstream.client.protocol import Codec, Request
from mdstream.client.protocol_factory import make_codec
from mdstream.client.protocol_json import JsonCodec
from mdstream.client.states import Stats

VECTORS = Path(__file__).parents[1] / "vectors"
FORMATS = ("json", "msgpack")


def load(file: str, section: str) -> list[Any]:
    vectors = json.loads((VECTORS / f"{file}.json").read_text(encoding="utf-8"))[section]
    return [pytest.param(vector, id=vector["name"]) for vector in vectors]


def wire(vector: dict[str, Any], format: str) -> bytes:
    return vector["json"].encode() if format == "json" else bytes.fromhex(vector["msgpack"])


def announced(format: str, sub: int, price_exp: int, size_exp: int) -> Codec:
    """A codec that has read ``subscribed``, because JSON needs the exponents."""
    codec = make_codec(format)
    if isinstance(codec, JsonCodec):
        head = {"type": "subscribed", "sub": sub, "channel": "book", "instrument": "SIM:BTC-USD"}
        codec.decode(json.dumps({**head, "price_exp": price_exp, "size_exp": size_exp}).encode())
    return codec


def values(event: Event) -> list[Any]:
    """The fields of an event in order, in the form of the vectors."""
    named = {name: getattr(event, name) for name in event.__struct_fields__}
    if isinstance(event, Trades):
        named["trades"] = [
            [getattr(trade, name) for name in TradeEntry.__struct_fields__] for trade in event.trades
        ]
    if isinstance(event, Heartbeat):
        named["seqs"] = [event.seqs[i : i + 2] for i in range(0, len(event.seqs), 2)]
    if isinstance(event, Ticker):
        quotes = {
            name: [named.pop(f"{name}_ticks"), named.pop(f"{name}_lots")] for name in ("bid", "ask", "last")
        }
        named |= {name: None if quote == [None, None] else quote for name, quote in quotes.items()}
    return list(named.values())


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("vector", load("server", "data"))
def test_data_is_read(vector: dict[str, Any], format: str) -> None:
    codec = announced(format, vector["fields"].get("sub", 0), vector["price_exp"], vector["size_exp"])
    (event,) = codec.decode(wire(vector, format))
    assert values(event) == list(vector["fields"].values())


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("vector", load("server", "control"))
def test_control_is_read(vector: dict[str, Any], format: str) -> None:
    (event,) = make_codec(format).decode(wire(vector, format))
    message = dict(vector["message"])
    assert event.__struct_config__.tag == message.pop("type")
    if "resumes" in message:
        message["resumes"] = frozenset(message["resumes"])
    assert {name: getattr(event, name) for name in message} == message


@pytest.mark.parametrize("vector", load("server", "joined"))
def test_joined_values_are_read_in_order(vector: dict[str, Any]) -> None:
    events = make_codec("msgpack").decode(bytes.fromhex(vector["msgpack"]))
    for event, value in zip(events, vector["values"], strict=True):
        expected = value["sub"] if isinstance(value, dict) else value[1:]
        assert (event.sub if isinstance(event, Subscribed) else values(event)) == expected


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize(
    "vector", [each for file in ("client", "boards", "alerts") for each in load(file, "commands")]
)
def test_commands_are_written(vector: dict[str, Any], format: str) -> None:
    assert make_codec(format).encode(vector["message"]) == wire(vector, format)


class Gateway:
    """A fake connection for one book; keeps the numbers that the book asked for."""

    policy = Policy()
    stats = Stats()
    asked: list[int]

    def __init__(self) -> None:
        self.asked = []

    def random(self) -> float:
        return 0.0

    def due(self, when: float) -> None: ...

    def unsubscribe(self, subscription: object) -> None: ...

    def send_recover(self, subscription: object, from_seq: int) -> None:
        self.asked.append(from_seq)


def flat(book: Book) -> dict[str, Any]:
    return {"seq": book.seq, "bids": book.bids.ravel().tolist(), "asks": book.asks.ravel().tolist()}


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("vector", load("views", "views"))
def test_views_are_followed(vector: dict[str, Any], format: str) -> None:
    gateway, sub, scale = Gateway(), vector["sub"], (vector["price_exp"], vector["size_exp"])
    codec = announced(format, sub, *scale)
    book = Book(Request("book", "SIM:BTC-USD", vector["depth"]), gateway)
    book.requested()
    book.accept(Subscribed(sub, "book", "SIM:BTC-USD", *scale), 0.0)
    for step in vector["steps"]:
        before = book.seq
        (event,) = codec.decode(wire(step, format))
        book.take(event, 0.0)
        if step["outcome"] != "mismatch":
            assert flat(book) == step["then"], step["name"]
        expected = {"apply": [], "gap": [before + 1], "mismatch": [0]}[step["outcome"]]
        assert (gateway.asked, book.trusted) == (expected, step["outcome"] == "apply"), step["name"]
        gateway.asked.clear()


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("vector", load("alerts", "data"))
def test_crossings_are_read(vector: dict[str, Any], format: str) -> None:
    fields = vector["fields"]
    (came,) = make_codec(format).decode(wire(vector, format))
    assert values(came) == list(fields.values())
    told = topic_events.Event(
        *(fields[name] for name in ("topic", "seq", "time", "event", "data", "sender", "redelivered"))
    )
    crossing, data = Crossing.of(told), fields["data"]
    assert crossing is not None
    assert (crossing.key, crossing.ts_us, crossing.event) == (data["alert"], data["ts"], told)
    assert {name: getattr(crossing, name) for name in data.keys() - {"alert", "ts"}} == {
        name: data[name] for name in data.keys() - {"alert", "ts"}
    }
    assert (crossing.late, crossing.paused) == ("late" in data, "paused" in data)
    for other in (replace(told, type="notice"), replace(told, sender="mallory"), replace(told, data=[1])):
        assert Crossing.of(other) is None
    assert Crossing.of(replace(told, data={**data, "seq": "1"})) is None
