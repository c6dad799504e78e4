from __future__ import annotations

import pytest

from mdstream.bus.past_clock import MARGIN_US, PastClock

SERVER_US = 1_700_000_000_000_000


class Time:
    """Our monotonic clock and the server's; the latter may step."""

    def __init__(self, delay_s: float) -> None:
        self.now_s = 1000.0
        self.step_us = 0
        self.clock = PastClock(delay_s, lambda: self.now_s)

    @property
    def server_us(self) -> int:
        return SERVER_US + int((self.now_s - 1000) * 1e6) + self.step_us

    def note(self, late_s: float = 0.0) -> None:
        """An answer that took so long to come."""
        told = self.server_us
        self.now_s += late_s
        self.clock.note(told)

    def pass_s(self, seconds: float, every_s: float = 5.0) -> None:
        for _ in range(round(seconds / every_s)):
            self.now_s += every_s
            self.note()


def test_then_is_the_servers_time_less_the_delay() -> None:
    time = Time(900)
    assert not time.clock.is_set
    time.note()
    assert time.clock.is_set
    assert time.clock.now_us() == time.server_us - 900_000_000 - MARGIN_US
    time.now_s += 7
    assert time.clock.now_us() == time.server_us - 900_000_000 - MARGIN_US
    assert time.clock.wait_s(time.server_us) == pytest.approx(900 + MARGIN_US / 1e6)


def test_a_slow_answer_makes_nothing_due_too_early() -> None:
    time = Time(10)
    time.note(late_s=3)
    assert time.clock.now_us() == time.server_us - 13_000_000 - MARGIN_US


@pytest.mark.parametrize("step_s", [-3600, -1, 0.3, 3600])
def test_what_was_stored_around_a_step_of_the_servers_clock_is_never_due_too_early(step_s) -> None:
    """And not much too late: each message is judged by the clock that stamped it."""
    delay_s, time = 60, Time(60)
    time.note()
    stored: list[tuple[float, int]] = []
    released: list[tuple[float, float]] = []
    for tick in range(4000):
        time.now_s += 0.05
        if tick % 100 == 0:
            time.note()
        if tick == 250:
            time.step_us += int(step_s * 1e6)
        stored.append((time.now_s, time.server_us))
        while stored and time.clock.wait_s(stored[0][1]) <= 0:
            released.append((stored.pop(0)[0], time.now_s))
    ages_s = [released_s - stored_s for stored_s, released_s in released]
    assert min(ages_s) >= delay_s
    assert len(released) > 2000
    assert max(ages_s) < delay_s + 5.2, "a time that was jumped over is read with the next answer"
    settled = [age for age, (stored_s, _) in zip(ages_s, released, strict=True) if stored_s > 1050]
    assert max(settled) < delay_s + 0.2


def test_old_notes_are_forgotten() -> None:
    time = Time(60)
    time.note()
    time.pass_s(3600)
    time.clock.now_us()
    assert len(time.clock._noted) <= 60 / 5 + 2
