"""The simulated order flow: seeded, never crossed, and its updates add up to its book."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pytest

from mdstream.feeds.sim.engine import KNOWN, Burst, Simulation, Status, profile
from mdstream.feeds.sim.order_flow import MAX_BLOCK, WINDOW, Ints, OrderFlow, Profile, Update

SMALL = Profile("X-Y", -2, -2, 1_000_000, 500)


def make_flow(seed: int = 7, profile: Profile = SMALL) -> OrderFlow:
    return OrderFlow(profile, np.random.default_rng(seed))


def as_dict(flat: Ints) -> dict[int, int]:
    return dict(zip(flat[::2].tolist(), flat[1::2].tolist(), strict=True))


def apply(book: tuple[dict[int, int], dict[int, int]], update: Update) -> None:
    """Applies as a follower would, checking what every update promises."""
    for side, flat in zip(book, (update.bids, update.asks), strict=True):
        changes = as_dict(flat)
        assert len(changes) == len(flat) // 2, "a price was named twice"
        for ticks, lots in changes.items():
            assert side.get(ticks, 0) != lots, "a change changed nothing"
            if lots:
                side[ticks] = lots
            else:
                del side[ticks]
    assert max(book[0]) < min(book[1])
    assert update.changes == (len(update.bids) + len(update.asks)) // 2


@pytest.mark.parametrize("orders", [1, 7, 300, MAX_BLOCK])
def test_updates_add_up_to_the_book_and_never_cross(orders: int) -> None:
    flow = make_flow()
    bids, asks = flow.full_book()
    follower = as_dict(bids), as_dict(asks)
    for _ in range(60_000 // (orders + 100)):
        flow.wander(0.05)
        for update in flow.block(orders, 5.0):
            apply(follower, update)
        assert flow.best == (max(follower[0]), min(follower[1]))
    bids, asks = flow.full_book()
    assert follower == (as_dict(bids), as_dict(asks))


def test_fills_take_what_stands_at_the_touch() -> None:
    flow = make_flow()
    fills = 0
    for _ in range(200):
        bids, asks = (as_dict(flat) for flat in flow.full_book())
        best_bid, best_ask = flow.best
        for update in flow.block(12, 5.0):
            for fill in update.fills:
                standing, best = (asks, best_ask) if fill.side == "buy" else (bids, best_bid)
                assert 0 < fill.lots <= standing[fill.ticks]
                left = as_dict(update.asks if fill.side == "buy" else update.bids)[fill.ticks]
                assert left == standing[fill.ticks] - fill.lots
                fills += 1
            if update.fills:
                assert update.fills[0].ticks == best, "the touch is taken first"
    assert fills > 50


def test_the_ladder_follows_a_price_that_runs_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mdstream.feeds.sim.order_flow.MARGIN", WINDOW // 2 - 50)
    flow = make_flow(profile=Profile("X-Y", -2, -2, 1_000_000, 500, sigma=0.0))
    bids, asks = flow.full_book()
    follower = as_dict(bids), as_dict(asks)
    moved: list[int] = []
    for value in (2_000_000, 0):
        flow._value = value
        for _ in range(2500):
            for update in flow.block(8, 5.0):
                apply(follower, update)
        moved.append(flow._base)
    assert moved[0] >= 1_000_000 - WINDOW // 2 + 50
    assert moved[1] <= moved[0] - 50
    bids, asks = flow.full_book()
    assert follower == (as_dict(bids), as_dict(asks))


def test_levels_cluster_near_the_touch() -> None:
    flow = make_flow()
    near = far = 0
    for _ in range(300):
        best_bid, best_ask = flow.best
        for update in flow.block(64, 8.0):
            for best, flat in ((best_bid, update.bids), (best_ask, update.asks)):
                distances = np.abs(flat[::2] - best)
                near += int((distances < 20).sum())
                far += int((distances >= 300).sum())
    assert near > 3 * far > 0


def events(simulation: Simulation, seconds: float) -> Iterable[Burst | Status]:
    while simulation.now_us < int(seconds * 1e6):
        yield from simulation.advance()


def flat_events(seed: int, rate: float = 3000) -> list[object]:
    simulation = Simulation(["A-B", "C-D", "E-F"], seed=seed, rate=rate, halts_per_hour=600)
    told: list[object] = []
    for event in events(simulation, 10):
        if isinstance(event, Burst):
            for bids, asks, _, fills in event.updates:
                told.append((event.number, event.at_us, bids.tolist(), asks.tolist(), fills))
        else:
            told.append(event)
    return told


def test_the_same_seed_gives_the_same_sequence_and_another_does_not() -> None:
    first = flat_events(seed=11)
    assert first == flat_events(seed=11)
    assert first != flat_events(seed=12)
    assert any(isinstance(event, Status) for event in first)


@pytest.mark.parametrize(("rate", "seconds"), [(1, 150), (200, 30), (20_000, 6), (1_000_000, 2)])
def test_the_rate_is_kept_on_average(rate: float, seconds: float) -> None:
    simulation = Simulation([known.symbol for known in KNOWN], seed=5, rate=rate)
    changes = sum(
        update.changes
        for event in events(simulation, seconds)
        if isinstance(event, Burst)
        for update in event.updates
    )
    assert changes / seconds == pytest.approx(rate, rel=0.15)


def test_bursts_come_together() -> None:
    """A self-exciting process: counts per second vary more than a Poisson process's, whose variance is its mean."""
    simulation = Simulation(["A-B"], seed=3, rate=400, halts_per_hour=0)
    counts = np.zeros(100)
    for event in events(simulation, 100):
        counts[event.at_us // 1_000_000] += 1
    assert counts.var() > 1.5 * counts.mean()


def test_a_halted_instrument_is_silent_until_it_trades_again() -> None:
    simulation = Simulation(["A-B", "C-D"], seed=2, rate=2000, halts_per_hour=1200)
    halted: set[int] = set()
    halts = 0
    for event in events(simulation, 30):
        if isinstance(event, Status):
            assert (event.state == "halted") == (event.number not in halted)
            halted ^= {event.number}
            halts += event.state == "halted"
        else:
            assert event.number not in halted
    assert halts > 2


def test_an_unknown_symbol_gets_a_profile_of_its_own_that_stays() -> None:
    assert profile("FOO-BAR") == profile("FOO-BAR")
    assert profile("FOO-BAR") != profile("BAR-FOO")
    assert profile("BTC-USD") is KNOWN[0]
