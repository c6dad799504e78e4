from __future__ import annotations

import gc
import threading
from collections.abc import Iterator

import pytest

from mdstream.gateway import pauses
from mdstream.gateway.pauses import Collecting, GcPauses


class Clock:
    def __init__(self) -> None:
        self.time = 100.0

    def __call__(self) -> float:
        return self.time


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def moved() -> list[int]:
    """What the gateway has sent so far."""
    return [0]


@pytest.fixture
def collecting(clock, moved, monkeypatch) -> Iterator[Collecting]:
    monkeypatch.setattr(pauses, "OLD_OBJECTS_QUIET", 5_000)
    monkeypatch.setattr(pauses, "OLD_OBJECTS_MOST", 40_000)
    collecting = Collecting(lambda: moved[0], clock)
    collecting.start()
    yield collecting
    collecting.stop()
    gc.unfreeze()


@pytest.fixture
def collected(collecting) -> Iterator[list[int]]:
    """The generations that were collected in this thread; threads that other tests have left make objects too."""
    generations: list[int] = []
    thread = threading.get_ident()

    def told(phase: str, info: dict[str, int]) -> None:
        if phase == "stop" and threading.get_ident() == thread:
            generations.append(info["generation"])

    gc.callbacks.append(told)
    gc.freeze()  # what the fixtures have made does not count
    yield generations
    gc.callbacks.remove(told)


def some_objects(count: int) -> list[list[int]]:
    return [[] for _ in range(count)]


def test_what_is_new_is_looked_at_a_thousand_at_a_time_and_once(collecting, collected) -> None:
    frozen = gc.get_freeze_count()
    kept = some_objects(10 * pauses.NEW_OBJECTS)
    assert set(collected) == {0} and len(collected) >= 9
    collecting.step()
    assert gc.get_freeze_count() - frozen >= len(kept)
    collected.clear()
    collecting.step()
    assert collected == [], "nothing is new"


def test_who_asks_for_a_look_at_few_objects_does_not_bring_a_look_at_all_of_them_near(
    collecting, collected
) -> None:
    for _ in range(pauses.OLD_OBJECTS_QUIET // pauses.NEW_OBJECTS):
        some_objects(pauses.NEW_OBJECTS // 10)
        collecting.examine()
    collecting.step()
    assert set(collected) == {0}
    for _ in range(pauses.OLD_OBJECTS_QUIET // pauses.EXAMINED_OBJECTS):
        collecting.examine()
    collecting.step()
    assert 2 in collected


def test_what_is_new_and_was_not_looked_at_is_not_frozen(collecting, collected) -> None:
    frozen = gc.get_freeze_count()
    kept = some_objects(pauses.NEW_OBJECTS // 4)
    collecting.step()
    assert kept and collected == [] and gc.get_freeze_count() == frozen


def test_everything_is_looked_at_once_when_the_market_is_quiet(collecting, collected, clock, moved) -> None:
    kept = some_objects(6 * pauses.NEW_OBJECTS)
    for moved[0] in range(1, 30):
        clock.time += 0.2
        collecting.step()
    assert 2 not in collected, "while it moves nothing old is"
    for _ in range(10):
        clock.time += 0.2
        collecting.step()
    assert kept and collected.count(2) == 1


def test_what_cannot_wait_any_longer_does_not(collecting, collected, moved) -> None:
    kept = []
    while 2 not in collected:
        moved[0] += 1
        # Two thousand are one collection for certain, and mostly two: objects that end meanwhile are counted off.
        kept.append(some_objects(2 * pauses.NEW_OBJECTS))
        collecting.step()
        assert len(kept) <= pauses.OLD_OBJECTS_MOST // pauses.NEW_OBJECTS


def test_pauses_are_measured_while_watched() -> None:
    watched = GcPauses()
    gc.disable()  # else the interpreter may collect by itself between these lines
    try:
        watched.watch()
        gc.collect()
        watched.unwatch()
        gc.collect()
        watched.unwatch()
    finally:
        gc.enable()
    assert [sum(counts) for counts in watched.counts] == [0, 0, 1]
    assert watched.counts[2][min(watched.total_us[2].bit_length(), pauses.BUCKETS - 1)] == 1


def test_a_process_of_its_own_is_left_as_it_was() -> None:
    before = gc.get_threshold()
    collecting = Collecting(lambda: 0)
    collecting.start()
    assert gc.get_threshold() != before and gc.get_freeze_count()
    collecting.stop()
    assert gc.get_threshold() == before
    gc.unfreeze()
