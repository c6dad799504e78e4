"""WebSocket frames from bytes, cut anywhere: RFC 6455 section 5, without a socket."""

from __future__ import annotations

import itertools

import pytest
from doubles.frame_parser import FrameParser
from hypothesis import given
from hypothesis import strategies as st

from support.websocket import BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT, frame


def test_a_whole_frame_is_one_piece():
    assert FrameParser().feed(frame(TEXT, b"hello")) == [(TEXT, True, b"hello")]
    assert FrameParser().feed(frame(TEXT)) == [(TEXT, True, b"")]


def test_a_frame_in_parts_reads_like_fragments():
    data = frame(BINARY, b"0123456789")
    parser = FrameParser()
    assert parser.feed(data[:3]) == []
    assert parser.feed(data[3:9]) == [(BINARY, False, b"012")]
    assert parser.feed(data[9:]) == [(CONTINUATION, True, b"3456789")]


def test_a_control_frame_in_parts_is_one_piece():
    data = frame(PING, b"0123456789")
    parser = FrameParser()
    assert [parser.feed(data[i : i + 1]) for i in range(len(data))][:-1] == [[]] * (len(data) - 1)
    assert FrameParser().feed(data) == [(PING, True, b"0123456789")]


frames = st.lists(
    st.one_of(
        st.tuples(st.sampled_from([TEXT, BINARY, CONTINUATION]), st.binary(max_size=300), st.booleans()),
        st.tuples(st.sampled_from([TEXT, BINARY]), st.integers(60_000, 70_000).map(bytes), st.booleans()),
        st.tuples(st.sampled_from([PING, PONG, CLOSE]), st.binary(max_size=125), st.just(True)),
    ),
    max_size=5,
)


@given(frames, st.lists(st.integers(0, 200_000), max_size=6))
def test_pieces_join_to_what_was_sent_wherever_it_was_cut(sent, cuts):
    data = b"".join(frame(opcode, payload, fin=fin) for opcode, payload, fin in sent)
    bounds = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    parser = FrameParser(1 << 20)
    pieces = [p for a, b in itertools.pairwise(bounds) for p in parser.feed(data[a:b])]
    control = [piece for piece in pieces if piece[0] >= CLOSE]
    assert control == [(opcode, True, payload) for opcode, payload, _ in sent if opcode >= CLOSE]
    payloads = [p for opcode, p, _ in sent if opcode < CLOSE]
    assert b"".join(p for opcode, _, p in pieces if opcode < CLOSE) == b"".join(payloads)
    assert sum(fin for opcode, fin, _ in pieces if opcode < CLOSE) == sum(
        fin for op, _, fin in sent if op < CLOSE
    )


@pytest.mark.parametrize(
    "data",
    [
        frame(TEXT, b"x", rsv=1),
        frame(PING, b"x", rsv=4),
        frame(3),
        frame(7),
        frame(11),
        frame(TEXT, b"x", mask=False),
        frame(PING, fin=False),
        frame(PING, b"x" * 126),
        b"\x81\xfe\x00\x7d" + bytes(200),
        b"\x81\xff" + (65535).to_bytes(8) + bytes(9),
        b"\x81\xff" + (1 << 63).to_bytes(8) + bytes(9),
    ],
    ids=[
        "rsv1",
        "rsv on control",
        "op 3",
        "op 7",
        "op 11",
        "unmasked",
        "split ping",
        "long ping",
        "125 as 16 bits",
        "65535 as 64 bits",
        "negative",
    ],
)
def test_violations(data):
    assert FrameParser().feed(data)[-1] == 1002
    parser = FrameParser()
    assert next(result for i in range(len(data)) for result in parser.feed(data[i : i + 1])) == 1002


def test_the_bound_is_on_the_length_announced():
    assert FrameParser(10).feed(frame(TEXT, b"x" * 10)) == [(TEXT, True, b"x" * 10)]
    assert FrameParser(10).feed(frame(TEXT, b"x" * 11)[:6]) == [1009]
    assert FrameParser(10).feed(frame(PING, b"x" * 11)) == [(PING, True, b"x" * 11)]


@given(st.binary(max_size=200))
def test_any_bytes_give_pieces_or_a_close_code(data):
    pieces = FrameParser().feed(data)
    assert all(isinstance(piece, tuple) for piece in pieces[:-1])
    assert not pieces or isinstance(pieces[-1], tuple) or pieces[-1] in (1002, 1009)
