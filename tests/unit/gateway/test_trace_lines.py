"""What a trace says of messages, and what it never says."""

from __future__ import annotations

import json
import zlib
from typing import Any

import msgpack
import pytest

from mdstream.gateway import trace_lines
from mdstream.gateway.trace_lines import WHOLE_BYTES

TEXT, BINARY = 1, 2


def frame(opcode: int, payload: bytes, *, compressed: bool = False) -> bytes:
    size = len(payload)
    head = bytes([0x80 | (0x40 if compressed else 0) | opcode])
    if size < 126:
        return head + bytes([size]) + payload
    if size < 65_536:
        return head + b"\x7e" + size.to_bytes(2) + payload
    return head + b"\x7f" + size.to_bytes(8) + payload


def packed(payload: bytes) -> bytes:
    deflater = zlib.compressobj(wbits=-15)
    return (deflater.compress(payload) + deflater.flush(zlib.Z_SYNC_FLUSH)).removesuffix(b"\x00\x00\xff\xff")


def lines(data: bytes, *, bodies: bool = False) -> list[dict[str, Any]]:
    return [trace_lines.sent(each, bodies=bodies) for each in trace_lines.frames(data)]


DELTA = {
    "type": "delta",
    "sub": 7,
    "first": 3,
    "last": 5,
    "ts": 9,
    "bids": [["1.00", "2"]],
    "asks": [],
    "crc": 1,
}
ARRAY = [1, 7, 3, 5, 9, [100, 2], [], 1]


@pytest.mark.parametrize(
    ("opcode", "payload"), [(TEXT, json.dumps(DELTA).encode()), (BINARY, msgpack.packb(ARRAY))]
)
@pytest.mark.parametrize("compressed", [False, True])
def test_a_message_is_told_by_its_type_and_numbers(opcode: int, payload: bytes, compressed: bool) -> None:
    whole = frame(opcode, packed(payload) if compressed else payload, compressed=compressed)
    (line,) = lines(whole)
    more = {"compressed": True} if compressed else {}
    expected = {"type": "delta", "sub": 7, "first": 3, "last": 5, "ts": 9}
    assert line == {"event": "out", "bytes": len(whole), **expected, **more}
    assert lines(whole, bodies=True)[0]["body"] == (DELTA if opcode == TEXT else ARRAY)


def test_a_write_of_several_frames_is_a_line_for_each() -> None:
    data = (
        frame(TEXT, b'{"type":"pong","id":1}')
        + frame(9, b"")
        + frame(8, b"\x03\xe8")
        + frame(TEXT, b"x" * 200)
    )
    assert [(each["type"], each["bytes"]) for each in lines(data)] == [
        ("pong", 24),
        ("ping", 2),
        ("close", 4),
        ("?", 204),
    ]


def test_a_long_message_is_told_by_its_beginning_and_its_end() -> None:
    levels = [["64123.10", "0.50000000"]] * 4_000
    book = {"type": "snapshot", "sub": 7, "epoch": 2, "seq": 11, "ts": 5, "bids": levels, "asks": levels}
    text = json.dumps({**book, "crc": 3, "reason": "slow"}, separators=(",", ":")).encode()
    assert len(text) > WHOLE_BYTES
    told = {"event": "out", "type": "snapshot", "sub": 7, "epoch": 2, "seq": 11, "ts": 5, "reason": "slow"}
    assert lines(frame(TEXT, text), bodies=True) == [{**told, "bytes": len(text) + 10}]
    array = msgpack.packb([2, 7, 2, 11, 5, [1] * 30_000, [], 3, "slow"])
    del told["reason"]
    assert lines(frame(BINARY, array)) == [{**told, "bytes": len(array) + 4}]
    small = packed(text)
    assert lines(frame(TEXT, small, compressed=True))[0]["seq"] == 11, (
        "no more of it is unpacked than is looked at"
    )


def test_commands_are_told_without_secrets() -> None:
    command = {"op": "auth", "id": 4, "token": "eyJhbGciOi"}
    for payload, is_text in ((json.dumps(command).encode(), True), (msgpack.packb(command), False)):
        line = trace_lines.received(payload, is_text=is_text, bodies=True)
        assert (line["op"], line["id"], line["body"]["token"]) == ("auth", 4, "(hidden)")
        assert "eyJ" not in str(line)
    several = msgpack.packb({"op": "ping"}) + msgpack.packb(command)
    line = trace_lines.received(several, is_text=False, bodies=True)
    assert (line["op"], line["commands"]) == ("several", 2) and "eyJ" not in str(line)


def test_a_subscribe_names_its_first_instruments() -> None:
    names = [f"SIM:{number}" for number in range(9)]
    command = {"op": "subscribe", "channel": "book", "instruments": names, "depth": 20}
    line = trace_lines.received(json.dumps(command).encode(), is_text=True, bodies=False)
    assert (line["instruments"], line["names"], line["depth"]) == (9, names[:5], 20)


@pytest.mark.parametrize(
    "payload", [b"", b"\xff", b"{", b"[[[[", b"[" * 20_000, b'"text"', b"\xc1", b"5", b"[]", b"{}"]
)
def test_whatever_a_client_sends_a_trace_tells_of_it(payload: bytes) -> None:
    for is_text in (True, False):
        line = trace_lines.received(payload, is_text=is_text, bodies=False)
        assert line["bytes"] == len(payload) and "op" in line
        assert lines(frame(TEXT if is_text else BINARY, payload[:WHOLE_BYTES]))[0]["event"] == "out"
        assert lines(frame(TEXT if is_text else BINARY, payload, compressed=True))[0]["compressed"]
