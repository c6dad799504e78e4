"""What the clients of a load test do: dealt out, drawn, and the same each time."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from mdstream._bench.plan import Group, Plan
from mdstream.errors import BenchError

NAMES = [f"SIM:SYM{i}" for i in range(20)]


def plan(*groups: Group, **options: Any) -> Plan:
    return Plan(gateways=[("127.0.0.1", 1)], instruments=NAMES, groups=groups, **options)


def test_even_deals_all_instruments_out_one_after_the_other() -> None:
    chosen = plan(Group(connections=10, instruments=4)).chosen()
    assert Counter(index for _, mine in chosen for index in mine) == dict.fromkeys(range(20), 2)


def test_each_group_deals_for_itself() -> None:
    chosen = plan(Group(connections=10, instruments=4), Group(connections=5, instruments=4)).chosen()
    for group, times in ((0, 2), (1, 1)):
        mine = Counter(each for index, picked in chosen if index == group for each in picked)
        assert mine == dict.fromkeys(range(20), times)


def test_a_later_process_deals_on_from_where_the_one_before_ended() -> None:
    whole = plan(Group(connections=10, instruments=3)).chosen()
    parts = [plan(Group(connections=5, instruments=3), offset=offset).chosen() for offset in (0, 5)]
    assert parts[0] + parts[1] == whole


def test_zipf_draws_popular_ones_more_often_and_none_twice() -> None:
    chosen = plan(Group(connections=400, instruments=5, choice="zipf")).chosen()
    assert all(len(set(mine)) == 5 for _, mine in chosen)
    often = Counter(index for _, mine in chosen for index in mine)
    assert often[0] > 2 * often[19] > 0


def test_zipf_can_take_all_there_are() -> None:
    [(_, mine)] = plan(Group(connections=1, instruments=20, choice="zipf")).chosen()
    assert sorted(mine) == list(range(20))


def test_the_same_seed_gives_the_same_plan_and_another_another() -> None:
    group = Group(connections=50, instruments=3, choice="zipf")
    assert plan(group, seed=1).chosen() == plan(group, seed=1).chosen()
    assert plan(group, seed=1).chosen() != plan(group, seed=2).chosen()


def test_groups_are_interleaved_by_their_size() -> None:
    chosen = plan(Group(connections=6), Group(connections=3), Group(connections=0)).chosen()
    assert all(Counter(index for index, _ in chosen[i : i + 3]) == {0: 2, 1: 1} for i in (0, 3, 6))


@pytest.mark.parametrize(
    ("group", "said"),
    [
        ({"channel": "candles"}, "channel is 'candles'"),
        ({"choice": "best"}, "choice is 'best'"),
        ({"instruments": 21}, "want 21 instruments each, the plan has 20"),
        ({"depth": -1}, "depth is -1"),
        ({"pause_s": 1.0, "read_s": 0.0}, "read_s is 0.0"),
    ],
)
def test_a_group_that_cannot_be_is_refused(group: dict[str, Any], said: str) -> None:
    with pytest.raises(BenchError, match=said):
        plan(Group(connections=1, **group))


def test_a_plan_needs_a_gateway_and_a_known_format() -> None:
    with pytest.raises(BenchError, match="gateway"):
        Plan(gateways=[], instruments=NAMES, groups=[Group(connections=1)])
    with pytest.raises(BenchError, match="'xml'"):
        plan(Group(connections=1), format="xml")
