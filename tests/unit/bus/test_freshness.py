from __future__ import annotations

from mdstream._core.codec.feed_decoder import StatusValue
from mdstream.bus.freshness import Freshness
from mdstream.model import StateCode, VenueState

LIMIT_S = 30.0


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def made(limit_s: float | None = LIMIT_S) -> tuple[Clock, Freshness]:
    clock = Clock()
    return clock, Freshness(clock, limit_s)


def status(heard_s: float | None = None) -> StatusValue:
    """One whose writer heard the venue ``heard_s`` before it; None: it does not say."""
    ts_us = 10**15
    heard_us = None if heard_s is None else ts_us - int(heard_s * 1e6)
    number = None if heard_s is None else 0
    return StatusValue(1, ts_us, VenueState.TRADING, "", number, number, heard_us)


def test_silence_begins_with_the_reader() -> None:
    clock, fresh = made()
    clock.now += LIMIT_S
    assert fresh.silence() is None and fresh.age_ms is None
    clock.now += 0.1
    assert fresh.silence() is StateCode.SILENT


def test_an_accepted_update_is_the_venues_word() -> None:
    clock, fresh = made()
    clock.now += 20
    fresh.updated()
    clock.now += 29
    assert fresh.silence() is None and fresh.age_ms == 29_000
    clock.now += 2
    assert fresh.silence() is StateCode.SILENT


def test_a_writer_that_does_not_hear_its_venue_is_no_life_of_it() -> None:
    clock, fresh = made()
    for second in range(0, 61, 10):
        fresh.told(status(heard_s=second))
        assert fresh.age_ms == second * 1000
        assert (fresh.silence() is StateCode.VENUE_SILENT) == (second > LIMIT_S)
        clock.now += 10
    clock.now += 31
    assert fresh.silence() is StateCode.SILENT


def test_where_heard_is_not_given_the_status_itself_counts() -> None:
    clock, fresh = made()
    for _ in range(10):
        clock.now += 29
        fresh.told(status())
        assert fresh.silence() is None and fresh.age_ms == 0


def test_a_stored_status_is_as_old_as_the_server_says() -> None:
    clock, fresh = made()
    fresh.told(status(heard_s=5), stored_s=20)
    assert fresh.age_ms == 25_000 and fresh.silence() is None
    clock.now += 6
    assert fresh.silence() is StateCode.VENUE_SILENT
    clock.now += 6
    assert fresh.silence() is StateCode.SILENT


def test_an_older_word_never_takes_a_newer_one_back() -> None:
    _, fresh = made()
    fresh.updated()
    fresh.told(status(heard_s=100))
    assert fresh.age_ms == 0


def test_a_fenced_writer_is_no_life_and_is_named() -> None:
    clock, fresh = made()
    fresh.updated()
    for _ in range(31):
        clock.now += 1
        fresh.fenced()
    assert fresh.silence() is StateCode.FENCED
    fresh.updated()
    assert fresh.silence() is None
    clock.now += 31
    assert fresh.silence() is StateCode.SILENT


def test_announcements_are_the_venues_word_only_of_a_writer_that_tells_no_other() -> None:
    clock, fresh = made()
    clock.now += 20
    fresh.announced()
    assert fresh.age_ms == 0
    fresh.told(status(heard_s=0))
    clock.now += 31
    fresh.announced()
    assert fresh.age_ms == 31_000 and fresh.silence() is StateCode.VENUE_SILENT


def test_without_a_limit_nobody_is_silent() -> None:
    clock, fresh = made(None)
    clock.now += 1e6
    assert fresh.silence() is None
