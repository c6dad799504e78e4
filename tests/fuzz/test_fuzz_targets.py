"""A short run of each fuzz target: its seeds, what was found before, and some thousand mutations that are the same each time."""

from __future__ import annotations

import random

import pytest

from fuzz.mutation import mutated
from fuzz.targets import TARGETS, FuzzTarget

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
