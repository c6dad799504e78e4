from __future__ import annotations

from mdstream.gateway.worker_slots import GOOD_S, MOST_DELAY_S, Restarts, assign, not_ready


def test_each_worker_accepts_on_its_own_slot() -> None:
    assert assign(["a", "b"], ["a", "b"], ["a", "b"]) == ["a", "b"]


def test_the_slots_of_those_that_cannot_are_shared_out_to_the_others() -> None:
    assert assign(["a", "b", "c", "d"], ["c", "d"], ["c", "d"]) == ["c", "d", "c", "d"]
    assert assign([None, "b"], ["b"], ["b"]) == ["b", "b"]


def test_one_that_is_not_ready_is_passed_over_unless_nobody_is() -> None:
    assert assign(["a", "b"], ["a", "b"], ["b"]) == ["b", "b"]
    assert assign(["a", "b"], ["a", "b"], []) == ["a", "b"]


def test_where_nobody_can_accept_connections_wait() -> None:
    assert assign(["a", None], [], []) == [None, None]


def test_the_first_end_costs_no_time_and_the_next_ones_more_and_more() -> None:
    restarts = Restarts()
    assert [restarts.delay_s(1.0) for _ in range(4)] == [0.0, 0.5, 1.0, 2.0]
    assert max(restarts.delay_s(1.0) for _ in range(10)) == MOST_DELAY_S
    assert restarts.delay_s(GOOD_S) == 0.0
    assert restarts.delay_s(1.0) == 0.5


def test_a_gateway_is_ready_with_all_workers_and_stays_so_with_half() -> None:
    away = "NATS is not connected"
    assert not_ready([None, None], was_ready=False) is None
    assert not_ready([None, away], was_ready=False) == f"1 of 2 workers are ready: {away}"
    assert not_ready([None, away], was_ready=True) is None
    assert not_ready([None, away, away], was_ready=True) == f"1 of 3 workers are ready: {away}"
    assert not_ready([away], was_ready=True) == f"0 of 1 workers are ready: {away}"
