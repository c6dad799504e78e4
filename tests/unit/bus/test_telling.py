from __future__ import annotations

from typing import Any

import pytest

from mdstream._core.ingest.intake import InstrumentReceiver
from mdstream._core.ingest.watch import Watch
from mdstream.bus.epochs import Epochs
from mdstream.bus.freshness import Freshness
from mdstream.bus.telling import CONFLICT_S, NO_REF_S, Telling
from mdstream.model import InstrumentId, Ref, State, StateCode
from support.flushing import HandLoop, scheduler_of

LIMIT_S, STEP_S = 30.0, 0.2


class Watched:
    """What is told of one live instrument, looked at every 0.2 s while time passes."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.told: list[tuple[float, str, State, StateCode | None]] = []
        self.fresh = Freshness(lambda: self.now, LIMIT_S)
        receiver = InstrumentReceiver(lambda *_: None, lambda: None, scheduler_of(HandLoop()))
        self.telling = Telling(
            InstrumentId("SIM", "A"),
            self,
            self.fresh,
            lambda: self.now,
            receiver.check_at,
            is_connected=lambda: True,
            has_book=lambda: True,
        )
        self.watch = Watch()
        self.watch.add(receiver, self.telling.check)
        self.epochs = self.telling.epochs = Epochs(Ref(-2, -2, epoch=5), lambda: 10**15)
        self.telling.reasons.clear()
        self.fresh.updated()
        self.telling.report()
        self.told.clear()

    def on_state(self, stream: str, state: State, code: StateCode | None, *_: Any) -> None:
        self.told.append((self.now, stream, state, code))

    def on_ref(self, ref: Ref, rescaled: bool) -> None: ...

    def pass_s(self, seconds: float) -> None:
        ends = self.now + seconds
        while self.now < ends:
            self.now += STEP_S
            self.watch.look(int(self.now * 1e6))

    def book(self) -> list[tuple[State, StateCode | None]]:
        return [(state, code) for _, stream, state, code in self.told if stream == "book"]


def test_silence_is_told_with_the_first_look_after_its_bound() -> None:
    on = Watched()
    began = on.now
    on.pass_s(10)
    on.fresh.updated()
    on.pass_s(45)
    assert on.book() == [(State.STALE, StateCode.SILENT)]
    assert began + 10 + LIMIT_S < on.told[0][0] <= began + 10 + LIMIT_S + STEP_S + 1e-6


def test_a_fenced_writer_is_told_within_the_bound_and_forgotten_after_it() -> None:
    on = Watched()
    on.pass_s(20)
    on.fresh.fenced()
    on.pass_s(20)
    assert on.book() == [(State.STALE, StateCode.FENCED)]
    on.pass_s(20)
    assert on.book()[1:] == [(State.STALE, StateCode.SILENT)]


def test_a_conflict_ends_by_time_alone() -> None:
    on = Watched()
    began = on.now
    on.telling.contradict("book")
    on.telling.report()
    on.pass_s(CONFLICT_S + 1)
    assert on.book() == [(State.RECOVERING, StateCode.CONFLICT), (State.LIVE, None)]
    assert on.told[-1][0] == pytest.approx(began + CONFLICT_S, abs=STEP_S + 1e-6)


def test_a_missing_ref_is_told_once_the_smaller_epoch_has_been_quiet_for_a_second() -> None:
    on = Watched()
    began = on.now
    assert not on.epochs.may_begin(6)
    on.telling.report()
    on.pass_s(3)
    assert on.book() == [(State.RECOVERING, StateCode.NO_REF)]
    assert began + NO_REF_S < on.told[0][0] <= began + NO_REF_S + STEP_S + 1e-6


def test_looks_in_quiet_times_judge_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    on = Watched()
    judged: list[float] = []
    silence = Freshness.silence

    def counted(fresh: Freshness) -> StateCode | None:
        judged.append(on.now)
        return silence(fresh)

    monkeypatch.setattr(Freshness, "silence", counted)
    on.pass_s(LIMIT_S - 1)
    assert judged == []
    on.fresh.updated()
    on.pass_s(LIMIT_S - 1)
    assert len(judged) == 1, "only when silence would have begun"
