from __future__ import annotations

import pytest

from mdstream.gateway.group_digits import group_of


@pytest.mark.parametrize(
    ("price", "digits", "tick", "group"),
    [
        (6_412_310, 3, 1, 50_000),
        (6_412_310, 4, 1, 5_000),
        (6_412_310, 5, 1, 500),
        (6_412_310, 6, 1, 50),
        (1_000, 4, 1, 1),
        (999, 4, 1, 1),
        (2_000, 4, 1, 2),
        (-6_412_310, 3, 1, 50_000),
        (0, 3, 1, 1),
        (6_412_310, 3, 25, 50_000),
        (6_412_310, 6, 25, 50),
        (6_412_310, 6, 100, 1),
    ],
)
def test_the_greatest_group_that_leaves_so_many_figures(
    price: int, digits: int, tick: int, group: int
) -> None:
    assert group_of(price, digits, tick) == group
    if group > 1:
        assert abs(price) // group >= 10 ** (digits - 1) and group % tick == 0
