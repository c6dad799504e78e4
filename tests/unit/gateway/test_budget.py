from __future__ import annotations

import pytest

from mdstream.codes import ErrorCode
from mdstream.errors import CommandError
from mdstream.gateway import GatewayConfig
from mdstream.gateway.budget import Cost, OverBudget, SessionBudgets, allowances_of


class Clock:
    now_s = 1_000.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_each_cost_has_a_budget_of_its_own(clock: Clock) -> None:
    config = GatewayConfig(commands_burst=2, commands_per_second=1, levels_burst=100, levels_per_second=10)
    budgets = SessionBudgets(allowances_of(config), clock)
    budgets.charge(Cost.COMMANDS)
    budgets.charge(Cost.COMMANDS)
    with pytest.raises(OverBudget, match="refills with commands_per_second") as refused:
        budgets.charge(Cost.COMMANDS)
    assert (refused.value.code, refused.value.cost) == (ErrorCode.RATE_LIMITED, Cost.COMMANDS)
    budgets.charge(Cost.LEVELS, 150)
    with pytest.raises(OverBudget):
        budgets.charge(Cost.LEVELS)
    clock.now_s += 1
    budgets.charge(Cost.COMMANDS)
    with pytest.raises(OverBudget):
        budgets.charge(Cost.LEVELS)
    clock.now_s += 5
    budgets.charge(Cost.LEVELS)


def test_somebody_else_is_charged_the_same(clock: Clock) -> None:
    budgets = SessionBudgets(allowances_of(GatewayConfig()), clock)
    charged: list[tuple[Cost, float]] = []

    def charge(cost: Cost, amount: float) -> str | None:
        charged.append((cost, amount))
        return "too many of one user" if cost is Cost.ANSWER_BYTES else None

    budgets.also = charge
    budgets.charge(Cost.DECODED_BYTES, 77)
    budgets.charge(Cost.LEVELS, 5)
    with pytest.raises(CommandError, match="too many of one user"):
        budgets.charge(Cost.ANSWER_BYTES, 9)
    assert charged == [(Cost.DECODED_BYTES, 77), (Cost.LEVELS, 5), (Cost.ANSWER_BYTES, 9)]


def test_errors_refill_within_a_minute(clock: Clock) -> None:
    budgets = SessionBudgets(allowances_of(GatewayConfig(max_errors=2)), clock)
    assert [budgets.charge_error() for _ in range(3)] == [True, True, False]
    clock.now_s += 30
    assert [budgets.charge_error() for _ in range(2)] == [True, False]
