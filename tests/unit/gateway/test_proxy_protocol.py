from __future__ import annotations

import socket
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mdstream.gateway.proxy_protocol import MAX_REST, START_BYTES, read_length, read_source

SIGNATURE = bytes.fromhex("0d0a0d0a000d0a515549540a")
V4 = socket.inet_aton("203.0.113.7") + socket.inet_aton("10.0.0.1") + struct.pack("!HH", 4711, 80)
V6 = socket.inet_pton(socket.AF_INET6, "2001:db8::1") + bytes(16) + struct.pack("!HH", 4711, 80)
MAPPED = socket.inet_pton(socket.AF_INET6, "::ffff:203.0.113.7") + bytes(20)
TLV = b"\x01\x00\x02h2" + b"\x04\x00\x00"


def source(command: int, family: int, rest: bytes, length: int | None = None) -> bytes | None:
    start = SIGNATURE + struct.pack("!BBH", command, family, len(rest) if length is None else length)
    assert read_length(start) == len(rest)
    return read_source(start, rest)


@pytest.mark.parametrize(
    ("command", "family", "rest", "client"),
    [
        (0x21, 0x11, V4, V4[:4]),
        (0x21, 0x11, V4 + TLV, V4[:4]),
        (0x21, 0x21, V6, V6[:16]),
        (0x21, 0x21, MAPPED, V4[:4]),
        (0x20, 0x11, V4, None),
        (0x20, 0x00, b"", None),
        (0x21, 0x00, b"", None),
        (0x21, 0x00, TLV, None),
    ],
)
def test_the_source_is_the_client(command: int, family: int, rest: bytes, client: bytes | None) -> None:
    assert source(command, family, rest) == client


@pytest.mark.parametrize(
    ("command", "family", "rest", "said"),
    [
        (0x11, 0x11, V4, "0x11"),
        (0x22, 0x11, V4, "0x22"),
        (0x21, 0x12, V4, "family 0x12"),
        (0x21, 0x31, bytes(216), "family 0x31"),
        (0x21, 0x11, V4[:-1], "too short"),
        (0x21, 0x21, V4, "too short"),
        (0x21, 0x11, V4 + b"\x01", "cut off"),
        (0x21, 0x11, V4 + b"\x01\x00\x03h2", "cut off"),
        (0x21, 0x11, V4 + bytes(MAX_REST), f"at most {MAX_REST}"),
    ],
)
def test_what_is_not_as_it_must_be_is_refused(command: int, family: int, rest: bytes, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        source(command, family, rest)


@pytest.mark.parametrize("start", [b"PROXY TCP4 1.1.1", b"GET /v1/stream H", SIGNATURE, bytes(16), b""])
def test_anything_else_is_no_header(start: bytes) -> None:
    with pytest.raises(ValueError, match="version 2"):
        read_length(start)


@given(st.binary(min_size=4, max_size=4), st.binary(max_size=80))
def test_any_bytes_give_an_address_or_a_refusal(end: bytes, rest: bytes) -> None:
    start = SIGNATURE + end
    assert len(start) == START_BYTES
    try:
        read_length(start)
        found = read_source(start, rest)
    except ValueError:
        return
    assert found is None or len(found) in (4, 16)
