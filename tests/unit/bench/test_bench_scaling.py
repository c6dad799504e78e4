"""The model of several workers, and what is made of measurements; nothing is started."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest

from mdstream.bench.profiles import BUILT_IN
from mdstream.bench.results import Pass
from mdstream.bench.scaling import Costs, scale, scaling_table
from mdstream.bench.setup import Setup
from mdstream.errors import BenchError
from support.bench import made_pass

UPDATE_US, DELIVERY_US = 12.0, 4.0
RATE = 2_000.0


def measured(connections: int, workers: int, per_connection_per_s: float = 200.0) -> Pass:
    """What a gateway would use whose costs are exactly those of the model."""
    deliveries = connections * per_connection_per_s
    cpu_us = workers * RATE * UPDATE_US + deliveries * DELIVERY_US
    return made_pass(
        connections=connections,
        window_s=2.0,
        updates=round(deliveries * 2),
        published_per_s=RATE,
        cpu_s=cpu_us * 2 / 1e6,
    )


def test_two_loads_give_the_two_costs() -> None:
    costs = Costs.of(measured(50, 1), measured(250, 1))
    assert (costs.update_us, costs.delivery_us) == pytest.approx((UPDATE_US, DELIVERY_US))
    with pytest.raises(BenchError, match="measure for longer"):
        Costs.of(measured(250, 1), measured(250, 1))


def test_no_cost_is_negative() -> None:
    cheap = msgspec.structs.replace(measured(50, 1), cpu_s=0.0)
    assert Costs.of(cheap, measured(250, 1)).update_us == 0
    dear = msgspec.structs.replace(measured(50, 1), cpu_s=2.0)
    assert Costs.of(dear, measured(250, 1)).delivery_us == 0


def test_what_grows_with_workers_is_what_each_pays() -> None:
    assert Costs(0.0, 5.0).share(RATE, 50_000.0, 16) == 1
    assert Costs(10.0, 0.0).share(RATE, 50_000.0, 16) == pytest.approx(1 / 16)
    costs = Costs(UPDATE_US, DELIVERY_US)
    shares = [costs.share(RATE, 50_000.0, workers) for workers in (1, 2, 4, 16)]
    assert shares[0] == 1 and shares == sorted(shares, reverse=True)
    together = (RATE * UPDATE_US + 4 * 50_000 * DELIVERY_US) / (4 * (RATE * UPDATE_US + 50_000 * DELIVERY_US))
    assert shares[2] == pytest.approx(together)


class Fleet:
    """Stands in for what measures; the environment is never used."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.seen: list[tuple[int, int]] = []
        monkeypatch.setattr("mdstream.bench.runner.one_pass", self.one_pass)

    async def one_pass(self, item: Any, setup: Setup, measure: Any) -> Pass:
        connections = item.profile.connections
        self.seen.append((connections, setup.workers))
        return measured(connections, setup.workers)


def test_each_is_measured_in_turn_and_the_medians_count(monkeypatch: pytest.MonkeyPatch) -> None:
    fleet, told = Fleet(monkeypatch), []
    scaled = asyncio.run(scale(BUILT_IN["symbols"], Setup(repeat=2), workers=2, tell=told.append))
    assert fleet.seen == [(50, 1), (250, 1), (500, 2)] * 2
    assert len(told) == 6
    assert scaled.exact and scaled.ratio == pytest.approx(1.0)
    assert (scaled.costs.update_us, scaled.costs.delivery_us) == pytest.approx((UPDATE_US, DELIVERY_US))
    table = scaling_table([scaled])
    assert len(table.rows[0]) == len(table.heads)
    assert table.rows[0][:3] == ["symbols", "exact", "250"]
