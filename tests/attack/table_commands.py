"""Commands that are wrong, hostile or not the sender's to give, in both formats."""

from __future__ import annotations

import json
from typing import Any

import msgpack

from attack.rows import STAYS, Expect, SessionRow, refuses
from support.websocket import BINARY, TEXT, frame

BOOK: dict[str, Any] = {"op": "subscribe", "channel": "book", "instruments": ["SIM:A"]}
BOARD: dict[str, Any] = {"op": "subscribe", "channel": "board", "instruments": ["SIM:*"]}
LIST: dict[str, Any] = {**BOARD, "channel": "instruments"}
CANDLES: dict[str, Any] = {"op": "subscribe", "channel": "candles", "instruments": ["SIM:A"], "span": "1m"}
PING: dict[str, Any] = {"op": "ping"}
MAX_SAFE = 2**53 - 1


def text(name: str, payload: bytes, expect: Expect, **more: Any) -> SessionRow:
    return SessionRow(name=name, frames=frame(TEXT, payload), expect=expect, **more)


def binary(name: str, payload: bytes, expect: Expect, **more: Any) -> SessionRow:
    return SessionRow(name=name, frames=frame(BINARY, payload), expect=expect, format="msgpack", **more)


def both(name: str, command: Any, expect: Expect, **more: Any) -> list[SessionRow]:
    return [
        text(f"{name}, JSON", json.dumps(command).encode(), expect, **more),
        binary(f"{name}, MessagePack", msgpack.packb(command), expect, **more),
    ]


BAD = refuses("bad_command")
VALUE = refuses("bad_value")
NO_AUTH = Expect(errors=("unavailable", "bad_value", "not_entitled"), close=(4401,))
EITHER = Expect(stays=True, errors=("bad_value", "bad_command"))
NO_OP = refuses("unknown_op", "bad_value", "bad_command")
UNKNOWN = refuses("unknown_instrument", "not_entitled")

JSON_ROWS = [
    text("no JSON", b"{", BAD),
    text("two values", b'{"op":"ping"}{"op":"ping"}', BAD),
    text("a list", b"[]", BAD),
    text("null", b"null", BAD),
    text("a number", b"7", BAD),
    text("10,000 open brackets", b"[" * 10_000, BAD),
    text("10,000 open braces", b'{"a":' * 10_000, BAD),
    text("a key twice", b'{"op":"ping","op":"subscribe"}', BAD),
    text("a key twice, spelt with an escape", b'{"op":"ping","\\u006fp":"ping"}', BAD),
    text("NaN", b'{"op":"ping","data":NaN}', BAD),
    text("Infinity", b'{"op":"ping","data":-Infinity}', BAD),
    text("1e999", b'{"op":"ping","data":1e999}', BAD),
    text("a lone surrogate", b'{"op":"ping","data":"\\ud800"}', BAD),
    text("a lone surrogate as a key", b'{"op":"ping","data":{"\\uDC00":1}}', BAD),
    text("a lone surrogate as id", b'{"op":"ping","id":"\\udfff"}', BAD),
    text("a byte order mark", b'\xef\xbb\xbf{"op":"ping"}', BAD),
    text("a control character in a string", b'{"op":"p\ning"}', BAD),
    text("a comment", b'{"op":"ping"/**/}', BAD),
    text("a trailing comma", b'{"op":"ping",}', BAD),
    text("a number of 60,000 digits", b'{"op":"ping","data":' + b"9" * 60_000 + b"}", BAD),
    text("a fraction of 60,000 digits", b'{"op":"ping","data":0.' + b"9" * 60_000 + b"}", STAYS),
    text("an id of 2^64", b'{"op":"ping","id":18446744073709551616}', VALUE),
    text("an id of 2^64 with an unknown op", b'{"op":"nope","id":18446744073709551616}', NO_OP),
    text("an id of -2^63 - 1 with an error", b'{"op":"nope","id":-9223372036854775809}', NO_OP),
    text("an id of 4,000 digits with an error", b'{"op":"nope","id":' + b"9" * 4_000 + b"}", NO_OP),
    text(
        "an id of 4,000 digits",
        b'{"op":"unsubscribe","subs":[7],"id":' + b"9" * 4_000 + b"}",
        VALUE,
    ),
    text("an id of 60,000 characters", b'{"op":"ping","id":"' + b"x" * 60_000 + b'"}', STAYS),
    text("an id that is a fraction", b'{"op":"ping","id":1.5}', VALUE),
    text("an id that is a map", b'{"op":"ping","id":{}}', VALUE),
    text("60,000 blanks", b" " * 60_000 + b'{"op":"ping"}', STAYS),
    text("nested 30,000 deep in data", b'{"op":"ping","data":' + b"[" * 30_000 + b"]" * 30_000 + b"}", refuses("bad_command", "bad_value")),
    text("nested 500 deep in data", b'{"op":"ping","data":' + b"[" * 500 + b"]" * 500 + b"}", STAYS),
    text("10,000 equal keys", b'{"op":"ping","data":{' + b",".join([b'"a":1'] * 10_000) + b"}}", BAD),
    text("a depth written as a float", b'{"op":"subscribe","channel":"book","instruments":["SIM:A"],"depth":20.5}', VALUE),
    text("a depth written as text", b'{"op":"subscribe","channel":"book","instruments":["SIM:A"],"depth":"20"}', VALUE),
]  # fmt: skip

MSGPACK_ROWS = [
    binary("the unused byte", b"\xc1", BAD),
    binary("nil", b"\xc0", BAD),
    binary("an empty map", b"\x80", BAD),
    binary("a map cut short", b"\x82\xa2op", BAD),
    binary("an array of 2^32 - 1", b"\xdd\xff\xff\xff\xff", BAD),
    binary("a map of 2^32 - 1", b"\xdf\xff\xff\xff\xff", BAD),
    binary("text of 2^32 - 1 bytes", b"\xdb\xff\xff\xff\xff", BAD),
    binary("binary of 2^32 - 1 bytes", b"\xc6\xff\xff\xff\xff", BAD),
    binary("an extension of 2^32 - 1 bytes", b"\xc9\xff\xff\xff\xff\x01", BAD),
    binary("2,000 open arrays", b"\x91" * 2_000, BAD),
    binary("60,000 open arrays", b"\x91" * 60_000, BAD),
    binary("60,000 open maps", b"\x81\xa1a" * 20_000, BAD),
    binary("text that is no UTF-8", b"\x81\xa2op\xa2\xff\xfe", BAD),
    binary("a number as a key", msgpack.packb({1: 2}), BAD),
    binary("a map as a key", b"\x81\x80\x01", BAD),
    binary("a key twice, MessagePack", b"\x82\xa2op\xa4ping\xa2op\xa4ping", BAD),
    binary("op as bytes", msgpack.packb({"op": b"ping"}), refuses("unknown_op")),
    binary("an extension", b"\xd4\x05\x00", BAD),
    binary("a time stamp", b"\xd6\xff\x00\x00\x00\x01", BAD),
    binary("a time stamp in data", b"\x82\xa2op\xa4ping\xa4data\xd6\xff\x00\x00\x00\x01", EITHER),
    binary("a time stamp beyond all time", b"\x82\xa2op\xa4ping\xa4data\xc7\x0c\xff" + b"\xff" * 12, EITHER),
    binary("a time stamp as id", b"\x82\xa2op\xa4ping\xa2id\xd6\xff\x00\x00\x00\x01", refuses("bad_value", "bad_command")),
    binary("an extension in data", b"\x82\xa2op\xa4ping\xa4data\xd4\x05\x00", EITHER),
    binary("NaN in data", msgpack.packb({"op": "ping", "data": float("nan")}), Expect(stays=True, errors=("bad_value",))),
    binary("bytes in data", msgpack.packb({"op": "ping", "data": b"\xff" * 100}), STAYS),
    binary("an id of 2^64 - 1", msgpack.packb({"op": "nope", "id": 2**64 - 1}), refuses("unknown_op", "bad_value")),
    binary("an id of -2^63", msgpack.packb({"op": "nope", "id": -(2**63)}), refuses("unknown_op", "bad_value")),
    binary("bytes as id", msgpack.packb({"op": "nope", "id": b"x"}), refuses("unknown_op", "bad_value")),
    binary("a depth of 2^64 - 1", msgpack.packb({**BOOK, "depth": 2**64 - 1}), VALUE),
    binary("a command, then half a command", msgpack.packb(PING) + b"\x82\xa2op", BAD),
    binary("1,000 empty maps", b"\x80" * 1_000, Expect(errors=("bad_command",), close=(4400,))),
    binary("60,000 small numbers", b"\x01" * 60_000, Expect(close=(4400, 4429))),
]  # fmt: skip

COMMAND_ROWS = [
    *both("no op", {"channel": "book"}, BAD),
    *both("an unknown op", {"op": "sudo"}, refuses("unknown_op")),
    *both("op as a list", {"op": ["ping"]}, refuses("unknown_op")),
    *both("op of 60,000 characters", {"op": "x" * 60_000}, refuses("unknown_op")),
    *both("an unknown field", {"op": "ping", "admin": True}, BAD),
    *both("an unknown channel", BOOK | {"channel": "orders"}, refuses("unknown_channel")),
    *both("a channel that is a map", BOOK | {"channel": {}}, refuses("unknown_channel")),
    *both("no instruments", BOOK | {"instruments": []}, VALUE),
    *both("instruments as text", BOOK | {"instruments": "SIM:A"}, VALUE),
    *both("an instrument twice", BOOK | {"instruments": ["SIM:A", "SIM:A"]}, VALUE),
    *both("an instrument that is a number", BOOK | {"instruments": [7]}, VALUE),
    *both("2,000 instruments", BOOK | {"instruments": [f"SIM:X{i}" for i in range(2_000)]}, VALUE),
    *both("an unknown instrument", BOOK | {"instruments": ["SIM:NONE"]}, UNKNOWN),
    *both("an unknown one among known ones", BOOK | {"instruments": ["SIM:A", "SIM:NONE"]}, UNKNOWN),
    *both("an instrument without a colon", BOOK | {"instruments": ["SIM"]}, UNKNOWN),
    *both("a lower-case venue", BOOK | {"instruments": ["sim:A"]}, UNKNOWN),
    *both("a wildcard of NATS", BOOK | {"instruments": ["SIM:>"]}, UNKNOWN),
    *both("another wildcard of NATS", BOOK | {"instruments": ["SIM:*"]}, UNKNOWN),
    *both("a subject of JetStream", BOOK | {"instruments": ["$JS.API:X"]}, UNKNOWN),
    *both("a line end in a symbol", BOOK | {"instruments": ["SIM:A\r\nPUB x 0"]}, UNKNOWN),
    *both("an escape sequence in a symbol", BOOK | {"instruments": ["SIM:\x1b[2J"]}, UNKNOWN),
    *both("a symbol of 60,000 characters", BOOK | {"instruments": ["SIM:" + "A" * 60_000]}, UNKNOWN),
    *both("a symbol written from right to left", BOOK | {"instruments": ["SIM:\u202eA"]}, UNKNOWN),
    *both("a depth that is not served", BOOK | {"depth": 7}, VALUE),
    *both("a negative depth", BOOK | {"depth": -1}, VALUE),
    *both("a depth of true", BOOK | {"depth": True}, VALUE),
    *both("a group of 0", BOOK | {"group": 0}, VALUE),
    *both("a group of 2^53", BOOK | {"group": 2**53}, VALUE),
    *both("an interval that is not served", BOOK | {"interval_ms": 1}, VALUE),
    *both("trades with a depth", {**BOOK, "channel": "trades", "depth": 5}, VALUE),
    *both("trades with an interval", {**BOOK, "channel": "trades", "interval_ms": 100}, VALUE),
    *both("a ticker with a group", {**BOOK, "channel": "ticker", "group": 5}, VALUE),
    *both("a resume of something else", BOOK | {"resume": {"SIM:B": [1, 1]}}, VALUE),
    *both("a resume that is no pair", BOOK | {"resume": {"SIM:A": [1]}}, VALUE),
    *both("a resume at negative numbers", BOOK | {"resume": {"SIM:A": [-1, -1]}}, VALUE),
    *both("two figures", BOOK | {"group_digits": 2}, VALUE),
    *both("figures and a group", BOOK | {"group_digits": 4, "group": 10}, VALUE),
    *both("2^53 figures", BOOK | {"group_digits": 2**53}, VALUE),
    *both("candles of a span that is none", CANDLES | {"span": "2m"}, VALUE),
    *both("candles of a span of 60,000 characters", CANDLES | {"span": "1" * 60_000}, VALUE),
    *both("more history than there may be", CANDLES | {"history": 1_001}, VALUE),
    *both("2^53 candles", CANDLES | {"history": 2**53}, VALUE),
    *both("candles of nothing", CANDLES | {"instruments": []}, VALUE),
    *both("candles twice", CANDLES | {"instruments": ["SIM:A", "SIM:A"]}, VALUE),
    *both("a board of nothing", BOARD | {"instruments": []}, VALUE),
    *both("a board of a number", BOARD | {"instruments": [7]}, VALUE),
    *both("a pattern with two stars", BOARD | {"instruments": ["SIM:*A*"]}, VALUE),
    *both("a wildcard of NATS as a pattern", LIST | {"instruments": [">"]}, VALUE),
    *both("a pattern of 60,000 characters", LIST | {"instruments": ["SIM:" + "A" * 60_000]}, VALUE),
    *both("33 patterns with stars", BOARD | {"instruments": [f"SIM:{i}*" for i in range(33)]}, VALUE),
    *both("a board with a depth", BOARD | {"depth": 5}, VALUE),
    *both("a board every 20 ms", BOARD | {"interval_ms": 20}, VALUE),
    *both("a board with the resume of a book", BOARD | {"resume": {"SIM:A": [1, 1]}}, VALUE),
    *both("a board resumed at negative numbers", BOARD | {"resume": [-1, -1]}, VALUE),
    *both("a list that is resumed", LIST | {"resume": [1, 1]}, VALUE),
    *both("a recover of nothing", {"op": "recover", "sub": 1, "from": 0}, refuses("unknown_sub")),
    *both("a recover of somebody else's subscription", {"op": "recover", "sub": 4, "from": 0}, refuses("unknown_sub")),
    *both("a recover of 2^53 - 1", {"op": "recover", "sub": MAX_SAFE, "from": 0}, refuses("unknown_sub")),
    *both("a recover without from", {"op": "recover", "sub": 1}, BAD),
    *both("an unsubscribe of all", {"op": "unsubscribe", "subs": list(range(1_000))}, refuses("unknown_sub")),
    *both("an unsubscribe of nothing", {"op": "unsubscribe", "subs": []}, VALUE),
    *both("an unsubscribe of one twice", {"op": "unsubscribe", "subs": [1, 1]}, VALUE),
    *both("auth without a token", {"op": "auth"}, BAD),
    *both("auth with a number", {"op": "auth", "token": 7}, VALUE),
    *both("a wrong token in auth", {"op": "auth", "token": "x"}, NO_AUTH),
    *both("60,000 characters of data", {"op": "ping", "data": "x" * 60_000}, STAYS),
]  # fmt: skip

OWN = {"op": "subscribe", "channel": "book", "instruments": ["SIM:QUIET"], "id": 1}
LATER_ROWS = [
    SessionRow(
        name="a recover beyond all numbers",
        frames=frame(TEXT, b'{"op":"recover","sub":1,"from":9007199254740991}'),
        expect=Expect(stays=True, errors=("unknown_sub",)),
        before=(OWN,),
    ),
    SessionRow(
        name="a subscription of another group, 200 times",
        frames=b"".join(frame(TEXT, json.dumps({**OWN, "group": group}).encode()) for group in range(2, 202)),
        expect=Expect(stays=True, errors=("limit_subscriptions", "rate_limited", "bad_value")),
        before=(OWN,),
    ),
]

ROWS = JSON_ROWS + MSGPACK_ROWS + COMMAND_ROWS + LATER_ROWS
