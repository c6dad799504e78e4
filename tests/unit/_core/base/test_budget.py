from __future__ import annotations

import pytest

from mdstream._core.base.budget import Allowances, Budget, Budgets


def test_so_many_at_once() -> None:
    budget = Budget(3, 1, now_s=100)
    assert [budget.take(100) for _ in range(5)] == [True, True, True, False, False]


def test_it_fills_up_evenly_and_never_beyond_the_most() -> None:
    budget = Budget(2, 0.5, now_s=0)
    assert budget.take(0) and budget.take(0)
    assert not budget.take(1.9)
    assert budget.take(2.0)
    assert not budget.take(3.9)
    assert [budget.take(1000) for _ in range(3)] == [True, True, False]


def test_as_much_as_is_there() -> None:
    budget = Budget(10, 1, now_s=0)
    assert budget.take(0, 8)
    assert not budget.take(0, 3)
    assert budget.take(0, 2)


def test_more_than_it_can_hold_is_given_when_it_is_full_and_owed() -> None:
    budget = Budget(10, 1, now_s=0)
    assert budget.take(0, 15)
    assert budget.left(0) == -5
    assert not budget.take(5.9)
    assert budget.take(6)
    assert not budget.take(6.5, 15)
    assert budget.take(16, 15)


def test_a_debt_is_no_greater_than_the_most() -> None:
    budget = Budget(100, 10, now_s=0)
    assert budget.take(0, 1e12)
    assert budget.left(0) == -100
    assert budget.left(20) == 100


def test_a_clock_that_goes_back_gives_nothing() -> None:
    budget = Budget(2, 1, now_s=10)
    assert budget.take(10) and budget.take(10)
    assert not budget.take(5)
    assert budget.left(5) == 0


def test_several_budgets_in_one_object_are_apart() -> None:
    allowances = Allowances((2, 1), (10, 5))
    one, other = Budgets(allowances, 0), Budgets(allowances, 0)
    assert [one.take(0, 0) for _ in range(3)] == [True, True, False]
    assert one.take(1, 0, 10) and not one.take(1, 0)
    assert other.take(0, 0) and other.take(1, 0, 10)
    assert one.take(0, 1) and not one.take(0, 1)
    assert one.take(1, 1, 5) and not one.take(1, 1)


def test_a_number_without_a_budget_is_an_error() -> None:
    budgets = Budgets(Allowances((1, 1)), 0)
    for number in (-1, 1, 100):
        with pytest.raises(IndexError):
            budgets.take(number, 0)
    with pytest.raises(ValueError, match="too many"):
        Allowances(*[(1, 1)] * 5)
