"""All fuzz targets: the compiled decoders, and the readers in Python; each with seeds from the golden vectors.

A target is called with any bytes. It raises where something is wrong: an error that is not documented, two readers that disagree.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import msgpack

from doubles import fuzz_targets
from fuzz import entry, readers
from support.websocket import BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT, close_frame, frame

VECTORS = Path(__file__).parents[1] / "vectors"
REGRESSIONS = Path(__file__).parent / "regressions"
"""A folder for each target, with what once was found; replayed in each test run."""


@dataclass(frozen=True)
class FuzzTarget:
    name: str
    seeds: Callable[[], Iterator[bytes]]
    python: Callable[[bytes], None] | None = None
    """None: compiled, in ``doubles.fuzz_targets``."""
    core: bool = False
    """Whether a target in Python is about compiled code, whose coverage guides the fuzzer then, and not about a reader in Python."""
    longest: int = 512
    guarded: bool = False
    """Whether what it reads is a Python object: a sanitizer knows its end only if Python takes its memory from malloc, which is slower."""

    @property
    def is_reader(self) -> bool:
        """Whether it is about code in Python, which atheris instruments."""
        return self.python is not None and not self.core

    def run(self, data: bytes) -> None:
        if self.python is not None:
            self.python(data)
        else:
            fuzz_targets.run(self.name, data)

    def regressions(self) -> list[Path]:
        return sorted((REGRESSIONS / self.name).glob("*"))


@cache
def vectors(name: str) -> Any:
    return json.loads((VECTORS / f"{name}.json").read_text())


def hexes(value: Any) -> Iterator[bytes]:
    """Every text in a vector that is hexadecimal: payloads."""
    if isinstance(value, dict):
        for item in value.values():
            yield from hexes(item)
    elif isinstance(value, list):
        for item in value:
            yield from hexes(item)
    elif isinstance(value, str) and len(value) > 3:
        try:
            yield bytes.fromhex(value)
        except ValueError:
            return


def feed_seeds() -> Iterator[bytes]:
    for payload in hexes(vectors("feed")):
        if len(payload) < 400:
            for stream in range(5):
                yield bytes([stream]) + payload


def instrument_seeds() -> Iterator[bytes]:
    book = msgpack.packb([1, 1, 1, 1, 1, [5, 1], [6, 1]])
    more = msgpack.packb([1, 1, 2, 2, 1, [4, 1], [7, 0]])
    snap = msgpack.packb([2, 1, 3, 1, [5, 1], [6, 1]])
    trade = msgpack.packb([3, 1, 1, 1, 5, 1, 1, "x"])
    yield b"".join(
        bytes([op, len(p)]) + p
        for op, p in ((5, b""), (0, book), (0, more), (2, snap), (4, snap), (1, trade))
    )
    yield b"".join(bytes([op, len(p)]) + p for op, p in ((3, snap), (0, more), (1, trade), (1, trade)))


def frame_seeds() -> Iterator[bytes]:
    whole = (
        frame(TEXT, b'{"op":"ping"}'),
        frame(TEXT, '{"a":"h\u20ac\U0001f600"}'.encode(), fin=False)
        + frame(PING, b"x")
        + frame(CONTINUATION, b""),
        frame(BINARY, b"\x81\xa2op\xa4ping" * 20),
        frame(BINARY, b"x" * 300),
        close_frame(1000, b"bye"),
        frame(CLOSE),
        frame(TEXT, b"packed", rsv=4),
    )
    for each in whole:
        for head in (b"\x00\x00", b"\x01\x02"):
            yield head + each


def inflate_seeds() -> Iterator[bytes]:
    import zlib

    for payload in (b"", b"{}", b"a" * 300, bytes(range(256)), b'{"op":"subscribe","channel":"book"}' * 3):
        for level in (0, 1, 9):
            packer = zlib.compressobj(level, zlib.DEFLATED, -15)
            yield (packer.compress(payload) + packer.flush(zlib.Z_SYNC_FLUSH))[:-4]


def upgrade_seeds() -> Iterator[bytes]:
    from attack.wire import request

    for headers in (
        {},
        {"Origin": "http://localhost"},
        {"Sec_WebSocket_Protocol": "mdstream.v1.json, bearer.abc"},
    ):
        yield request(**headers).removesuffix(b"\r\n\r\n")
    yield request(Sec_WebSocket_Extensions="permessage-deflate; client_max_window_bits").removesuffix(
        b"\r\n\r\n"
    )


def key_seeds() -> Iterator[bytes]:
    for command in command_maps():
        yield b"\x00" + json.dumps(command).encode()
        yield b"\x01" + msgpack.packb(command)


def nats_seeds() -> Iterator[bytes]:
    yield b"\x00INFO {}\r\nMSG md.SIM.A.book 7 5\r\nhello\r\nPING\r\n"
    yield b"\x05HMSG md.SIM.A.book 7 reply 12 17\r\nNATS/1.0\r\n\r\nhello\r\n+OK\r\n"
    yield b"\x1fMSG a 8 0\r\n\r\nMSG b 7 r 2\r\nhi\r\n-ERR 'x'\r\nPONG\r\n"


def receiver_seeds() -> Iterator[bytes]:
    book = msgpack.packb([1, 1, 1, 1, 1, [5, 1], [6, 1]])
    more = msgpack.packb([1, 1, 2, 2, 1, [4, 1], [7, 0]]) + msgpack.packb([1, 1, 3, 3, 1, [4, 2], []])
    trades = msgpack.packb([3, 1, 1, 1, 5, 1, 1, "x"]) + msgpack.packb([3, 1, 2, 1, 5, 1, 1, 7])
    long = msgpack.packb([1, 1, 4, 4, 2**50, [2**50, 2**50], [2**51, 2**51]])
    snap = msgpack.packb([2, 1, 3, 1, [5, 1, 4, 2], [6, 1]])
    for cuts in (3, 31):
        yield bytes([cuts]) + b"".join(
            b"MSG md.SIM.X.%s 7 %d\r\n%s\r\n" % (stream, len(payload), payload)
            for stream, payload in (
                (b"book", book),
                (b"book", more),
                (b"trade", trades),
                (b"snap", snap),
                (b"book", long),
                (b"status", b""),
            )
        )


def decimal_seeds() -> Iterator[bytes]:
    """An exponent of -2, unless it must be another; text, Decimals, integers, levels; then such as are too long for Python's integers."""
    for text in (
        "64123.10",
        "-0.05",
        "90071992547409.91",
        "-9007199254740991000",
        "64123.105",
        "\u0661.5",
        "1e5",
    ):
        yield b"\x10\x00" + text.encode()
        yield b"\x15\x01" + text.encode()
    for text in ("1E-7", "-1.5E+3", "0E+9999", "NaN", "-Infinity", "1E+999999"):
        yield b"\x0a\x01" + text.encode()
    yield b"\x10\x00\xff"
    yield b"\x10\x80" + b"10"
    yield b"\x10\x81" + b"1" * 40
    for number in (0, 64123, -1200, 2**53 - 1, -(2**63)):
        yield b"\x0c\x02" + number.to_bytes(8, "little", signed=True)
    yield b"\x10\xfe\x01"
    for pairs in (
        [["64123.10", "1.5"], ["64123", 2]],
        [["1", "2", "3"]],
        [[1.5, None]],
        [["1"]],
        {"12": 1},
        [True, []],
    ):
        yield b"\x10\x17" + json.dumps(pairs).encode()


def encoder_seeds() -> Iterator[bytes]:
    kinds = {1: 0, 2: 1, 3: 2}
    for payload in hexes(vectors("feed")):
        if len(payload) < 250 and len(payload) > 1 and payload[1] in kinds:
            yield bytes([kinds[payload[1]], 16, 10]) + payload
    for trade_id in ('a"\\\n\x00\u20ac', -(2**63), 2**64 - 1):
        yield b"\x02\x00\x24" + msgpack.packb([3, 1, 1, 1, -(2**53) + 1, 2**53 - 1, 2, trade_id])


def session_seeds() -> Iterator[bytes]:
    head = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
    hello = (
        frame(TEXT, b"hello")
        + frame(PING, b"x")
        + frame(TEXT, b"p", fin=False)
        + frame(CONTINUATION, b"ause")
    )
    packed = frame(TEXT, bytes.fromhex("ca48cdc9c90700"), rsv=4)
    for flags in range(16):
        yield bytes([flags, 3]) + head + hello + frame(PONG) + close_frame(1000, b"bye")
        yield bytes([flags, 7]) + head + packed + frame(BINARY, b"x" * 130) + frame(TEXT, b"\xff")


def command_maps() -> Iterator[dict[str, Any]]:
    book = {"op": "subscribe", "channel": "book", "instruments": ["SIM:A", "SIM:B"]}
    yield book | {"id": 1, "depth": 20, "group": 5, "interval_ms": 100}
    yield book | {"resume": {"SIM:A": [1000, 7]}}
    yield {"op": "unsubscribe", "subs": [1, 2, 3]}
    yield {"op": "recover", "sub": 1, "from": 0, "id": "x"}
    events = {"op": "subscribe", "channel": "events", "topics": ["user", "desk.a"]}
    yield events | {"id": 2, "device": "phone", "resume": {"desk.a": [1000, 7]}}
    yield {"op": "ack", "sub": 1, "seq": 7}
    yield {"op": "publish", "id": 3, "topic": "desk.a", "event": "x", "data": {"a": [1, None]}, "key": "k"}
    yield {"op": "auth", "token": "eyJhbGciOiJIUzI1NiJ9.e30.x"}
    yield {"op": "ping", "data": [None, True, 1.5, {"a": "\u20ac"}]}


def json_seeds() -> Iterator[bytes]:
    for command in command_maps():
        yield json.dumps(command).encode()


def msgpack_seeds() -> Iterator[bytes]:
    for command in command_maps():
        yield msgpack.packb(command)


def extension_seeds() -> Iterator[bytes]:
    yield b"permessage-deflate; client_max_window_bits"
    yield b'permessage-deflate; server_max_window_bits="10"; server_no_context_takeover, x-other; a=b'


def request_seeds() -> Iterator[bytes]:
    from attack.wire import request

    yield request()
    yield request("/v1/stream?token=abc", Origin="https://a.example", Authorization="Bearer abc")
    yield b"OPTIONS * HTTP/1.1\r\nHost: x"


def token_seeds() -> Iterator[bytes]:
    from attack import forge

    good = {"iat": int(readers.NOW_S), "exp": int(readers.NOW_S) + 600}
    yield forge.token(**good).encode()
    yield forge.token(header={"alg": "EdDSA", "kid": "x", "typ": "JWT"}, **good).encode()
    yield forge.token("HS256", **good).encode()


def claim_seeds() -> Iterator[bytes]:
    yield b'{"grants":[{"channels":["book","ticker"],"instruments":["SIM:*","A:?-USD"],"depth":20,"interval_ms":100}]}'
    yield b'{"grants":[{"channels":["*"],"instruments":["*"],"delay_ms":900000}]}'
    yield b'{"grants":[{"channels":["events","map"],"topics":["desk.*","user.a%40b"],"read":false,"publish":true}]}'


def event_seeds() -> Iterator[bytes]:
    for vector in vectors("events")["bus"]:
        yield bytes.fromhex(vector["msgpack"])
        yield vector["json"].encode()
    data = [None, True, 1.5, -1, 2**40, "\u20ac", {"a": [{}]}]
    yield msgpack.packb({"type": "x", "data": data})
    yield json.dumps({"type": "x", "data": data, "sender": None, "more": 1}).encode()


def jwks_seeds() -> Iterator[bytes]:
    from attack import forge

    key = forge.jwk_of(forge.keys())
    yield json.dumps({"keys": [key]}).encode()
    yield json.dumps(
        {"keys": [key | {"kid": "b"}, {"kty": "oct", "k": "AAAA"}, {"kty": "RSA", "n": "AQAB", "e": "AQAB"}]}
    ).encode()


def proxy_seeds() -> Iterator[bytes]:
    start = b"\r\n\r\n\x00\r\nQUIT\n"
    yield start + b"\x21\x11\x00\x0c" + bytes(range(12))
    yield start + b"\x21\x21\x00\x28" + bytes(range(36)) + b"\x01\x00\x01h"
    yield start + b"\x20\x00\x00\x00"


def forwarded_seeds() -> Iterator[bytes]:
    yield b'GET / HTTP/1.1\r\nX-Forwarded-For: 1.2.3.4, 10.0.0.1\r\nForwarded: for=1.2.3.4;proto=https, for="[::1]:80"'
    yield b"GET / HTTP/1.1\r\nForwarded: for=unknown, FOR=_hidden\r\nx-forwarded-for: 2001:db8::1, ::ffff:1.2.3.4"


TARGETS: dict[str, FuzzTarget] = {
    each.name: each
    for each in (
        FuzzTarget("feed_decoder", feed_seeds),
        FuzzTarget("instrument", instrument_seeds),
        FuzzTarget("frames", frame_seeds),
        FuzzTarget("inflate", inflate_seeds),
        FuzzTarget("upgrade_request", upgrade_seeds, guarded=True),
        FuzzTarget("duplicate_keys", key_seeds, guarded=True),
        FuzzTarget("nats_scanner", nats_seeds, longest=300),
        FuzzTarget("receiver", receiver_seeds),
        FuzzTarget("decimals", decimal_seeds, longest=128, guarded=True),
        FuzzTarget("encoders", encoder_seeds, longest=256),
        FuzzTarget("session", session_seeds),
        FuzzTarget("entry", entry.entry_seeds, entry.answer_entry, core=True, guarded=True),
        FuzzTarget("counted_clients", entry.count_seeds, entry.count_clients, core=True, longest=128),
        FuzzTarget("commands_json", json_seeds, readers.read_json_commands),
        FuzzTarget("commands_msgpack", msgpack_seeds, readers.read_msgpack_commands),
        FuzzTarget("extensions", extension_seeds, readers.read_extensions),
        FuzzTarget("upgrades", request_seeds, readers.answer_upgrade, longest=1024),
        FuzzTarget("admin_requests", request_seeds, readers.answer_admin, longest=1024),
        FuzzTarget("tokens", token_seeds, readers.read_token, longest=1024),
        FuzzTarget("claims", claim_seeds, readers.read_claim),
        FuzzTarget("events", event_seeds, readers.read_event),
        FuzzTarget("jwks", jwks_seeds, readers.read_jwks, longest=1024),
        FuzzTarget("proxy_header", proxy_seeds, readers.read_proxy_header, longest=128),
        FuzzTarget("forwarded", forwarded_seeds, readers.read_forwarded),
    )
}
