"""Which of the venue's trades are published by one who takes over."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from mdstream.feed.recent_trades import KEPT_US, RecentTrades


class Heard:
    def __init__(self, *ids: Any) -> None:
        self.now_us = 0
        self.recent = RecentTrades(lambda: self.now_us)
        self._ids: dict[int, Any] = {}
        for trade_id in ids:
            self.note(trade_id)

    def note(self, trade_id: Any) -> None:
        call: Callable[..., bytes] = lambda writer: b""  # noqa: E731
        self._ids[id(call)] = trade_id, call
        self.recent.note(trade_id, call)

    def named(self, calls: list[Any]) -> list[Any]:
        return [self._ids[id(call)][0] for call in calls]


@pytest.mark.parametrize(
    ("heard", "last", "published"),
    [
        ((1, 2, 3), 2, [3]),
        ((1, 2, 3), 3, []),
        ((5, 7), 6, [7]),
        ((5, 7), 4, [5, 7]),
        (("a", "b", "c"), "a", ["b", "c"]),
        (("a", "b"), "z", []),
        ((None, None), 9, []),
        ((1, 2), None, []),
        ((), 3, []),
    ],
)
def test_those_after_the_last_one_are_published(heard: Any, last: Any, published: Any) -> None:
    trades = Heard(*heard)
    assert trades.named(trades.recent.after(last)) == published


def test_those_that_come_to_us_later_than_to_the_other_are_not_published_again() -> None:
    recent = Heard(1, 2).recent
    assert recent.after(4) == []
    assert [recent.is_published(trade_id) for trade_id in (3, 4, 5, 4)] == [True, True, False, False]


def test_old_ones_are_forgotten() -> None:
    trades = Heard(1)
    trades.now_us = KEPT_US + 1
    trades.note(2)
    assert trades.named(trades.recent.all()) == [2]
