"""When sessions are told and ended, by a clock that does as the test says."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from mdstream.auth.entitlements import NONE
from mdstream.auth.identity import Identity
from mdstream.auth.revocations import Revocation, Revocations
from mdstream.codes import CloseCode
from mdstream.gateway.lifetimes import RACE_S, Lifetimes, SingleSessions, line_of


class FakeSession:
    def __init__(self, desk: Desk, id: str, identity: Identity, line: int) -> None:
        self.open = True
        self.codes: list[int] = []
        self.context = SimpleNamespace(id=id, identity=identity, opened_s=desk.now_s, line=line)

    def close(self, code: int, reason: str) -> None:
        self.open = False
        self.codes.append(code)


class Desk:
    """A gateway's sessions, and what they were told."""

    def __init__(self) -> None:
        self.now_s = 1_000.0
        self.sessions: list[FakeSession] = []
        self.told: list[tuple[float, str]] = []
        self.revocations = Revocations(lambda: 0)
        self.revoked: Counter[str] = Counter()
        member: Callable[[Any], Any] = lambda session: session.context  # noqa: E731
        everybody: Any = self.sessions
        self.lifetimes = Lifetimes(
            everybody,
            self.revocations,
            member=member,
            tell_expiring=lambda session, identity: self.told.append((self.now_s, member(session).id)),
            tell_revoked=lambda what, member: self.revoked.update([what]),
            now_s=lambda: self.now_s,
        )
        self.single = SingleSessions(member, lambda: self.now_s)

    def open(
        self,
        id: str,
        *,
        lasts_s: float | None = None,
        leeway_s: float = 0.0,
        subject: str = "alice",
        line: int = 1,
    ) -> Any:
        session = FakeSession(self, id, self.identity(lasts_s, leeway_s, subject), line)
        self.sessions.append(session)
        self.lifetimes.follow(session, session.context.identity)  # type: ignore[arg-type]
        return session

    def identity(self, lasts_s: float | None, leeway_s: float = 0.0, subject: str = "alice") -> Identity:
        if lasts_s is None:
            return Identity(subject, "api_key", NONE)
        ends_s = self.now_s + lasts_s + leeway_s
        return Identity(subject, "jwt", NONE, expires_us=1, expires_at_s=ends_s, leeway_s=leeway_s)

    def tick_until(self, now_s: float) -> None:
        while self.now_s < now_s:
            self.now_s += 1
            self.lifetimes.tick()


@pytest.fixture
def desk() -> Desk:
    return Desk()


@pytest.mark.parametrize(
    ("lasts_s", "leeway_s", "told_s", "ended_s"),
    [(600, 0, 540, 600), (600, 30, 540, 630), (120, 0, 60, 120), (40, 0, 20, 40), (-10, 30, 1, 20)],
)
def test_a_session_is_told_60_s_before_or_at_half_its_life(
    desk: Desk, lasts_s: float, leeway_s: float, told_s: float, ended_s: float
) -> None:
    session = desk.open("a", lasts_s=lasts_s, leeway_s=leeway_s)
    desk.tick_until(1_000 + ended_s - 1)
    assert desk.told == [(1_000 + told_s, "a")] and session.open
    desk.tick_until(1_000 + ended_s)
    assert session.codes == [CloseCode.TOKEN_EXPIRED]
    assert desk.lifetimes.expired_total == 1


def test_a_renewed_session_goes_on(desk: Desk) -> None:
    session = desk.open("a", lasts_s=100)
    desk.tick_until(1_060)
    session.context.identity = desk.identity(1_000)
    desk.lifetimes.follow(session, session.context.identity)
    desk.tick_until(1_900)
    assert session.open and len(desk.told) == 1
    desk.tick_until(2_060)
    assert session.codes == [CloseCode.TOKEN_EXPIRED] and len(desk.told) == 2


def test_who_has_no_end_is_not_followed_and_who_left_is_forgotten(desk: Desk) -> None:
    desk.open("a")
    for i in range(2_000):
        desk.open(str(i), lasts_s=10_000).open = False
        desk.sessions.pop()
    desk.lifetimes.tick()
    assert len(desk.lifetimes._due) < 1_100


def test_a_revocation_ends_whom_it_covers_and_nobody_else(run: Callable[..., Any], desk: Desk) -> None:
    async def scenario() -> None:
        sessions = [desk.open(str(i), subject="alice" if i % 2 else "bob") for i in range(5_000)]
        for revocation in (Revocation("subject", "alice", 5), Revocation("session", "0", 5)):
            desk.revocations.take(revocation)
            desk.lifetimes.revoke(revocation)
        desk.lifetimes.revoke(Revocation("subject", "bob", 5, lifted=True))
        while desk.lifetimes._scanning is not None:
            desk.now_s += 0.001
            await asyncio.sleep(0)
        assert desk.lifetimes.revoked_total == 2_501
        assert desk.revoked == {"credential": 2_500, "session": 1}
        assert all(session.open == (i % 2 == 0 and i > 0) for i, session in enumerate(sessions))

    run(scenario())


def test_what_is_revoked_during_a_look_at_all_sessions_ends_those_that_it_has_passed(
    run: Callable[..., Any], desk: Desk
) -> None:
    async def scenario() -> None:
        sessions = [desk.open(str(i), subject="alice" if i == 0 else "bob") for i in range(100)]
        revoke = desk.lifetimes.revoke
        revoke(Revocation("session", "99", 5))
        desk.lifetimes._now_s = lambda: next(times)
        times = iter(range(10_000))  # one session in each turn of the loop
        while desk.lifetimes._to_scan is None:
            await asyncio.sleep(0)
        for revocation in (Revocation("subject", "alice", 5), Revocation("session", "1", 5)):
            desk.revocations.take(revocation)
            revoke(revocation)
        while desk.lifetimes._scanning is not None:
            await asyncio.sleep(0)
        assert [i for i, session in enumerate(sessions) if not session.open] == [0, 1, 99]
        assert desk.revoked == {"credential": 1, "session": 2}

    run(scenario())


def test_of_two_sessions_of_a_subject_the_newer_stays(desk: Desk) -> None:
    first, other = desk.open("1"), desk.open("2", subject="bob")
    for session in (first, other):
        desk.single.opened(session)
    desk.single.opened_elsewhere("alice", "1")  # our own
    assert first.open
    second = desk.open("3")
    desk.single.opened(second)
    assert first.codes == [CloseCode.REPLACED] and second.open and other.open
    desk.single.closed(first)
    desk.now_s += RACE_S
    desk.single.opened_elsewhere("alice", "0")
    assert second.codes == [CloseCode.REPLACED] and other.open
    desk.single.closed(second)
    desk.single.opened_elsewhere("alice", "4")


def test_two_that_open_at_the_same_time_on_two_gateways_agree_on_one() -> None:
    here, there = Desk(), Desk()
    one, two = here.open("aa"), there.open("bb")
    here.single.opened(one)
    there.single.opened(two)
    here.single.opened_elsewhere("alice", "bb")
    there.single.opened_elsewhere("alice", "aa")
    assert [one.open, two.open] == [False, True]


def test_a_subject_has_a_session_on_each_of_two_lines(desk: Desk) -> None:
    first, second = desk.open("1"), desk.open("2", line=2)
    for session in (first, second):
        desk.single.opened(session)
    assert first.open and second.open
    third = desk.open("3", line=2)
    desk.single.opened(third)
    assert first.open and second.codes == [CloseCode.REPLACED]
    desk.now_s += RACE_S
    desk.single.opened_elsewhere("alice", "4", 1)
    assert first.codes == [CloseCode.REPLACED] and third.open
    desk.single.closed(second)
    desk.single.opened_elsewhere("alice", "5", 2)
    assert third.codes == [CloseCode.REPLACED], "the end of an older one forgets no newer one"


@pytest.mark.parametrize(
    ("target", "line"),
    [
        (b"/v1/stream", 1),
        (b"/v1/stream?line=1", 1),
        (b"/v1/stream?token=a&line=2", 2),
        (b"/v1/stream?line=3", None),
        (b"/v1/stream?line=", None),
        (b"/v1/stream?line=02", None),
        (b"/v1/stream?line=2&line=1", 2),
    ],
)
def test_an_upgrade_request_names_its_line(target: bytes, line: int | None) -> None:
    assert line_of(target) == line
