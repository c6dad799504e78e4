from __future__ import annotations

import pytest

from mdstream.bus.gate import APPLIED, GAP, NOTHING, REFUSED, ReaderStats, StreamGate
from mdstream.errors import BookError


class Counter:
    """A core that knows one number: a payload is it, or ``bad``."""

    def __init__(self) -> None:
        self.seq = 0

    def take(self, payload: bytes) -> int:
        if payload == b"bad":
            raise BookError("crossed")
        number = int(payload)
        if number <= self.seq:
            return NOTHING
        if number > self.seq + 1:
            return GAP
        self.seq = number
        return APPLIED


class Bench:
    def __init__(self, max_bytes: int = 1000) -> None:
        self.core, self.stats = Counter(), ReaderStats()
        self.changes = 0
        self.gaps: list[str] = []
        self.gate = StreamGate(
            "md.SIM.A.book",
            max_bytes=max_bytes,
            stats=self.stats,
            on_change=self._changed,
            on_gap=lambda _, why: self.gaps.append(why),
        )
        self.gate.take = self.core.take

    def _changed(self) -> None:
        self.changes += 1

    def receive(self, *payloads: int | bytes) -> None:
        for payload in payloads:
            self.gate.receive(payload if isinstance(payload, bytes) else b"%d" % payload)


def live() -> Bench:
    bench = Bench()
    assert bench.gate.open_if_complete()
    return bench


def test_a_closed_gate_holds_and_applies_what_follows() -> None:
    bench = Bench()
    bench.receive(1, 2, 3)
    assert bench.core.seq == 0 and not bench.gate.live
    assert bench.gate.open_if_complete() and bench.gate.turned_live.is_set()
    assert bench.core.seq == 3 and not bench.gate.held


def test_a_live_gate_passes_payloads_and_tells_of_changes_alone() -> None:
    bench = live()
    bench.receive(1, 1, 2)
    assert bench.core.seq == 2
    assert bench.changes == 2
    assert bench.gaps == []


def test_a_gap_closes_the_gate_once_and_keeps_what_shows_it() -> None:
    bench = live()
    bench.receive(1, 3, 4)
    assert not bench.gate.live and not bench.gate.turned_live.is_set()
    assert bench.gaps == ["a number is missing"]
    assert list(bench.gate.held) == [b"3", b"4"]
    assert bench.stats.gaps == 1
    assert not bench.gate.open_if_complete()
    assert bench.gate.apply(b"2") == APPLIED
    assert bench.gate.open_if_complete() and bench.core.seq == 4


def test_a_refused_payload_closes_the_gate_until_a_number_proves_that_none_is_missing() -> None:
    bench = live()
    bench.receive(1, b"bad")
    assert bench.gaps == ["refused: crossed"]
    assert bench.gate.suspect and not bench.gate.open_if_complete()
    bench.receive(2)
    assert bench.gate.open_if_complete()
    assert bench.core.seq == 2 and bench.stats.refused == 1


def test_a_refused_payload_that_carried_a_number_leaves_a_gap() -> None:
    bench = live()
    bench.receive(1, b"bad", 3)
    assert not bench.gate.open_if_complete()
    assert list(bench.gate.held) == [b"3"]


def test_known_numbers_do_not_clear_a_suspicion() -> None:
    bench = live()
    bench.receive(1, b"bad", 1)
    assert not bench.gate.open_if_complete()


def test_a_refused_payload_among_the_held_is_dropped_and_counted() -> None:
    bench = Bench()
    bench.receive(1, b"bad", 2)
    assert bench.gate.apply(b"bad") == REFUSED
    assert bench.gate.open_if_complete()
    assert bench.core.seq == 2 and bench.stats.refused == 2


def test_what_is_held_is_bounded_and_an_overflow_starts_anew() -> None:
    bench = Bench(max_bytes=10)
    for number in range(100, 120):
        bench.receive(number)
        assert sum(map(len, bench.gate.held)) <= 10
    assert bench.stats.overflows > 0
    assert bench.gate.held[-1] == b"119"


def test_draining_stops_at_its_limit_and_at_a_gap() -> None:
    bench = Bench()
    bench.receive(1, 2, 3, 5)
    assert bench.gate.apply_held(2) and bench.core.seq == 2
    assert not bench.gate.apply_held(10) and bench.core.seq == 3
    assert list(bench.gate.held) == [b"5"]


def test_a_gate_that_was_closed_holds_and_knows_until_when_it_was_complete() -> None:
    bench = live()
    bench.gate.close()
    complete_us = bench.gate.complete_us
    assert complete_us is not None and bench.gaps == []
    bench.receive(1)
    assert bench.core.seq == 0
    bench.gate.close()
    assert bench.gate.complete_us == complete_us


def test_a_fault_of_the_core_itself_is_not_hidden() -> None:
    bench = live()
    with pytest.raises(ValueError, match="invalid literal"):
        bench.receive(b"x")


def test_one_that_is_distrusted_holds_and_claims_no_more_than_before() -> None:
    bench = live()
    bench.gate.complete_us = 5
    bench.gate.close(complete=False)
    bench.receive(1)
    assert not bench.gate.live and not bench.gate.turned_live.is_set() and bench.core.seq == 0
    assert bench.gate.complete_us == 5
    assert bench.gate.open_if_complete() and bench.core.seq == 1
