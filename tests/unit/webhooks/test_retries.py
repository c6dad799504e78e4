"""When a batch is sent again, and when it is given up."""

from __future__ import annotations

from datetime import UTC, datetime
from email.utils import format_datetime

import pytest

from mdstream.webhooks.retries import MOST_ASKED_S, MOST_S, Retries, asked_of


class Clock:
    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def waits(retries: Retries, clock: Clock, asked_s: float | None = None) -> list[float]:
    found = []
    while (wait_s := retries.wait_s(asked_s)) is not None:
        found.append(wait_s)
        clock.now_s += wait_s
    return found


def test_waits_double_up_to_a_bound_and_then_it_is_given_up() -> None:
    clock = Clock()
    found = waits(Retries(1_500, clock, chance=lambda: 1.0), clock)
    assert found == [1, 2, 4, 8, 16, 32, 64, 128, 256, MOST_S, MOST_S, MOST_S]
    assert clock.now_s < 100 + 1_500


def test_chance_shortens_a_wait_to_its_half_at_most() -> None:
    clock = Clock()
    assert waits(Retries(20, clock, chance=lambda: 0.0), clock) == [0.5, 1, 2, 4, 8]


def test_a_receiver_may_ask_for_more_time_within_a_bound() -> None:
    clock = Clock()
    retries = Retries(86_400, clock, chance=lambda: 1.0)
    assert retries.wait_s(30.0) == 30.0
    assert retries.wait_s(0.0) == 2.0
    assert retries.wait_s(1e9) == MOST_ASKED_S
    assert Retries(60, clock, chance=lambda: 1.0).wait_s(120.0) is None


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        (None, None),
        ("17", 17.0),
        (" 0 ", 0.0),
        (format_datetime(datetime.fromtimestamp(1_000_090, UTC), usegmt=True), 90.0),
        (format_datetime(datetime.fromtimestamp(999_000, UTC), usegmt=True), 0.0),
        ("-5", None),
        ("9" * 400, None),
        ("soon", None),
        ("", None),
        ("Mon, 99 Foo 2026 99:99:99 GMT", None),
    ],
)
def test_what_retry_after_asks_for(text: str | None, seconds: float | None) -> None:
    assert asked_of(text, 1_000_000.0) == seconds
