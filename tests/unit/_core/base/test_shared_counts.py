from __future__ import annotations

import random

import pytest

from mdstream._core.base.budget import Budget
from mdstream._core.base.shared_counts import SharedCounts

COLUMNS = 4
CONNECTIONS, HANDSHAKES, SUBSCRIPTIONS = range(3)


def workers(rows: int = 64) -> list[SharedCounts]:
    memory = bytearray(SharedCounts.size(rows, COLUMNS))
    return [SharedCounts(memory, COLUMNS, column) for column in range(COLUMNS)]


def key(number: int) -> int:
    return random.Random(number).getrandbits(64)


def test_a_key_has_the_same_row_for_all() -> None:
    one, other, *_ = workers()
    row = one.hold(key(1))
    assert other.hold(key(1)) == row >= 0
    assert other.hold(key(2)) != row


def test_what_others_have_is_their_sum() -> None:
    one, two, three, _ = workers()
    row = max(each.hold(key(1)) for each in (one, two, three))
    one.put(row, CONNECTIONS, 5)
    two.put(row, CONNECTIONS, 2)
    three.put(row, CONNECTIONS, 1)
    three.put(row, SUBSCRIPTIONS, 9)
    assert [each.elsewhere(row, CONNECTIONS) for each in (one, two, three)] == [3, 6, 7]
    assert one.elsewhere(row, SUBSCRIPTIONS) == 9
    assert one.elsewhere(row, HANDSHAKES) == 0


def test_of_a_process_that_died_nothing_is_left() -> None:
    one, two, three, supervisor = workers()
    rows = [(one.hold(key(n)), two.hold(key(n))) for n in range(20)]
    for row, _ in rows:
        one.put(row, CONNECTIONS, 3)
        two.put(row, CONNECTIONS, 1)
    supervisor.clear(0)
    assert [three.elsewhere(row, CONNECTIONS) for row, _ in rows] == [1] * 20
    supervisor.clear(0)  # and once more: what is clear stays so
    assert [three.elsewhere(row, CONNECTIONS) for row, _ in rows] == [1] * 20


def test_a_row_that_nobody_holds_is_taken_by_another_key() -> None:
    one, two, *_ = workers()
    rows = {one.hold(key(n)): n for n in range(64)}
    assert sorted(rows) == list(range(64))
    assert one.hold(key(100)) == -1
    two.hold(key(7))
    row = next(row for row, n in rows.items() if n == 7)
    one.put(row, CONNECTIONS, 4)
    one.release(row)
    assert one.hold(key(100)) == -1  # the other one holds it still
    two.release(row)
    assert one.hold(key(100)) == row
    assert two.elsewhere(row, CONNECTIONS) == 0


def test_a_key_that_comes_back_finds_its_row_while_nobody_else_needed_it() -> None:
    one, two, *_ = workers()
    row = one.hold(key(1))
    assert one.take(row, 0, 10, 10, 1, 100.0)
    one.release(row)
    assert two.hold(key(1)) == row
    assert not two.take(row, 0, 1, 10, 1, 100.0)


def test_a_budget_is_one_for_all_and_as_that_of_a_single_process() -> None:
    one, two, *_ = workers()
    row = one.hold(key(1))
    two.hold(key(1))
    alone = Budget(50, 7, 1000.0)
    dice, now_s = random.Random(5), 1000.0
    for _ in range(2_000):
        now_s += dice.random() * 2
        amount = dice.choice((1, 3, 20, 60, 170))
        which = dice.choice((one, two))
        assert which.take(row, 2, amount, 50, 7, now_s) == alone.take(now_s, amount)


def test_budgets_can_be_filled() -> None:
    one, *_ = workers()
    row = one.hold(key(1))
    assert one.take(row, 1, 10, 10, 1, 50.0)
    assert not one.take(row, 1, 10, 10, 1, 50.0)
    one.fill(row)
    assert one.take(row, 1, 10, 10, 1, 50.0)


def test_a_row_or_a_column_that_is_none_is_refused() -> None:
    one, *_ = workers()
    for wrong in (-1, 64):
        with pytest.raises(ValueError):
            one.release(wrong)
        with pytest.raises(ValueError):
            one.elsewhere(wrong, 0)
    with pytest.raises(ValueError):
        one.clear(COLUMNS)
    with pytest.raises(ValueError):
        SharedCounts(bytearray(SharedCounts.size(64, COLUMNS)), COLUMNS, COLUMNS)
    with pytest.raises(ValueError):
        SharedCounts(bytearray(100), COLUMNS, 0)
