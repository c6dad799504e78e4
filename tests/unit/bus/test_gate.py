from __future__ import annotations

import pytest

from mdstream.bus.gate import APPLIED, GAP, NOTHING, REFUSED, UNKNOWN, ReaderStats, StreamGate
from mdstream.errors import BookError
from mdstream.model import StateCode


class Counter:
    """A core that knows one number: a payload is it, or ``bad``."""

    def __init__(self) -> None:
        self.seq = 0
        self.began = False

    def take(self, payload: bytes) -> int:
        if payload == b"bad":
            raise BookError("crossed")
        if payload.startswith(b"new") and not self.began:
            return UNKNOWN
        payload = payload.removeprefix(b"new")
        number = int(payload)
        if number <= self.seq:
            return NOTHING
        if number > self.seq + 1:
            return GAP
        self.seq = number
        return APPLIED


class Bench:
    """The owner of a gate."""

    def __init__(self, max_bytes: int = 1000) -> None:
        self.core, self.stats = Counter(), ReaderStats()
        self.now = 0.0
        self.changes = self.refused = 0
        self.gaps: list[tuple[StateCode, str]] = []
        self.accepted: list[float] = []
        self.jumps: list[bytes] = []
        self.overflows: list[str] = []
        self.repeated: list[bytes] = []
        self.may_begin = False
        self.gate = StreamGate(
            "md.SIM.A.book", self, max_bytes=max_bytes, stats=self.stats, clock=lambda: self.now
        )
        self.gate.take = self.core.take

    def on_change(self) -> None:
        self.changes += 1

    def on_accepted(self, ago_s: float) -> None:
        self.accepted.append(ago_s)

    def on_gap(self, gate: StreamGate, code: StateCode, why: str) -> None:
        self.gaps.append((code, why))

    def on_overflow(self, gate: StreamGate, why: str) -> None:
        self.overflows.append(why)

    def on_live(self, gate: StreamGate) -> None: ...

    def on_refused(self, gate: StreamGate, payload: bytes, error: Exception) -> None:
        self.refused += 1

    def on_jump(self, gate: StreamGate, payload: bytes) -> None:
        self.jumps.append(payload)

    def on_repeated(self, gate: StreamGate, payload: bytes) -> None:
        self.repeated.append(payload)

    def is_current(self, gate: StreamGate, payload: bytes) -> bool:
        return payload.isdigit()

    def on_unknown(self, gate: StreamGate, payload: bytes) -> bool:
        self.core.began = self.may_begin
        return self.may_begin

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
    assert bench.gaps == [(StateCode.GAP, "a number is missing")]
    assert list(bench.gate.held) == [b"3", b"4"]
    assert bench.stats.gaps == 1
    assert not bench.gate.open_if_complete()
    assert bench.gate.apply(b"2") == APPLIED
    assert bench.gate.open_if_complete() and bench.core.seq == 4


def test_a_refused_payload_closes_the_gate_until_a_number_proves_that_none_is_missing() -> None:
    bench = live()
    bench.receive(1, b"bad")
    assert bench.gaps == [(StateCode.REFUSED, "refused: crossed")]
    assert bench.gate.suspect and not bench.gate.open_if_complete()
    bench.receive(2)
    assert bench.gate.open_if_complete()
    assert bench.core.seq == 2 and bench.refused == 1


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
    assert bench.core.seq == 2 and bench.refused == 2


def test_what_is_held_is_bounded_and_an_overflow_starts_anew() -> None:
    bench = Bench(max_bytes=10)
    for number in range(100, 120):
        bench.receive(number)
        assert sum(map(len, bench.gate.held)) <= 10
    assert bench.stats.overflows == len(bench.overflows) > 0
    assert "more than 10 bytes" in bench.overflows[0]
    assert bench.gate.held[-1] == b"119"


def test_what_is_beyond_a_number_is_dropped_and_the_rest_stays_in_order() -> None:
    bench = Bench(max_bytes=20)
    bench.receive(3, 900, 4, 901)
    assert bench.gate.drop_beyond(lambda payload: int(payload) > 10) == [b"900", b"901"]
    assert list(bench.gate.held) == [b"3", b"4"]
    bench.receive(*range(100, 106))
    assert bench.stats.overflows == 0, "what was dropped takes no room"


def test_draining_stops_at_its_limit_and_at_a_gap() -> None:
    bench = Bench()
    bench.receive(1, 2, 3, 5)
    assert bench.gate.apply_held(2) and bench.core.seq == 2
    assert not bench.gate.apply_held(10) and bench.core.seq == 3
    assert list(bench.gate.held) == [b"5"]


def test_draining_stops_when_it_has_taken_enough_bytes() -> None:
    bench = Bench()
    bench.receive(1, 2, 3)
    assert bench.gate.apply_held(10, 2) and bench.core.seq == 2
    assert bench.gate.apply_held(10, 2) and bench.core.seq == 3


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


def test_a_number_ahead_is_passed_over_and_dropped_once_smaller_ones_go_on() -> None:
    bench = live()
    bench.receive(1, 900)
    assert not bench.gate.live and not bench.gate.open_if_complete() and bench.jumps == []
    bench.receive(2, 3)
    assert bench.gate.open_if_complete() and bench.core.seq == 3
    assert bench.jumps == [b"900"] and not bench.gate.held


def test_what_is_known_denies_a_number_ahead_but_another_epoch_does_not() -> None:
    bench = live()
    bench.receive(1, 2, 9)
    bench.core.take = bench.gate.take = lambda payload: (
        NOTHING if payload == b"old" else Counter.take(bench.core, payload)
    )
    bench.receive(b"old")
    assert not bench.gate.open_if_complete() and bench.jumps == []
    bench.receive(2)
    assert bench.gate.open_if_complete() and bench.jumps == [b"9"]


def test_only_what_is_accepted_is_told_as_a_sign_of_life_with_its_age() -> None:
    bench = live()
    bench.receive(1, 1, b"bad")
    assert bench.accepted == [0.0] and bench.repeated == [b"1"]
    bench.receive(2)
    bench.now = 7.0
    assert bench.gate.open_if_complete()
    assert bench.accepted == [0.0, 7.0]


def test_a_greater_epoch_is_taken_once_it_has_begun() -> None:
    bench = live()
    bench.receive(b"new1")
    assert bench.core.seq == 0 and bench.gate.live and bench.gaps == []
    bench.may_begin = True
    bench.receive(b"new1")
    assert bench.core.seq == 1 and bench.accepted == [0.0]
