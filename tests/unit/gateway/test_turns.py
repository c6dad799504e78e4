from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from functools import partial

import pytest

from mdstream.gateway.turns import EXAMINE_US, TASK_US, Turns


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

    def do(self, name: str) -> None:
        self.did.append(name)

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


def test_the_tasks_that_a_step_lets_go_on_count_as_its_own(stage: Stage) -> None:
    def work() -> Iterator[int]:
        for number in range(5):
            stage.did.append(f"a{number}")
            yield 400

    session = Session("a")
    stage.turns.run(session, work())
    assert stage.taken() == ["a0", "a1", "a2"] and session.paused
    stage.turn()
    assert stage.taken() == ["a3", "a4"] and not session.paused


def test_as_many_calls_are_made_in_a_turn_as_there_is_time_for_their_tasks(stage: Stage) -> None:
    most = 1000 // TASK_US + 1
    for number in range(100):
        stage.turns.wakes.add(partial(stage.do, str(number)))
    made: list[str] = stage.taken()
    assert 0 < len(made) <= most
    while stage.due:
        stage.turn()
        some = stage.taken()
        assert len(some) <= most
        made += some
    assert made == [str(number) for number in range(100)]
    assert stage.turns.waiting == 0


def test_thousands_that_are_cancelled_hold_up_neither_those_that_are_woken_nor_sessions(stage: Stage) -> None:
    session = Session("a")
    for number in range(1000):
        stage.turns.cancels.add(partial(stage.do, f"cancel{number}"))
    stage.turns.wakes.add(partial(stage.do, "wake"))
    stage.turns.run(session, stage.work("a", 100))
    stage.taken()
    assert stage.turns.waiting == 1
    stage.turn()
    assert {"wake", "a0"} < set(stage.taken())


def test_a_call_may_add_others(stage: Stage) -> None:
    stage.turns.wakes.add(lambda: stage.turns.wakes.add(partial(stage.do, "a")))
    assert stage.taken() == ["a"]
    stage.turns.wakes.add(partial(stage.do, "b"))
    assert stage.taken() == ["b"]


def test_those_whose_calls_wait_take_turns_and_the_gateways_own_come_first(stage: Stage) -> None:
    def add(name: str, whose: str | None) -> None:
        stage.turns.wakes.add(partial(stage.do, name), whose)

    for number in range(50):
        add(f"attacker{number}", "attacker")
    add("honest", "honest")
    add("own", None)
    stage.taken()
    stage.turn()
    first, *others = stage.taken()
    assert first == "own" and "honest" in others[:2]


def test_calls_are_made_in_each_turn_however_many_sessions_wait(stage: Stage) -> None:
    for number in range(100):
        stage.turns.run(Session(str(number)), stage.work("a", 100, *[250] * 10))
    stage.turns.wakes.add(partial(stage.do, "wake"))
    stage.turns.cancels.add(partial(stage.do, "cancel"))
    stage.taken()
    stage.turn()
    assert stage.taken()[:2] == ["wake", "cancel"]


def test_new_objects_are_examined_after_so_many_tasks_within_the_slice(stage: Stage) -> None:
    def examine() -> None:
        stage.do("examined")
        stage.now_us += 900

    stage.turns.examine = examine
    for _ in range(2 * EXAMINE_US // TASK_US):
        stage.turns.wakes.add(partial(stage.do, "call"))
    turns: list[list[str]] = [stage.taken()]
    while stage.due:
        stage.turn()
        turns.append(stage.taken())
    examined = [did for did in turns if "examined" in did]
    assert 1 <= len(examined) <= 2
    assert all(len(did) <= 3 for did in examined), "little else is done in that turn"
