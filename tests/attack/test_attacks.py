"""The attacks at a size that takes a moment: nobody is harmed, nobody is sent what is not his, and nothing is left."""

from __future__ import annotations

import time

import pytest

from attack import attacks_topics as attacks_topics  # registers them
from attack.arena import DEADLINE_S, Arena
from attack.attacks import ATTACKS
from attack.wire import LEAKED

SIZE = 0.02


@pytest.mark.parametrize("name", ATTACKS)
def test_attack(name: str, arena: Arena) -> None:
    before = arena.gateway.usage()
    ATTACKS[name].run(arena.target, SIZE)
    arena.check()
    arena.settled(before.sessions)
    assert not LEAKED, LEAKED
    wait_for_topics(arena, before.topics)


def wait_for_topics(arena: Arena, most: int) -> None:
    until = time.monotonic() + DEADLINE_S
    while (topics := arena.gateway.usage().topics) > most:
        assert time.monotonic() < until, f"{topics} topics are left, {most} there were"
