"""How long a lease lasts, by whose clock, and what becomes of it while JetStream does not answer; the bus is a stand-in."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from mdstream.bus import Stored
from mdstream.bus.leases import Leases, Record, lease_subject, pack_standby
from mdstream.errors import BusConflict, BusUnavailable
from mdstream.feed.claim import ServerClock
from mdstream.feed.lease import GO_ON, STOP, Answer, Lease, LeaseOptions

Run = Callable[[Coroutine[Any, Any, Any]], Any]
TTL_US = 2_000_000


class Bucket:
    """The server: what it stores reaches all who watch."""

    def __init__(self) -> None:
        self.connected = True
        self.mute = False
        self.loses_answers = False
        self.slow: Callable[[], None] = lambda: None
        self.stored: Stored | None = None
        self._watchers: list[Callable[..., None]] = []
        self._count = 0

    async def subscribe(self, subject: str, handler: Callable[..., None]) -> None:
        if not subject.endswith("*"):
            self._watchers.append(handler)

    async def last_stored(self, stream: str, subject: str) -> Stored | None:
        if self.mute:
            raise BusUnavailable("mute")
        return self.stored

    async def publish_acked(self, subject: str, payload: bytes, *, expected_seq: int) -> int:
        self.slow()
        if self.mute:
            raise BusUnavailable("mute")
        if expected_seq != (self.stored.stream_seq if self.stored else 0):
            raise BusConflict("another was faster")
        self._count += 1
        self.stored = Stored(payload, self._count, 0)
        for watch in self._watchers:
            watch(subject.encode(), b"", payload, None)
        if self.loses_answers:
            raise BusUnavailable("no answer")
        return self._count

    def lose(self) -> None:
        """All that it has stored."""
        self.stored = None


class Two:
    """Two handlers, each with a clock of its own, in µs."""

    def __init__(self, unknown: str = GO_ON) -> None:
        self.bucket = Bucket()
        self.clocks = [1_000_000_000, 5]
        self.wall_us = 1_700_000_000_000_000
        self.one, self.two = (self._lease(number, unknown) for number in range(2))

    def _lease(self, number: int, unknown: str) -> Lease:
        def monotonic_us() -> int:
            return self.clocks[number]

        options = LeaseOptions("main", holder=f"h{number}", unknown=unknown)
        clock = ServerClock(lambda: self.wall_us, monotonic_us)
        return Lease(self.bucket, "SIM", options, clock, monotonic_us)  # type: ignore[arg-type]

    async def watch(self) -> None:
        await self.one.watch()
        await self.two.watch()
        assert await self.one.take() is Answer.DONE

    def pass_us(self, us: int, *numbers: int) -> None:
        for number in numbers or (0, 1):
            self.clocks[number] += us


@pytest.fixture
def play(run: Run) -> Callable[..., None]:
    def start(body: Callable[[Two], Coroutine[Any, Any, None]], **options: Any) -> None:
        async def scene() -> None:
            two = Two(**options)
            await two.watch()
            await body(two)

        run(scene())

    return start


def test_it_is_taken_only_once_its_holder_knows_that_it_is_over(play: Any) -> None:
    async def body(both: Two) -> None:
        both.pass_us(TTL_US - 1)
        assert both.one.is_ours and both.two.wait_us == 1
        assert await both.two.take() is Answer.LOST
        both.pass_us(1)
        assert not both.one.is_ours
        assert await both.two.take() is Answer.DONE
        assert await both.one.renew() is Answer.LOST
        assert both.one.record is not None and both.one.record.holder == both.two.me

    play(body)


def test_it_lasts_from_the_moment_at_which_a_renewal_is_sent_not_answered(play: Any) -> None:
    async def body(both: Two) -> None:
        both.bucket.slow = lambda: both.pass_us(300_000)
        assert await both.one.renew() is Answer.DONE
        both.pass_us(TTL_US - 300_000)
        assert not both.one.is_ours
        assert both.two.wait_us == 300_000, "the other heard of it later"

    play(body)


def test_a_step_of_the_wall_clock_changes_nothing(play: Any) -> None:
    async def body(both: Two) -> None:
        both.wall_us += 86_400_000_000
        assert both.one.is_ours and both.two.wait_us == TTL_US
        assert await both.two.take() is Answer.LOST
        assert await both.one.renew() is Answer.DONE

    play(body)


def test_a_renewal_whose_answer_is_lost_is_known_for_our_own(play: Any) -> None:
    async def body(both: Two) -> None:
        both.bucket.loses_answers = True
        assert await both.one.renew() is Answer.UNKNOWN
        both.bucket.loses_answers = False
        assert await both.one.renew() is Answer.DONE
        assert both.one.is_ours

    play(body)


def test_one_that_the_server_has_lost_is_stored_again(play: Any) -> None:
    async def body(both: Two) -> None:
        both.bucket.lose()
        assert both.two.wait_us == TTL_US, "losing it is no reason to take it"
        assert await both.one.renew() is Answer.DONE

    play(body)


def test_while_jetstream_does_not_answer_it_is_kept(play: Any) -> None:
    async def body(both: Two) -> None:
        both.bucket.mute = True
        for _ in range(10):
            both.pass_us(TTL_US // 4)
            assert await both.one.renew() is Answer.UNKNOWN
            assert both.one.is_ours and not both.one.is_ending
        assert await both.two.take() is Answer.UNKNOWN

    play(body)


def test_or_not_kept_if_that_was_asked_for(play: Any) -> None:
    async def body(both: Two) -> None:
        both.bucket.mute = True
        both.pass_us(TTL_US // 4)
        assert await both.one.renew() is Answer.UNKNOWN
        assert both.one.is_ours and not both.one.is_ending
        both.pass_us(TTL_US // 2)
        assert await both.one.renew() is Answer.UNKNOWN
        assert both.one.is_ours and both.one.is_ending
        both.pass_us(TTL_US // 4)
        assert not both.one.is_ours

    play(body, unknown=STOP)


def test_who_was_asleep_while_it_asked_has_not_asked(play: Any) -> None:
    async def body(both: Two) -> None:
        both.bucket.mute = True
        both.bucket.slow = lambda: both.pass_us(10 * TTL_US, 0)
        assert await both.one.renew() is Answer.UNKNOWN
        assert not both.one.is_ours

    play(body)


def test_one_that_is_given_up_is_free_at_once_with_its_last_words(play: Any) -> None:
    async def body(both: Two) -> None:
        assert await both.one.release({"A": (7, 8, 9)}) is Answer.DONE
        assert not both.one.is_ours and both.two.wait_us == 0
        assert await both.two.take() is Answer.DONE
        assert both.two.record is not None and both.two.record.tails == {"A": (7, 8, 9)}
        assert await both.one.take_back() is Answer.LOST

    play(body)


def test_one_that_nobody_took_is_taken_back(play: Any) -> None:
    async def body(both: Two) -> None:
        both.bucket.loses_answers = True
        assert await both.one.release({}) is Answer.UNKNOWN
        both.bucket.loses_answers = False
        assert await both.one.take_back() is Answer.DONE
        assert both.one.is_ours

    play(body)


def test_a_replica_that_answers_late_does_not_hide_that_it_was_given_up(play: Any) -> None:
    async def body(both: Two) -> None:
        old = both.bucket.stored
        assert await both.one.release({}) is Answer.DONE
        answers = [old, old, both.bucket.stored]

        async def last_stored(stream: str, subject: str) -> Stored | None:
            return answers.pop(0)

        both.bucket.last_stored = last_stored  # type: ignore[method-assign]
        assert await both.two.take() is Answer.DONE

    play(body)


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"[]",
        b"{}",
        b'{"holder": "x", "since_us": 1, "ttl_ms": 0, "number": 1}',
        b'{"holder": "x", "since_us": 1, "ttl_ms": 99999999999, "number": 1}',
        b'{"holder": "x", "since_us": 1e300, "ttl_ms": 1, "number": 1}',
        b'{"holder": "x", "since_us": 1, "ttl_ms": 1, "number": 1, "tails": {"A": [1]}}',
        b'{"holder": "x", "since_us": 1, "ttl_ms": 1, "number": 1, "tails": [1]}',
    ],
)
def test_what_is_no_lease_is_none(payload: bytes) -> None:
    assert Record.parse(payload) is None


def test_a_lease_is_read_as_it_was_stored() -> None:
    record = Record("a/1", 1_700_000_000_000_000, 2000, 5, True, {"BTC-USD": (1, 2, 3)})
    assert Record.parse(record.pack()) == record


def test_a_venue_is_a_token_of_a_key() -> None:
    assert lease_subject("SIM", "main") == "$KV.MD_LEASES.SIM.main"
    assert lease_subject("A.B", "main") == "$KV.MD_LEASES.A=2EB.main"


def test_who_writes_and_who_stands_by_is_said() -> None:
    heard = Leases()
    name = lease_subject("SIM", "main")
    heard.take(name, Record("a/1", 1_700_000_000_000_000, 2000).pack())
    heard.take(f"{name}.x", pack_standby("b/2", True))
    heard.take(f"{name}.y", pack_standby("c/3", False))
    heard.take(f"{name}.z", b"no standby")
    heard.take(lease_subject("SIM", "other"), b"no lease")
    assert heard.said() == {
        "SIM main": "a/1 since 2023-11-14T22:13:20Z; standing by: b/2 (ready), c/3 (without its books)"
    }
