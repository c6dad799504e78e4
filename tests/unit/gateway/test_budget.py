from __future__ import annotations

from mdstream.gateway.budget import Budget


def test_so_many_at_once() -> None:
    budget = Budget(3, 1, now_s=100)
    assert [budget.take(100) for _ in range(5)] == [True, True, True, False, False]


def test_several_are_taken_together_or_not_at_all() -> None:
    budget = Budget(10, 1, now_s=0)
    assert budget.take(0, 8)
    assert not budget.take(0, 3)
    assert budget.take(0, 2)


def test_more_than_it_holds_is_owed() -> None:
    budget = Budget(10, 1, now_s=0)
    assert budget.take(0, 25)
    assert not budget.take(15, 1)
    assert budget.take(16, 1)


def test_it_fills_up_evenly_and_never_beyond_the_most() -> None:
    budget = Budget(2, 0.5, now_s=0)
    assert budget.take(0) and budget.take(0)
    assert not budget.take(1.9)
    assert budget.take(2.0)
    assert not budget.take(3.9)
    assert [budget.take(1000) for _ in range(3)] == [True, True, False]
