"""The few frames that the floor takes and gives one at a time, against the tests' own."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from mdstream._bench.frames import first_frame, framed
from support.websocket import BINARY, PING, TEXT, frame

PAYLOADS = st.one_of(st.binary(max_size=200), st.integers(65000, 66000).map(bytes))


@given(st.sampled_from([TEXT, BINARY, PING]), PAYLOADS)
def test_what_it_gives_is_one_whole_frame(opcode: int, payload: bytes) -> None:
    assert framed(opcode, payload) == frame(opcode, payload, mask=False)


@given(st.sampled_from([TEXT, BINARY]), PAYLOADS, st.binary(max_size=8))
def test_what_it_takes_is_the_first_of_what_came(opcode: int, payload: bytes, rest: bytes) -> None:
    whole = frame(opcode, payload)
    assert first_frame(whole + rest) == (opcode, payload, len(whole))


@given(st.sampled_from([TEXT, BINARY]), PAYLOADS, st.data())
def test_what_is_not_whole_is_waited_for(opcode: int, payload: bytes, data: st.DataObject) -> None:
    whole = frame(opcode, payload)
    assert first_frame(whole[: data.draw(st.integers(0, len(whole) - 1))])[2] == 0
