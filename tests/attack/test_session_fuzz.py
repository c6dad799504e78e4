"""Sessions that do everything in any order: nobody else notices, nothing is left, and the log shows no fault of ours."""

from __future__ import annotations

import os

import pytest

from attack.arena import Arena
from attack.session_fuzz import rampage
from attack.test_attacks import wait_for_topics
from attack.wire import LEAKED

SEEDS = (1, 2, 3)
ACTIONS = 600
LONG = int(os.environ.get("ATTACK_ACTIONS", "200000"))


def go(arena: Arena, seed: int, actions: int) -> None:
    before = arena.gateway.usage()
    done = rampage(arena.target, seed, actions)
    assert sum(done.values()) == actions
    arena.check()
    arena.settled(before.sessions)
    wait_for_topics(arena, before.topics)
    assert not LEAKED, LEAKED


@pytest.mark.parametrize("seed", SEEDS)
def test_a_rampage(seed: int, arena: Arena) -> None:
    go(arena, seed, ACTIONS)


@pytest.mark.complete
def test_a_long_rampage(arena: Arena) -> None:
    for seed in range(LONG // 10_000):
        go(arena, 1_000 + seed, 10_000)
