"""Quiet or dead: what a watch has learnt decides how long a silence may be."""

from __future__ import annotations

import pytest

from mdstream.feeds._progress import ProgressWatch


class Clock:
    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


class Watched:
    """A watch whose time passes in steps, checked each second. Instruments are letters."""

    def __init__(self, names: str = "AB") -> None:
        self.clock = Clock()
        self.watch = ProgressWatch(clock=self.clock)
        self.watch.opened(names)

    def talk(self, names: str, *, every_s: float, times: int) -> None:
        for _ in range(times):
            self.clock.now += every_s
            for name in names:
                self.watch.note(name)
            self.watch.check()

    def until_overdue(self, *, talking: str = "") -> tuple[float, bool, tuple[str, ...]]:
        """The seconds until something is overdue, and what."""
        started = self.clock.now
        while self.clock.now < started + 2_000:
            self.clock.now += 1
            for name in talking:
                self.watch.note(name)
            overdue = self.watch.check()
            if overdue.connection or overdue.instruments:
                return self.clock.now - started, *overdue
        raise AssertionError("nothing is ever overdue")


def test_a_venue_that_sent_often_is_overdue_after_the_least_bound() -> None:
    watched = Watched()
    watched.talk("AB", every_s=0.1, times=80)
    assert watched.watch.lively()
    assert watched.until_overdue() == (10, True, ("A", "B"))


def test_a_sister_that_talks_shows_that_the_connection_lives() -> None:
    watched = Watched()
    watched.talk("AB", every_s=0.1, times=80)
    assert watched.until_overdue(talking="A") == (10, False, ("B",))
    assert watched.watch.silence_s("B") == 10
    assert watched.watch.silence_s() == watched.watch.silence_s("A") == 0


def test_what_is_slower_may_be_silent_for_longer_by_chance() -> None:
    watched = Watched()
    watched.talk("A", every_s=0.1, times=80)
    watched.talk("B", every_s=3, times=20)
    assert [watched.watch.lively(name) for name in ("A", "B", None)] == [True, False, False]
    assert not Watched().watch.lively("A"), "nothing is learnt yet"


def test_the_bound_is_three_times_the_longest_silence_and_never_beyond_the_greatest() -> None:
    watched = Watched("A")
    watched.talk("A", every_s=8, times=20)
    assert watched.until_overdue() == (24, True, ("A",))
    watched.talk("A", every_s=50, times=3)
    assert not watched.watch.lively("A")
    assert watched.until_overdue() == (60, True, ("A",))


def test_a_long_silence_is_forgotten_with_time() -> None:
    watched = Watched()
    watched.talk("AB", every_s=8, times=20)
    watched.talk("AB", every_s=1, times=600)
    seconds, _, _ = watched.until_overdue()
    assert seconds == pytest.approx(12, abs=1)


def test_as_long_as_nothing_is_learnt_the_greatest_bound_holds() -> None:
    assert Watched().until_overdue() == (60, True, ("A", "B"))


def test_a_silence_that_a_request_excuses_is_usual_from_then_on() -> None:
    watched = Watched()
    watched.talk("AB", every_s=0.1, times=80)
    assert watched.until_overdue(talking="A") == (10, False, ("B",))
    watched.watch.excuse("B")
    assert watched.until_overdue(talking="A") == (30, False, ("B",))


def test_the_time_between_connections_is_not_the_venues_silence() -> None:
    watched = Watched()
    watched.talk("AB", every_s=0.1, times=80)
    watched.clock.now += 500
    watched.watch.opened("AB")
    watched.talk("AB", every_s=0.1, times=80)
    assert watched.until_overdue() == (10, True, ("A", "B"))


def test_connections_that_bring_nothing_are_given_more_and_more_time() -> None:
    watched = Watched()
    watched.talk("AB", every_s=0.1, times=80)
    for seconds in (10, 10, 20, 40):
        waited = 0.0
        while not watched.watch.check().connection:
            watched.clock.now += 1
            waited += 1
        assert waited == seconds
        watched.watch.opened("AB")
    watched.talk("A", every_s=0.1, times=2)
    assert watched.until_overdue()[0] == 10


def test_when_we_were_held_up_ourselves_the_venue_is_not_judged() -> None:
    watched = Watched()
    watched.talk("AB", every_s=0.1, times=80)
    watched.clock.now += 300
    assert watched.watch.check() == (False, ())
    watched.talk("AB", every_s=0.1, times=1)
    assert watched.watch.check() == (False, ())
