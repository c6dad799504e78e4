"""Which instruments are looked at, and when: without socket and sleep."""

from __future__ import annotations

from typing import Any

import pytest

from mdstream._core.ingest.intake import BookIntake, InstrumentReceiver
from mdstream._core.ingest.watch import Watch
from support.flushing import HandLoop, scheduler_of


class Watched:
    """One instrument of a watch. It is looked at by hand."""

    def __init__(self, world: Any) -> None:
        self.feed = world.feed
        self.checks = 0
        self.receiver = InstrumentReceiver(lambda *_: None, lambda: None, scheduler_of(HandLoop()))
        self.receiver.book = BookIntake(world.hub, world.instrument)
        self.watch = Watch()
        self.watch.add(self.receiver, self._check)

    def _check(self) -> None:
        self.checks += 1

    def update(self) -> None:
        self.receiver(b"md.SIM.BTC-USD.book", b"", self.feed.update({100: 9}), None)

    def look(self, *times_us: int) -> int:
        """How often it was checked meanwhile."""
        before = self.checks
        for now_us in times_us:
            self.watch.look(now_us)
        return self.checks - before


@pytest.fixture
def watched(world: Any) -> Watched:
    return Watched(world)


def test_a_new_instrument_is_checked_at_each_look(watched: Watched) -> None:
    assert watched.look(1, 2, 3) == 3


def test_nothing_is_checked_before_its_time(watched: Watched) -> None:
    watched.receiver.check_at(100)
    assert watched.look(1, 99) == 0 and watched.look(100, 101) == 2


def test_an_instrument_that_is_heard_is_never_checked(watched: Watched) -> None:
    watched.receiver.check_at(100, calm_us=50)
    for now_us in range(0, 1000, 40):
        watched.update()
        assert watched.look(now_us) == 0 and watched.receiver.heard_us == now_us


def test_it_is_checked_once_it_was_silent_for_so_long(watched: Watched) -> None:
    watched.receiver.check_at(10, calm_us=50)
    watched.update()
    assert watched.look(9, 10, 58) == 0 and watched.look(59) == 1


def test_a_later_time_is_kept_when_it_is_heard(watched: Watched) -> None:
    watched.receiver.check_at(1000, calm_us=50)
    watched.update()
    assert watched.look(9, 100, 999) == 0 and watched.look(1000) == 1


def test_what_is_heard_while_not_calm_is_noted_and_changes_no_time(watched: Watched) -> None:
    watched.receiver.check_at(100)
    watched.update()
    assert watched.look(50) == 0 and watched.receiver.heard_us == 50 and watched.look(100) == 1


def test_a_check_may_forget_the_instrument(watched: Watched) -> None:
    watched.watch.add(watched.receiver, lambda: watched.watch.discard(watched.receiver))
    watched.look(1)
    assert len(watched.watch) == 0 and watched.look(2) == 0
    watched.watch.discard(watched.receiver)


def test_a_fault_of_a_check_is_raised(watched: Watched) -> None:
    watched.watch.add(watched.receiver, lambda: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        watched.look(1)
