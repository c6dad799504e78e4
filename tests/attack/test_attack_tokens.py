"""Forged, stolen, stale and broken tokens: each is answered by one 401, whatever is wrong with it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from attack import forge, table_tokens
from attack.arena import Arena
from attack.rows import Row
from attack.wire import LEAKED, Attacker

ROWS = [pytest.param(row, id=row.name.replace(" ", "_")) for row in table_tokens.ROWS]


@pytest.fixture(scope="module")
def arena(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Arena]:
    """Its gateway knows one issuer for each algorithm, and lets nobody in without a token."""
    folder = tmp_path_factory.mktemp("tokens")
    made = Arena(folder, *forge.configure(folder), token=forge.token(exp=forge.claims()["exp"] + 3_600))
    yield made
    made.stop()


@pytest.mark.parametrize("row", ROWS)
def test_row(row: Row, arena: Arena) -> None:
    row.play(arena)
    wrong = arena.gateway.said_wrong()
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("algorithm", forge.ISSUERS)
def test_what_is_forged_is_right_but_for_its_fault(algorithm: str, arena: Arena) -> None:
    """Without this, a mistake of the forger would let every row pass."""
    bearer = {"Authorization": f"Bearer {forge.token(algorithm)}"}
    with Attacker(arena.gateway.port, headers=bearer) as client:
        assert client.until("welcome")


def test_no_token_is_told_the_same(arena: Arena) -> None:
    row = table_tokens.TokenRow(name="none", token=lambda: "")
    row.play(arena)


def test_nobody_noticed(arena: Arena) -> None:
    arena.check()
    assert arena.settled(sessions=4).sessions == 4
    assert not LEAKED, LEAKED


def test_no_token_is_in_the_log(arena: Arena) -> None:
    assert "eyJ" not in arena.gateway.program.errors
