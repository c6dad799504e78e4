"""A short run of each fuzz target: its seeds, what was found before, and some thousand mutations that are the same each time."""

from __future__ import annotations

import random

import pytest
from doubles.fuzz_targets import check_counts

from fuzz.entry import EXEMPT, STRANGER
from fuzz.mutation import mutated
from fuzz.targets import TARGETS, FuzzTarget
from mdstream.gateway.config import GatewayConfig
from mdstream.gateway.limits import Limits

RUNS = 3_000


@pytest.mark.parametrize("target", TARGETS.values(), ids=TARGETS)
def test_seeds_and_mutations(target: FuzzTarget) -> None:
    seeds = list(target.seeds())
    for seed in seeds:
        target.run(seed)
    chance = random.Random(target.name)
    for _ in range(RUNS):
        data = mutated(chance, seeds, target.longest)
        try:
            target.run(data)
        except BaseException:
            print(f"{target.name}: {data.hex()}")
            raise


@pytest.mark.parametrize("target", TARGETS.values(), ids=TARGETS)
def test_what_was_found_before(target: FuzzTarget) -> None:
    for path in target.regressions():
        target.run(path.read_bytes())


def test_a_place_that_is_not_given_back_is_found() -> None:
    limits = Limits(GatewayConfig(), lambda: 0.0)
    came = [limits.arrive(peer) for peer in (STRANGER, EXEMPT)]
    check_counts(limits.addresses, limits.users, came)
    with pytest.raises(AssertionError, match="1 handshakes"):
        check_counts(limits.addresses, limits.users, [])
