"""WebSocket messages from frames: RFC 6455 sections 5.4, 7.4, 8.1, without a socket."""

from __future__ import annotations

import itertools

import pytest
from doubles.message_assembler import Assembler, parse_close
from hypothesis import given
from hypothesis import strategies as st

CONTINUATION, TEXT, BINARY = 0, 1, 2


def test_a_whole_message_in_one_frame():
    assembler = Assembler()
    assert assembler.feed(TEXT, b"hello") == (TEXT, b"hello")
    assert assembler.feed(BINARY, b"\xff") == (BINARY, b"\xff")
    assert assembler.feed(BINARY, b"") == (BINARY, b"")


def test_fragments():
    assembler = Assembler()
    assert assembler.feed(TEXT, b"he", fin=False) is None
    assert assembler.feed(CONTINUATION, b"", fin=False) is None
    assert assembler.feed(CONTINUATION, b"llo") == (TEXT, b"hello")
    assert assembler.feed(BINARY, b"", fin=False) is None
    assert assembler.feed(CONTINUATION, b"") == (BINARY, b"")


@pytest.mark.parametrize(
    "frames",
    [
        [(CONTINUATION, True)],
        [(CONTINUATION, False)],
        [(TEXT, False), (TEXT, True)],
        [(TEXT, False), (CONTINUATION, True), (CONTINUATION, True)],
    ],
)
def test_frames_out_of_order(frames):
    assembler = Assembler()
    results = [assembler.feed(opcode, b"x", fin=fin) for opcode, fin in frames]
    assert results[-1] == 1002


def test_bound():
    assert Assembler(5).feed(BINARY, b"x" * 5) == (BINARY, b"x" * 5)
    assert Assembler(5).feed(BINARY, b"x" * 6) == 1009
    assembler = Assembler(5)
    assert assembler.feed(BINARY, b"xxx", fin=False) is None
    assert assembler.feed(CONTINUATION, b"xxx", fin=False) == 1009


def is_utf8(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


near_utf8 = st.one_of(
    st.binary(max_size=40),
    st.text(max_size=40).map(str.encode),
    st.tuples(st.text(max_size=20), st.binary(max_size=4), st.text(max_size=20)).map(
        lambda parts: parts[0].encode() + parts[1] + parts[2].encode()
    ),
)


@given(near_utf8, st.lists(st.integers(0, 40), max_size=4))
def test_text_is_checked_as_python_does_wherever_it_is_cut(data, cuts):
    bounds = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    pieces = [data[a:b] for a, b in itertools.pairwise(bounds)]
    assembler = Assembler()
    for i, piece in enumerate(pieces):
        result = assembler.feed(CONTINUATION if i else TEXT, piece, fin=i == len(pieces) - 1)
        if result == 1007:
            break
    assert result == ((TEXT, data) if is_utf8(data) else 1007)


@pytest.mark.parametrize("lead", range(0x80, 0x100))
def test_every_lead_and_second_byte(lead):
    for second in range(0x100):
        for tail in (b"", b"\x80", b"\x80\x80"):
            data = bytes((lead, second)) + tail
            assert (Assembler().feed(TEXT, data) != 1007) == is_utf8(data)


def test_bad_text_fails_before_the_message_ends():
    assembler = Assembler()
    assert assembler.feed(TEXT, b"\xce\xba\xed", fin=False) is None
    assert assembler.feed(CONTINUATION, b"\xa0", fin=False) == 1007


@pytest.mark.parametrize(
    ("payload", "code"),
    [
        (b"", 1005),
        (b"\x03", -1002),
        (b"\x03\xe8", 1000),
        (b"\x03\xe8bye", 1000),
        (b"\x03\xe8\xff", -1007),
        (b"\x03\xe8\xce", -1007),
        ((1005).to_bytes(2), -1002),
        ((1006).to_bytes(2), -1002),
        ((1015).to_bytes(2), -1002),
        ((999).to_bytes(2), -1002),
        ((1004).to_bytes(2), -1002),
        ((2999).to_bytes(2), -1002),
        ((3000).to_bytes(2), 3000),
        ((4999).to_bytes(2), 4999),
        ((5000).to_bytes(2), -1002),
        (b"\x00\x00", -1002),
    ],
)
def test_close_codes(payload, code):
    assert parse_close(payload) == code
