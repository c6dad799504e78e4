"""``dump`` writes the contract's JSON whatever the format on the wire: held to the golden vectors."""

import json
from pathlib import Path

import msgpack
import pytest

from mdstream.cli.render_json import JsonLines
from mdstream.printable import printable_json

VECTORS = json.loads((Path(__file__).parents[2] / "vectors" / "server.json").read_text(encoding="utf-8"))

CANDLES = json.loads((Path(__file__).parents[2] / "vectors" / "candles.json").read_text(encoding="utf-8"))[
    "data"
]


def lines(format: str, *payloads: bytes) -> list[tuple[str, str]]:
    reader = JsonLines(format)
    return [pair for payload in payloads for pair in reader.read(payload)]


@pytest.mark.parametrize("vector", VECTORS["data"], ids=[vector["name"] for vector in VECTORS["data"]])
def test_messagepack_data_is_spelt_as_json(vector):
    announced = {"type": "subscribed", "sub": vector["fields"].get("sub", 1)}
    scale = {"price_exp": vector["price_exp"], "size_exp": vector["size_exp"]}

    _, line = lines("msgpack", msgpack.packb({**announced, **scale}), bytes.fromhex(vector["msgpack"]))

    assert line == (vector["type"], printable_json(vector["json"]))


@pytest.mark.parametrize("vector", VECTORS["control"], ids=[vector["name"] for vector in VECTORS["control"]])
def test_control_messages_are_spelt_as_json(vector):
    assert lines("msgpack", bytes.fromhex(vector["msgpack"])) == [
        (vector["type"], printable_json(vector["json"]))
    ]
    assert lines("json", vector["json"].encode()) == [(vector["type"], printable_json(vector["json"]))]


@pytest.mark.parametrize("vector", CANDLES, ids=[vector["name"] for vector in CANDLES])
def test_candles_are_spelt_as_json(vector):
    assert lines("msgpack", bytes.fromhex(vector["msgpack"])) == [("candles", vector["json"])]


def test_several_values_are_several_lines():
    payload = msgpack.packb([5, 1, []]) + msgpack.packb({"type": "lost", "sub": 1, "first": 2, "last": 3})

    assert [kind for kind, _ in lines("msgpack", payload)] == ["heartbeat", "lost"]


def test_a_line_is_one_line():
    assert lines("json", b'{"type":\n"x"}') == [("x", '{"type": "x"}')]


@pytest.mark.parametrize(
    "payload", [b"", b"\xc1", b"\x92", msgpack.packb([1, 7, 1, 1, 1, [1, 2], [], 3]), msgpack.packb([99])]
)
def test_what_cannot_be_read_gives_no_line(payload):
    assert lines("msgpack", payload) == []
    assert lines("json", payload) == []
