from __future__ import annotations

import pytest

from mdstream.auth import revocations
from mdstream.auth.entitlements import NONE
from mdstream.auth.identity import Identity
from mdstream.auth.recent import Recent
from mdstream.auth.revocations import Revocation, Revocations


def identity(subject: str = "alice", *, issued_us: int | None = 100) -> Identity:
    return Identity(subject, "jwt", NONE, token_id="t", key_id="k", issued_us=issued_us)


@pytest.mark.parametrize(("kind", "name"), [("subject", "alice"), ("key", "k"), ("token", "t")])
def test_each_kind_covers_until_it_is_lifted(kind: str, name: str) -> None:
    found = Revocations(lambda: 1_000)
    assert not found.covers(identity())
    assert found.take(Revocation(kind, "other", 200))
    assert not found.covers(identity())
    found.take(Revocation(kind, name, 200))
    assert found.covers(identity())
    found.take(Revocation(kind, name, 300, lifted=True))
    assert not found.covers(identity())


def test_a_subject_may_come_back_with_a_token_that_was_issued_later() -> None:
    found = Revocations(lambda: 1_000)
    found.take(Revocation("subject", "alice", 200))
    assert [found.covers(identity(issued_us=at)) for at in (100, 200, 201, None)] == [True, True, False, True]


def test_it_holds_until_its_time() -> None:
    now_us = [1_000]
    found = Revocations(lambda: now_us[0])
    found.take(Revocation("token", "t", 200, until_us=2_000))
    assert found.covers(identity())
    now_us[0] = 2_000
    assert not found.covers(identity())
    found.take(Revocation("key", "k", 200, until_us=1_500))
    assert not found.covers(identity())


def test_there_is_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(revocations, "MAX_REVOCATIONS", 2)
    now_us = [1_000]
    found = Revocations(lambda: now_us[0])
    assert found.take(Revocation("token", "a", 1, until_us=1_500)) and found.take(Revocation("token", "b", 1))
    assert not found.take(Revocation("key", "k", 1))
    assert found.take(Revocation("token", "b", 2))
    now_us[0] = 1_500
    assert found.take(Revocation("key", "k", 1)) and found.covers(identity())


def test_recent_forgets_the_least_used_and_what_is_over() -> None:
    now_s = [0.0]
    recent: Recent[str] = Recent(2, lambda: now_s[0])
    recent.put(b"a", "A", 10)
    recent.put(b"b", "B", 20)
    assert recent.get(b"a") == "A"
    recent.put(b"c", "C", 30)
    assert [recent.get(name) for name in (b"a", b"b", b"c")] == ["A", None, "C"]
    now_s[0] = 10
    assert recent.get(b"a") is None and len(recent) == 1
    recent.drop(b"c")
    recent.drop(b"c")
    assert len(recent) == 0
    nothing: Recent[str] = Recent(0, lambda: 0.0)
    nothing.put(b"a", "A", 10)
    assert nothing.get(b"a") is None
