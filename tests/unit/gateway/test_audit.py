"""The audit log: what is written, what is only counted, and how much at most."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from mdstream.gateway.audit import MOST_VALUES, Audit
from mdstream.logs import AUDIT, FIELDS, LineFormatter


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


class Collecting(logging.Handler):
    def __init__(self, level: int) -> None:
        super().__init__(level)
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)


@dataclass
class Somebody:
    subject: str = "anna"
    method: str = "jwt"
    token_id: str | None = "t1"
    key_id: str | None = None


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def written() -> Iterator[list[logging.LogRecord]]:
    """The records, as they come."""
    handler = Collecting(logging.INFO)
    log = logging.getLogger(AUDIT)
    level = log.level
    log.setLevel(logging.INFO)
    log.addHandler(handler)
    yield handler.records
    log.removeHandler(handler)
    log.setLevel(level)


def fields(record: logging.LogRecord) -> dict[str, Any]:
    found: dict[str, Any] = getattr(record, FIELDS)
    return found


def test_each_event_has_its_values(written, clock) -> None:
    audit = Audit(clock=clock)
    audit.login("s1", Somebody(), "10.0.0.1:99")
    audit.refused("upgrade", "401", "10.0.0.1:99")
    audit.revoked("credential", "s1", Somebody())
    audit.limited("session", "commands", session="s1", subject="anna")
    assert [(record.getMessage(), fields(record)) for record in written] == [
        (
            "login",
            {"session": "s1", "subject": "anna", "method": "jwt", "address": "10.0.0.1:99", "token_id": "t1"},
        ),
        ("refused", {"what": "upgrade", "reason": "401", "address": "10.0.0.1:99"}),
        ("revoked", {"what": "credential", "session": "s1", "subject": "anna", "token_id": "t1"}),
        ("limited", {"scope": "session", "limit": "commands", "session": "s1", "subject": "anna"}),
    ]
    assert audit.logins_total == {"jwt": 1}
    assert audit.refusals_total == {("upgrade", "401"): 1}
    assert audit.revocations_total == {"credential": 1}
    assert audit.limited_total == {("session", "commands"): 1}


def test_where_nobody_logs_in_the_sessions_are_counted_only(written, clock) -> None:
    audit = Audit(clock=clock)
    audit.login("s1", Somebody(method="none"), "127.0.0.1:1")
    assert written == [] and audit.logins_total == {"none": 1}


def test_a_flood_writes_its_rate_and_one_summary_a_second(written, clock) -> None:
    audit = Audit(10, clock=clock)
    for second in range(5):
        for i in range(1_000):
            clock.now = second + i / 1_000
            audit.refused("upgrade", "401" if i % 2 else "403", f"10.0.0.{i % 7}:{i}")
            audit.tick()
    clock.now = 6.0
    audit.tick()
    kinds = Counter(record.getMessage() for record in written)
    assert 50 <= kinds["refused"] <= 60
    assert 4 <= kinds["summary"] <= 6
    told = sum(fields(record)["unwritten"] for record in written if record.getMessage() == "summary")
    assert told + kinds["refused"] == audit.refusals_total.total() == 5_000
    last = fields(written[-1])
    assert set(last["events"]) == {"refused.upgrade.401", "refused.upgrade.403"}
    assert last["addresses"] == 7 and len(last["most"]) == 5
    before = len(written)
    clock.now = 9.0
    audit.tick()
    assert len(written) == before


def test_one_kind_of_event_does_not_hide_another(written, clock) -> None:
    audit = Audit(1, clock=clock)
    for _ in range(100):
        audit.refused("upgrade", "401", "10.0.0.1:1")
    audit.login("s1", Somebody(), "10.0.0.2:1")
    assert [record.getMessage() for record in written] == ["refused", "login"]


def test_values_that_a_client_chooses_do_not_grow_the_metrics(clock) -> None:
    audit = Audit(0, clock=clock)
    for i in range(10_000):
        audit.refused("upgrade", f"reason {i}", f"10.0.{i // 250}.{i % 250}:1")
        audit.limited("session", f"limit {i}")
    assert len(audit.refusals_total) == len(audit.limited_total) == MOST_VALUES + 1
    assert audit.refusals_total.total() == 10_000


def test_a_line_cannot_be_forged_nor_grow_long(written, clock) -> None:
    audit = Audit(clock=clock)
    audit.login("s1", Somebody(subject="x\n2026-01-01T00:00:00.000Z info audit: login subject=root"), "a")
    audit.login("s2", Somebody(subject="y" * 10_000), "a")
    first, second = (LineFormatter().format(record) for record in written)
    assert "\n" not in first and 'subject="x\\n2026' in first
    assert len(second) < 500


def test_no_lines_at_all_can_be_asked_for(written, clock) -> None:
    audit = Audit(0, clock=clock)
    audit.refused("upgrade", "401", "10.0.0.1:1")
    clock.now = 10.0
    audit.tick()
    assert written == [] and audit.refusals_total.total() == 1
