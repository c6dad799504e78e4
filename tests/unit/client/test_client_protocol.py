"""Both formats give the same events. An invalid message is refused with its place, an unknown one is ignored."""

import json
from typing import Any

import msgpack
import pytest

from mdstream.client import events, protocol
from mdstream.client.protocol import Request
from mdstream.client.protocol_factory import make_codec
from mdstream.errors import ProtocolViolation

SUBSCRIBED = {
    "type": "subscribed",
    "id": 1,
    "sub": 7,
    "channel": "book",
    "instrument": "SIM:BTC-USD",
    "depth": 20,
    "group": 1,
    "interval_ms": 0,
    "price_exp": -2,
    "size_exp": -8,
    "resumed": False,
}

PAIRS: list[tuple[dict[str, Any], Any, events.Event]] = [
    (
        {
            "type": "delta",
            "sub": 7,
            "first": 3,
            "last": 4,
            "ts": 9,
            "bids": [["64123.10", "0"]],
            "asks": [],
            "crc": 5,
        },
        [1, 7, 3, 4, 9, [6412310, 0], [], 5],
        events.Delta(7, 3, 4, 9, [6412310, 0], [], 5),
    ),
    (
        {
            "type": "snapshot",
            "sub": 7,
            "epoch": 1,
            "seq": 4,
            "ts": 9,
            "bids": [["64123.10", "0.51200000"], ["-1.00", "1.00000000"]],
            "asks": [["64123.11", "90071992.54740991"]],
            "crc": 5,
            "reason": "slow",
        },
        [2, 7, 1, 4, 9, [6412310, 51200000, -100, 100000000], [6412311, 9007199254740991], 5, "slow"],
        events.Snapshot(
            7, 1, 4, 9, [6412310, 51200000, -100, 100000000], [6412311, 9007199254740991], 5, "slow"
        ),
    ),
    (
        {
            "type": "trades",
            "sub": 7,
            "epoch": 1,
            "first": 2,
            "last": 4,
            "trades": [
                [2, 9, "1.00", "0.00000001", "buy", "a"],
                [3, 9, "1.00", "0.00000001", "sell", 12],
                [4, 9, "1.00", "0.00000001", None, "é"],
            ],
        },
        [3, 7, 1, 2, 4, [[2, 9, 100, 1, 1, "a"], [3, 9, 100, 1, 2, 12], [4, 9, 100, 1, 0, "é"]]],
        events.Trades(
            7,
            1,
            2,
            4,
            [
                events.TradeEntry(2, 9, 100, 1, 1, "a"),
                events.TradeEntry(3, 9, 100, 1, 2, 12),
                events.TradeEntry(4, 9, 100, 1, 0, "é"),
            ],
        ),
    ),
    (
        {
            "type": "ticker",
            "sub": 7,
            "epoch": 1,
            "seq": 4,
            "ts": 9,
            "bid": ["1.00", "0.00000002"],
            "ask": None,
            "last": ["1.01", "0.00000003"],
        },
        [4, 7, 1, 4, 9, 100, 2, None, None, 101, 3],
        events.Ticker(7, 1, 4, 9, 100, 2, None, None, 101, 3),
    ),
    (
        {"type": "heartbeat", "time": 9, "seqs": [[7, 4], [8, 0]]},
        [5, 9, [7, 4, 8, 0]],
        events.Heartbeat(9, [7, 4, 8, 0]),
    ),
]

CONTROLS: list[tuple[dict[str, Any], events.Event]] = [
    (
        {
            "type": "welcome",
            "version": 1,
            "node": "n",
            "session": "s",
            "time": 9,
            "heartbeat_ms": 50,
            "limits": {"a": 1},
        },
        events.Welcome(1, 50, "n", "s", 9, {"a": 1}),
    ),
    (SUBSCRIBED, events.Subscribed(7, "book", "SIM:BTC-USD", -2, -8, 1, 20, 1, 0, False)),
    ({"type": "lost", "sub": 7, "first": 1, "last": 2}, events.Lost(7, 1, 2)),
    (
        {"type": "state", "sub": 7, "state": "stale", "since": 3, "reason": "x"},
        events.StateChange(7, "stale", 3, "x"),
    ),
    (
        {
            "type": "state",
            "sub": 7,
            "state": "stale",
            "since": 3,
            "code": "silent",
            "age_ms": 31_000,
            "reason": "x",
        },
        events.StateChange(7, "stale", 3, "x", "silent", 31_000),
    ),
    (
        {
            "type": "state",
            "sub": 7,
            "state": "live",
            "since": 3,
            "code": None,
            "age_ms": None,
            "reason": None,
        },
        events.StateChange(7, "live", 3),
    ),
    ({"type": "ref", "sub": 7, "ref": {"tick": 5, "x": [1]}}, events.RefChange(7, {"tick": 5, "x": [1]})),
    ({"type": "unsubscribed", "id": None, "subs": [7], "reason": "x"}, events.Unsubscribed([7], None, "x")),
    ({"type": "drain", "reconnect_after_ms": 5, "deadline_ms": 6}, events.Drain(5, 6)),
    (
        {"type": "error", "id": "x", "code": "bad_value", "message": "m"},
        events.Refused("bad_value", "m", "x"),
    ),
    ({"type": "pong", "id": 4, "data": [1], "time": 9}, events.Pong(4, [1], 9)),
]


def encode(name: str, message: Any) -> bytes:
    return msgpack.packb(message) if name == "msgpack" else json.dumps(message).encode()


def told(name: str) -> protocol.Codec:
    """A codec that has read ``subscribed`` of number 7."""
    codec = make_codec(name)
    codec.decode(encode(name, SUBSCRIBED))
    return codec


@pytest.mark.parametrize(("text", "array", "event"), PAIRS, ids=[type(pair[2]).__name__ for pair in PAIRS])
def test_data_means_the_same_in_both_formats(text, array, event):
    assert told("json").decode(json.dumps(text).encode()) == [event]
    assert told("msgpack").decode(msgpack.packb(array)) == [event]


@pytest.mark.parametrize("name", ["json", "msgpack"])
@pytest.mark.parametrize(("message", "event"), CONTROLS, ids=[type(pair[1]).__name__ for pair in CONTROLS])
def test_control_messages_are_maps_in_both(name, message, event):
    assert make_codec(name).decode(encode(name, message)) == [event]


def test_several_messagepack_values_in_one_message_come_in_order():
    payload = b"".join(msgpack.packb(array) for _, array, _ in PAIRS) + msgpack.packb(SUBSCRIBED)

    decoded = make_codec("msgpack").decode(payload)

    assert decoded == [event for _, _, event in PAIRS] + [CONTROLS[1][1]]


@pytest.mark.parametrize("name", ["json", "msgpack"])
def test_unknown_keys_and_types_are_ignored(name):
    codec = make_codec(name)

    assert codec.decode(encode(name, {"type": "weather", "sun": True})) == []
    assert codec.decode(encode(name, {**CONTROLS[2][0], "new": [1, 2]})) == [CONTROLS[2][1]]


def test_unknown_arrays_and_trailing_elements_are_ignored():
    codec = make_codec("msgpack")

    assert codec.decode(msgpack.packb([99, "x"])) == []
    assert codec.decode(msgpack.packb([1, 7, 3, 4, 9, [], [], 5, "new"])) == [
        events.Delta(7, 3, 4, 9, [], [], 5)
    ]
    assert codec.decode(b"") == []


def test_no_trades_at_all_are_a_message_too():
    text = {"type": "trades", "sub": 7, "epoch": 1, "first": 5, "last": 4, "trades": []}

    assert told("json").decode(json.dumps(text).encode()) == [events.Trades(7, 1, 5, 4, [])]
    assert make_codec("msgpack").decode(msgpack.packb([3, 7, 1, 5, 4, []])) == [events.Trades(7, 1, 5, 4, [])]


def test_json_data_of_an_unknown_subscription_is_ignored():
    assert make_codec("json").decode(json.dumps(PAIRS[0][0]).encode()) == []


BAD_JSON = [
    b"",
    b"[1,2]",
    b'{"type":7}',
    b'{"no":"type"}',
    b'{"type":"delta","sub":7}',
    b'{"type":"welcome","version":1,"heartbeat_ms":0}',
    b'{"type":"delta","sub":7,"first":1,"last":1,"ts":1,"bids":[["1.00"]],"asks":[],"crc":1}',
    b'{"type":"delta","sub":7,"first":1,"last":1,"ts":1,"bids":[["1.005","1"]],"asks":[],"crc":1}',
    b'{"type":"delta","sub":7,"first":1,"last":1,"ts":1,"bids":[["nan","1"]],"asks":[],"crc":1}',
    b'{"type":"delta","sub":7,"first":-1,"last":1,"ts":1,"bids":[],"asks":[],"crc":1}',
    b'{"type":"state","sub":7',
    '{"type":"state","sub":7,"state":"é"}'.encode("latin-1"),
]
BAD_MSGPACK = [
    msgpack.packb(7),
    msgpack.packb([]),
    msgpack.packb([1, 7]),
    msgpack.packb([1, 7, 3, 4, 9, ["x", 1], [], 5]),
    msgpack.packb([1, 7, 3, 4, 9, [1.5, 1], [], 5]),
    msgpack.packb([1, 7, 3, 4, 9, [1], [], 5]),
    msgpack.packb([2, 7, 3, 4, 9, [1, 2, 3], [], 5, "slow"]),
    msgpack.packb([1, -7, 3, 4, 9, [], [], 5]),
    msgpack.packb([5, 9, [7]]),
    msgpack.packb([1, 7, 4, 3, 9, [], [], 5]),
    msgpack.packb([3, 7, 1, 2, 3, [[2, 9, 100, 1, 1, "a"]]]),
    msgpack.packb([1, 7, 3, 4, 9, [], [], 5])[:-1],
    msgpack.packb({"type": "lost"}),
    msgpack.packb({"no": "type"}),
    b"\xc1",
]


@pytest.mark.parametrize("payload", BAD_JSON)
def test_bad_json_is_refused(payload):
    with pytest.raises(ProtocolViolation, match=f"of {len(payload)} bytes"):
        told("json").decode(payload)


@pytest.mark.parametrize("payload", BAD_MSGPACK)
def test_bad_messagepack_is_refused(payload):
    with pytest.raises(ProtocolViolation, match=f"of {len(payload)} bytes"):
        told("msgpack").decode(payload)


def test_the_error_names_the_value_of_a_batch():
    payload = msgpack.packb([5, 9, []]) + msgpack.packb([1, 7, "x", 4, 9, [], [], 5])

    with pytest.raises(ProtocolViolation, match=r"value 1 .*\[2\]: must be an integer, not a string"):
        make_codec("msgpack").decode(payload)


def test_commands_have_the_fields_of_the_contract():
    book = Request("book", "SIM:A", 20, 5, 100)

    assert protocol.subscribe(1, [book, book._replace(instrument="SIM:B")], {"SIM:A": (3, 4)}) == {
        "op": "subscribe",
        "id": 1,
        "channel": "book",
        "instruments": ["SIM:A", "SIM:B"],
        "depth": 20,
        "group": 5,
        "interval_ms": 100,
        "resume": {"SIM:A": [3, 4]},
    }
    assert protocol.subscribe(1, [Request("trades", "SIM:A")]) == {
        "op": "subscribe",
        "id": 1,
        "channel": "trades",
        "instruments": ["SIM:A"],
    }
    assert protocol.recover(2, 7, 0) == {"op": "recover", "id": 2, "sub": 7, "from": 0}
    assert protocol.unsubscribe(3, [7]) == {"op": "unsubscribe", "id": 3, "subs": [7]}
    assert protocol.ping(4) == {"op": "ping", "id": 4, "data": None}


@pytest.mark.parametrize("name", ["json", "msgpack"])
def test_commands_are_encoded_in_the_format(name):
    decode = json.loads if name == "json" else msgpack.unpackb

    assert decode(make_codec(name).encode({"op": "ping", "id": 1, "data": None})) == {
        "op": "ping",
        "id": 1,
        "data": None,
    }


def test_an_unknown_format_is_refused():
    with pytest.raises(ValueError, match="'xml'"):
        make_codec("xml")
