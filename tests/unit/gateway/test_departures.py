"""A client that leaves is counted and forgotten at once; of whom more is kept, that ends too."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from mdstream._core.base.budget import Allowances, ClockedBudgets
from mdstream._core.entry.departures import Departures
from mdstream._core.entry.visitor import ClientState, Visitor
from mdstream.auth.identity import NOBODY
from mdstream.gateway.config import GatewayConfig
from mdstream.gateway.limits import Limits


class Session:
    context: ClientState


@dataclass
class Stage:
    """A gateway with one client."""

    all_unusual: bool = False
    closes_total: Counter[int] = field(default_factory=Counter)
    open: dict[Any, None] = field(default_factory=dict)
    kept: dict[Any, Any] = field(default_factory=dict)
    ended: list[tuple[Session, int]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.limits = Limits(GatewayConfig(), lambda: 0.0)
        visitor = self.limits.arrive(b"\xcb\x00\x71\x07")
        assert isinstance(visitor, Visitor) and visitor.identity is NOBODY
        self.limits.entered(visitor)
        self.limits.subscribed(visitor, 3)
        self.session = Session()
        budgets = ClockedBudgets(Allowances((1, 1)), lambda: 0.0)
        self.session.context = ClientState("name", budgets, 0.0, visitor)
        self.open[self.session] = None
        self.departures = Departures(
            self,
            self.limits,
            self.closes_total,
            self.open,
            kept=({}, self.kept),
            all_unusual=self.all_unusual,
        )

    def end(self, session: Session, code: int) -> None:
        self.ended.append((session, code))


def test_one_of_whom_nothing_is_kept_is_forgotten_at_once() -> None:
    on = Stage()
    share = on.session.context.visitor.place
    assert (share.connections, share.subscriptions) == (1, 3)
    on.departures.closed(on.session, 1001)
    assert (share.connections, share.subscriptions) == (0, 0)
    assert on.open == {} and on.ended == [] and on.closes_total == {1001: 1}


def test_one_that_was_never_open_is_only_counted() -> None:
    on = Stage()
    on.departures.closed(Session(), 1006)
    assert on.closes_total == {1006: 1} and list(on.open) == [on.session] and on.ended == []


def waits(on: Stage) -> None:
    on.kept[on.session] = "something"


def has_tasks(on: Stage) -> None:
    on.session.context.tasks = set()


def is_recorded(on: Stage) -> None:
    on.session.context.parts = {}


def is_logged(on: Stage) -> None:
    on.departures.are_logged = True


@pytest.mark.parametrize("of", [waits, has_tasks, is_recorded, is_logged], ids=lambda of: of.__name__)
def test_one_of_whom_more_is_kept_is_for_the_sessions(of: Callable[[Stage], None]) -> None:
    on = Stage()
    of(on)
    on.departures.closed(on.session, 1000)
    assert on.ended == [(on.session, 1000)] and on.closes_total == {1000: 1}
    assert list(on.open) == [on.session], "the sessions take it out"


def test_all_may_be_for_the_sessions() -> None:
    on = Stage(all_unusual=True)
    on.departures.closed(on.session, 1000)
    assert on.ended == [(on.session, 1000)]


def test_a_session_that_ends_is_logged(run, stage, caplog) -> None:
    async def scenario() -> None:
        with caplog.at_level(logging.DEBUG, logger="mdstream.gateway.sessions"):
            on = stage()
            client = on.client()
            on.sessions.closed(client, 1000)
            assert client not in on.sessions

    run(scenario())
    assert any("closed with 1000" in record.message for record in caplog.records)
