"""The tap takes what is for its handlers, and passes all else on, byte for byte."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mdstream._core.ingest.nats_tap import NatsTap
from mdstream._core.ingest.receiver import Handlers
from support.flushing import HandLoop, scheduler_of

TAPPED, OTHER = 7, 8
payloads = st.binary(max_size=40)


class Tapped:
    """A tap, and what came out of it on each side."""

    def __init__(self) -> None:
        self.taken: list[bytes] = []
        self.passed: list[bytes] = []
        self.faults: list[Exception] = []
        self.loop, self.flushes = HandLoop(), 0
        self.scheduler = scheduler_of(self.loop, self._flushed)
        self.asks = False
        self.counters = {"in_msgs": 0, "in_bytes": 0}
        self.tap = NatsTap(
            Handlers({TAPPED: self._take}),
            self.counters,
            self.passed.append,
            self.faults.append,
            self.scheduler,
        )

    def _take(self, subject: bytes, reply: bytes, payload: bytes, headers: bytes | None) -> None:
        if self.asks:
            self.scheduler.request()
        if payload == b"fault":
            raise ZeroDivisionError("a bug of ours")
        self.taken.append(payload)

    def _flushed(self) -> None:
        self.flushes += 1

    def read(self, data: bytes) -> None:
        """As a transport does: into the buffer that it is offered."""
        while data:
            space = self.tap.get_buffer(-1)
            size = min(len(space), len(data))
            space[:size] = data[:size]
            self.tap.buffer_updated(size)
            data = data[size:]


def message(sid: int, payload: bytes) -> bytes:
    return b"MSG md.SIM.A.book %d %d\r\n%b\r\n" % (sid, len(payload), payload)


operations = st.lists(
    st.one_of(
        st.tuples(st.just(TAPPED), payloads),
        st.tuples(st.just(OTHER), payloads),
        st.sampled_from([(0, b"PING\r\n"), (0, b"+OK\r\n"), (0, b"INFO {}\r\n"), (0, b"-ERR 'Stale'\r\n")]),
    ),
    max_size=60,
)


@given(operations, st.lists(st.integers(0, 3000), max_size=8))
def test_any_split_of_any_stream(wanted: list[tuple[int, bytes]], cuts: list[int]) -> None:
    whole = [message(sid, rest) if sid else rest for sid, rest in wanted]
    stream = b"".join(whole)
    edges = sorted({0, len(stream), *(cut % (len(stream) + 1) for cut in cuts)})
    tapped = Tapped()
    for start, end in pairwise(edges):
        tapped.read(stream[start:end])
    taken = [rest for sid, rest in wanted if sid == TAPPED and rest != b"fault"]
    assert tapped.taken == taken
    assert b"".join(tapped.passed) == b"".join(
        piece for (sid, _), piece in zip(wanted, whole, strict=True) if sid != TAPPED
    )
    tapped.tap.count()
    assert tapped.counters["in_msgs"] == sum(sid == TAPPED for sid, _ in wanted)


def test_a_fault_of_a_handler_is_told_and_does_not_stop_the_rest() -> None:
    tapped = Tapped()
    tapped.read(message(TAPPED, b"fault") + message(TAPPED, b"next") + b"PING\r\n")
    assert [type(error) for error in tapped.faults] == [ZeroDivisionError]
    assert tapped.taken == [b"next"] and tapped.passed == [b"PING\r\n"]


def test_what_is_not_the_protocol_is_passed_on_with_all_behind_it() -> None:
    """nats-py's side then finds it once more, and reconnects."""
    tapped = Tapped()
    rest = b"MSG md.SIM.A.book 7 x\r\n" + message(TAPPED, b"never")
    tapped.read(message(TAPPED, b"before") + rest)
    tapped.read(b"more")
    assert tapped.taken == [b"before"] and b"".join(tapped.passed) == rest + b"more"


def test_a_read_that_fills_the_buffer_says_that_more_waits() -> None:
    tapped = Tapped()
    tapped.asks = True
    space = len(tapped.tap.get_buffer(-1))
    big = message(TAPPED, b"x" * (space - len(message(TAPPED, b"")) - 6))
    big += b"P"  # the beginning of something
    tapped.read(big)
    assert len(big) == space and (tapped.flushes, tapped.loop.asked) == (0, 1), "at the end of the turn"
    tapped.loop.turn()
    tapped.read(b"ING\r\n" + message(TAPPED, b"a"))
    assert (tapped.flushes, tapped.loop.asked) == (2, 1)


def test_what_a_read_brought_is_flushed_once_at_its_end() -> None:
    tapped = Tapped()
    tapped.asks = True
    tapped.read(message(TAPPED, b"a") * 2)
    assert (tapped.flushes, tapped.loop.asked) == (1, 0)


def test_what_a_large_message_needed_is_given_back() -> None:
    tapped = Tapped()
    tapped.read(message(TAPPED, b"x" * 4_000_000))
    assert tapped.tap.capacity > 4_000_000
    tapped.read(b"PING\r\n")
    assert len(tapped.taken) == 1 and tapped.tap.capacity < 1_000_000


def test_more_than_there_was_room_for_is_refused() -> None:
    tapped = Tapped()
    space = tapped.tap.get_buffer(-1)
    with pytest.raises(ValueError, match="were read into a buffer of"):
        tapped.tap.buffer_updated(len(space) + 1)
    with pytest.raises(ValueError, match="-1 bytes"):
        tapped.tap.buffer_updated(-1)


def test_a_tap_needs_all_its_parts() -> None:
    parts: list[Any] = [Handlers(), {"in_msgs": 0, "in_bytes": 0}, print, None]
    with pytest.raises(TypeError, match="on_fault"):
        NatsTap(*parts)
