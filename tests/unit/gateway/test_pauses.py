from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable, Iterator
from unittest.mock import Mock

import pytest

from mdstream.gateway import pauses
from mdstream.gateway.pauses import Collecting, GcPauses


@pytest.fixture
def collected(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """The generations that were collected; nothing else collects meanwhile."""
    generations: list[int] = []
    monkeypatch.setattr(pauses, "OLD_OBJECTS_QUIET", 5_000)

    def told(phase: str, info: dict[str, int]) -> None:
        if phase == "stop":
            generations.append(info["generation"])

    gc.collect()
    gc.disable()
    gc.callbacks.append(told)
    yield generations
    gc.callbacks.remove(told)
    gc.unfreeze()
    gc.enable()


@pytest.fixture
def looks() -> list[float]:
    """The delays of the further looks that were asked for."""
    return []


@pytest.fixture
def later(looks) -> pauses.Later:
    def call_later(delay_s: float, callback: Callable[[], None]) -> asyncio.TimerHandle:
        looks.append(delay_s)
        return Mock(spec=asyncio.TimerHandle)

    return call_later


def test_new_objects_are_looked_at_often_and_everything_when_it_is_quiet(collected, later) -> None:
    now = 0

    def moved() -> int:
        return now

    collecting = Collecting(moved, later)
    kept = []
    for now in range(1, 20):  # noqa: B007 - ``moved`` reads it
        kept.append([[] for _ in range(pauses.NEW_OBJECTS)])
        collecting.step()
    assert collected == [0] * 19, "while the market moves nothing old is looked at"
    collected.clear()
    for _ in range(pauses.QUIET_STEPS + 1):
        collecting.step()
    assert collected.count(2) == 1, "and when it is quiet, once"
    assert kept


def test_what_cannot_wait_any_longer_does_not(collected, later, monkeypatch) -> None:
    monkeypatch.setattr(pauses, "OLD_OBJECTS_MOST", 20_000)
    moves = iter(range(1_000_000))
    collecting = Collecting(lambda: next(moves), later)
    kept = []
    while 2 not in collected:
        kept.append([[] for _ in range(pauses.NEW_OBJECTS)])
        collecting.step()
        assert len(kept) <= 2 * pauses.OLD_OBJECTS_MOST // pauses.NEW_OBJECTS


def test_it_looks_again_soon_only_while_many_objects_are_made(collected, later, looks) -> None:
    collecting = Collecting(lambda: 0, later)
    collecting.step()
    looks.clear()
    collecting.step()
    assert looks == []
    kept = [[] for _ in range(2 * pauses.MANY_OBJECTS)]
    collecting.step()
    assert looks == [pauses.SOON_S]
    collecting.step()
    assert looks == [pauses.SOON_S], "none was made since"
    assert kept and collected == []


def test_pauses_are_measured_while_watched() -> None:
    watched = GcPauses()
    watched.watch()
    gc.collect()
    watched.unwatch()
    gc.collect()
    watched.unwatch()
    assert [sum(counts) for counts in watched.counts] == [0, 0, 1]
    assert watched.counts[2][min(watched.total_us[2].bit_length(), pauses.BUCKETS - 1)] == 1


def test_a_process_of_its_own_is_left_as_it_was(run) -> None:
    async def scenario() -> None:
        collecting = Collecting(lambda: 0, asyncio.get_running_loop().call_later)
        collecting.start()
        assert not gc.isenabled() and gc.get_freeze_count()
        collecting.stop()
        assert gc.isenabled()
        gc.unfreeze()

    run(scenario())
