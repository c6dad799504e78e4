"""The Python client reads every golden vector of the gateway alike in both formats, and follows the views as they say."""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import chain
from pathlib import Path
from typing import Any

import msgspec
import pytest

from mdstream.client.book import Book
from mdstream.client.events import Heartbeat, Subscribed, Ticker, Trades
from mdstream.client.policy import Policy
from mdstream.client.protocol import Codec, Request, make_codec
from mdstream.client.states import Stats

VECTORS = Path(__file__).parents[1] / "vectors"
BOTH = pytest.mark.parametrize("format_name", ["json", "msgpack"])


def load(file: str, name: str) -> list[dict[str, Any]]:
    vectors: list[dict[str, Any]] = json.loads((VECTORS / file).read_text(encoding="utf-8"))[name]
    assert vectors
    return vectors


def each(file: str, name: str) -> Any:
    vectors = load(file, name)
    return pytest.mark.parametrize("vector", vectors, ids=[vector["name"] for vector in vectors])


def wire(vector: dict[str, Any], format_name: str) -> bytes:
    return vector["json"].encode() if format_name == "json" else bytes.fromhex(vector["msgpack"])


def told(format_name: str, sub: int, price_exp: int, size_exp: int) -> Codec:
    """A codec that was told the exponents of a subscription."""
    codec = make_codec(format_name)  # type: ignore[arg-type]
    subscribed = Subscribed(sub, "book", "SIM:X", price_exp, size_exp)
    codec.decode(codec.encode(msgspec.to_builtins(subscribed)))
    return codec


def integers(event: Any) -> dict[str, Any]:
    """An event in the words of the vectors' ``fields``."""
    fields = {("ts" if name == "ts_us" else name): getattr(event, name) for name in event.__struct_fields__}
    if isinstance(event, Ticker):
        for name in ("bid", "ask", "last"):
            quote = [fields.pop(f"{name}_ticks"), fields.pop(f"{name}_lots")]
            fields[name] = None if quote == [None, None] else quote
    elif isinstance(event, Trades):
        fields["trades"] = [list(msgspec.structs.astuple(trade)) for trade in event.trades]
    elif isinstance(event, Heartbeat):
        seqs = event.seqs
        fields = {
            "time": event.time_us,
            "seqs": [list(pair) for pair in zip(seqs[::2], seqs[1::2], strict=True)],
        }
    return fields


@BOTH
@each("server.json", "data")
def test_data(vector, format_name):
    fields = vector["fields"]
    codec = told(format_name, fields.get("sub", 1), vector["price_exp"], vector["size_exp"])

    (event,) = codec.decode(wire(vector, format_name))

    assert type(event).__name__.lower() == vector["type"]
    assert integers(event) == fields


@BOTH
@each("server.json", "control")
def test_control(vector, format_name):
    (event,) = make_codec(format_name).decode(wire(vector, format_name))

    told = msgspec.to_builtins(event)
    assert {key: told[key] for key in vector["message"]} == vector["message"]


@each("server.json", "joined")
def test_values_back_to_back(vector):
    events = make_codec("msgpack").decode(bytes.fromhex(vector["msgpack"]))

    assert [msgspec.to_builtins(event) for event in events] == [
        value if isinstance(value, list) else {**msgspec.to_builtins(event), **value}
        for value, event in zip(vector["values"], events, strict=True)
    ]


@BOTH
@each("client.json", "commands")
def test_commands(vector, format_name):
    assert make_codec(format_name).encode(vector["message"]) == wire(vector, format_name)


class Asked:
    """The connection under a book: notes what it asks for."""

    policy = Policy()

    def __init__(self) -> None:
        self.stats = Stats()
        self.random: Callable[[], float] = lambda: 0.0
        self.asked: list[int] = []

    def send_recover(self, subscription: Any, from_seq: int) -> None:
        self.asked.append(from_seq)

    def unsubscribe(self, subscription: Any) -> None: ...

    def due(self, when: float) -> None: ...


@BOTH
@each("views.json", "views")
def test_views(vector, format_name):
    link = Asked()
    book = Book(Request("book", "SIM:X", vector["depth"]), link)
    book.accept(Subscribed(vector["sub"], "book", "SIM:X", vector["price_exp"], vector["size_exp"]), 0.0)
    codec = told(format_name, vector["sub"], vector["price_exp"], vector["size_exp"])

    for now, step in enumerate(vector["steps"], 1):
        link.asked.clear()
        before = book.seq
        (event,) = codec.decode(wire(step, format_name))
        book.take(event, float(now))
        book.tick(float(now))
        expected = {"apply": [], "gap": [before + 1], "mismatch": [0]}[step["outcome"]]
        assert (step["name"], link.asked) == (step["name"], expected)
        assert book.trusted is (step["outcome"] == "apply")
        if step["outcome"] != "mismatch":
            assert [book.seq, *held(book)] == [step["then"][key] for key in ("seq", "bids", "asks")], step[
                "name"
            ]


def held(book: Book) -> list[list[int]]:
    return [list(chain.from_iterable(side.tolist())) for side in (book.bids, book.asks)]
