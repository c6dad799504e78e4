"""``make attack``: every attack at ten times the size at which it was found, judged in real time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from attack import attacks_topics as attacks_topics  # registers them
from attack.arena import Arena
from attack.attacks import ATTACKS
from attack.verdict import Calm, back, calm, fight

pytestmark = pytest.mark.complete

SIZE = 10.0
DEEP_LEVELS = 20_000


@pytest.fixture(scope="module")
def arena(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Arena]:
    made = Arena(tmp_path_factory.mktemp("arena"), depth=DEEP_LEVELS, pinned=True)
    yield made
    made.stop()


@pytest.fixture(scope="module", autouse=True)
def quiet(arena: Arena) -> Calm:
    """Before the first attack."""
    return calm(arena)


@pytest.mark.parametrize("name", ATTACKS)
def test_attack_at_ten_times_its_size(name: str, arena: Arena, record_property: Any) -> None:
    verdict = fight(arena, ATTACKS[name], SIZE)
    record_property("verdict", verdict.as_dict())
    wrong = verdict.faults + verdict.late
    assert not wrong, "\n".join(wrong)


def test_after_all_of_them_the_gateway_is_as_before(arena: Arena, quiet: Calm) -> None:
    """Each attack may leave a little; all of them together must not leave more."""
    _, left = back(arena, quiet)
    assert not left
    arena.check()
