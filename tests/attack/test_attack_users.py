"""Users who ask for more than they may see, and tokens and sessions that were revoked."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from attack import (
    forge,
    table_alerts,
    table_entitled,
    table_events,
    table_maps,
    table_revoked,
    table_topics,
)
from attack.arena import Arena
from attack.rows import Row
from attack.rows_users import a_user, enter, subscribe, token, wait_until_hinted
from attack.table_entitled import ALL, BOOK
from attack.wire import LEAKED

ROWS = [
    pytest.param(row, id=row.name[:60].replace(" ", "_"))
    for row in table_entitled.ROWS
    + table_events.ROWS
    + table_maps.ENTITLED
    + table_maps.CHANGED
    + table_alerts.ENTITLED
    + table_topics.OF_USERS
    + table_revoked.ROWS
]


@pytest.fixture(scope="module")
def arena(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Arena]:
    """Its gateway knows one issuer for each algorithm, and lets nobody in without a token."""
    folder = tmp_path_factory.mktemp("users")
    made = Arena(
        folder,
        *(*forge.configure(folder), *table_topics.SETTINGS),
        token=forge.token(exp=forge.claims()["exp"] + 3_600),
    )
    yield made
    made.stop()


@pytest.mark.parametrize("row", ROWS)
def test_row(row: Row, arena: Arena) -> None:
    row.play(arena)
    wrong = arena.gateway.said_wrong()
    assert not wrong, "\n".join(wrong)
    assert not LEAKED, LEAKED


def test_what_a_row_may_not_see_is_there(arena: Arena) -> None:
    """Without this, a market that is empty would let every row of entitlements pass."""
    with enter(arena, token(a_user(), ALL)) as client:
        for name in ("SIM:A", "SIM:QUIET", "SIM:DEEP"):
            subscribe(client, BOOK | {"instruments": [name]})
    wait_until_hinted(arena, (ALL,), "SIM:quiet", "SIM:QUIET")


def test_nobody_noticed(arena: Arena) -> None:
    arena.check()
    assert arena.settled(sessions=4).sessions == 4


def test_no_token_is_in_the_log(arena: Arena) -> None:
    assert "eyJ" not in arena.gateway.program.errors
