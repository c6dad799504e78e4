from __future__ import annotations

import logging
from collections.abc import Callable, Iterator

import pytest

from mdstream.gateway.turns import Turns


class Session:
    def __init__(self, name: str) -> None:
        self.name = name
        self.open = True
        self.paused = False
        self.code = 0
        self.then: Callable[[], None] | None = None

    def pause_input(self) -> None:
        assert not self.paused
        self.paused = True

    def resume_input(self) -> None:
        assert self.paused
        self.paused = False
        if self.then is not None:
            then, self.then = self.then, None
            then()

    def close(self, code: int = 1000, reason: str = "") -> None:
        self.open, self.code = False, code


class Stage:
    """Turns of a loop that stands still until ``turn``; each step takes as many µs as it says."""

    def __init__(self) -> None:
        self.now_us = 0
        self.due: list[Callable[[], None]] = []
        self.did: list[str] = []
        self.corks = 0
        self.turns = Turns(
            self,
            clock_us=lambda: self.now_us,
            call_soon=self.due.append,
            slice_us=1000,
            moment_us=250,
        )

    def cork(self) -> None:
        self.corks += 1

    def uncork(self) -> None:
        self.corks -= 1

    def work(self, name: str, *took_us: int) -> Iterator[None]:
        for number, us in enumerate(took_us):
            self.did.append(f"{name}{number}")
            self.now_us += us
            yield

    def turn(self) -> None:
        (due,) = self.due
        self.due.clear()
        due()

    def taken(self) -> list[str]:
        did, self.did = self.did, []
        return did


@pytest.fixture
def stage() -> Stage:
    return Stage()


def test_short_work_is_done_at_once(stage: Stage) -> None:
    session = Session("a")
    stage.turns.run(session, stage.work("a", 100, 100, 100))
    assert stage.taken() == ["a0", "a1", "a2"]
    assert not session.paused and not stage.due
    assert (stage.turns.waiting, stage.turns.deferred_total) == (0, 0)


def test_long_work_goes_on_in_later_turns_and_nothing_is_read_meanwhile(stage: Stage) -> None:
    session = Session("a")
    stage.turns.run(session, stage.work("a", *[400] * 7))
    assert stage.taken() == ["a0", "a1", "a2"], "a step more than a slice of 1 ms holds"
    assert session.paused and stage.turns.waiting == 1
    stage.turn()
    assert stage.taken() == ["a3", "a4", "a5"] and session.paused
    stage.turn()
    assert stage.taken() == ["a6"]
    assert not session.paused and not stage.due and stage.turns.deferred_total == 1


def test_those_that_wait_take_turns_of_a_moment(stage: Stage) -> None:
    a, b = Session("a"), Session("b")
    stage.turns.run(a, stage.work("a", 1000, *[250] * 4))
    stage.turns.run(b, stage.work("b", *[250] * 3))
    assert stage.taken() == ["a0"], "there is no time left for b in this turn"
    stage.turn()
    assert stage.taken() == ["a1", "b0", "a2", "b1"]
    stage.turn()
    assert stage.taken() == ["a3", "b2", "a4"]
    assert not a.paused and not b.paused


def test_short_messages_together_are_bounded_too_and_time_comes_back_with_the_next_turn(stage: Stage) -> None:
    sessions = [Session(str(i)) for i in range(12)]
    for i, session in enumerate(sessions):
        stage.turns.run(session, stage.work(f"{i}.", 99))
    assert [session.paused for session in sessions] == [False] * 10 + [True] * 2
    stage.turn()
    assert len(stage.taken()) == 12 and not any(session.paused for session in sessions)
    stage.turns.run(sessions[0], stage.work("a", 100))
    assert stage.taken() == ["a0"]


def test_work_of_one_session_is_done_in_its_order(stage: Stage) -> None:
    session = Session("a")
    stage.turns.run(session, stage.work("a", 1000, 100))
    stage.turns.run(session, stage.work("b", 100))
    stage.turn()
    assert stage.taken() == ["a0", "a1", "b0"] and not session.paused


def test_what_was_read_already_comes_next_and_may_wait_again(stage: Stage) -> None:
    session = Session("a")
    session.then = lambda: stage.turns.run(session, stage.work("b", 900, 900))
    stage.turns.run(session, stage.work("a", 1000, 200))
    stage.turn()
    assert stage.taken() == ["a0", "a1", "b0"] and session.paused
    stage.turn()
    assert stage.taken() == ["b1"] and not session.paused


def test_the_work_of_a_session_that_has_ended_is_dropped(stage: Stage) -> None:
    forgotten, closed = Session("a"), Session("b")
    stage.turns.run(forgotten, stage.work("a", 1000, 100))
    stage.turns.run(closed, stage.work("b", 100))
    stage.turns.forget(forgotten)
    closed.close()
    stage.turn()
    assert stage.taken() == ["a0"] and stage.turns.waiting == 0 and not stage.due


def test_a_step_that_ends_its_session_is_the_last(stage: Stage) -> None:
    session = Session("a")

    def work() -> Iterator[None]:
        yield
        stage.now_us += 2000
        session.close(4429)
        yield

    stage.turns.run(session, work())
    assert stage.turns.waiting == 0 and not session.paused


def test_an_error_of_ours_closes_with_1011_and_the_others_go_on(stage: Stage, caplog) -> None:
    def fail() -> Iterator[None]:
        stage.now_us += 1000
        yield
        assert stage.corks == 1
        raise ZeroDivisionError("a bug")

    bad, good = Session("bad"), Session("good")
    with caplog.at_level(logging.ERROR):
        stage.turns.run(bad, fail())
        stage.turns.run(good, stage.work("good", 100))
        stage.turn()
    assert (bad.code, stage.taken(), stage.corks) == (1011, ["good0"], 0)
    assert [record.levelname for record in caplog.records] == ["ERROR"]


def test_an_error_at_once_is_the_callers(stage: Stage) -> None:
    def fail() -> Iterator[None]:
        raise ZeroDivisionError("a bug")
        yield

    with pytest.raises(ZeroDivisionError):
        stage.turns.run(Session("a"), fail())
    assert stage.turns.waiting == 0
