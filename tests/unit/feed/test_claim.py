"""How a writer finds and claims its epoch, against a plain stand-in for the bus."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any

import msgpack
import pytest

from mdstream.bus import MD_LOG, MD_STATE, Stored
from mdstream.errors import BusConflict
from mdstream.feed.claim import AHEAD_US, RANDOM_US, Claim, ServerClock, epoch_of, next_epoch, plausible
from mdstream.model import InstrumentId

BTC = InstrumentId("SIM", "BTC-USD")
NOW = 1_700_000_000_000_000


@dataclass
class FakeBus:
    """The streams, and writers that are faster: each of ``rivals`` is stored just before our next claim."""

    stored: dict[tuple[str, str], Stored] = field(default_factory=dict)
    rivals: list[int] = field(default_factory=list)
    now_us: int = NOW

    def store(self, stream: str, value: Any, *, log: bool = False) -> None:
        name = f"md.SIM.BTC-USD.{stream}"
        key = (MD_LOG if log else MD_STATE), name
        before = self.stored.get(key)
        self.stored[key] = Stored(msgpack.packb(value), before.stream_seq + 1 if before else 1, self.now_us)

    async def server_us(self) -> int:
        return self.now_us

    async def last_stored(self, stream: str, subject: str) -> Stored | None:
        return self.stored.get((stream, subject))

    async def last(self, stream: str, subject: str) -> bytes | None:
        found = self.stored.get((stream, subject))
        return None if found is None else found.payload

    async def publish_acked(self, subject: str, payload: bytes, *, expected_seq: int | None = None) -> int:
        if self.rivals:
            self.store("ref", {"epoch": self.rivals.pop(0)})
        found = self.stored.get((MD_STATE, subject))
        if expected_seq != (found.stream_seq if found else 0):
            raise BusConflict("wrong last sequence")
        self.store("ref", msgpack.unpackb(payload))
        return self.stored[MD_STATE, subject].stream_seq


def claimed(bus: FakeBus, known: int = 0) -> Claim:
    async def scenario() -> Claim:
        # This machine's clock is a year late: the server's counts.
        clock = ServerClock(lambda: NOW - 365 * 24 * AHEAD_US, lambda: 5)
        claim = Claim(bus, BTC, clock, known)  # type: ignore[arg-type]
        await claim.take(await claim.look_up(), lambda epoch: msgpack.packb({"epoch": epoch}))
        return claim

    return asyncio.run(scenario())


def test_a_first_epoch_is_the_servers_time_and_a_random_part() -> None:
    bus = FakeBus()
    claim = claimed(bus)
    assert NOW <= claim.epoch < NOW + RANDOM_US
    assert claim.ref_seq == 1


@pytest.mark.parametrize(
    ("stream", "value", "log"),
    [
        ("ref", {"epoch": NOW + 5 * RANDOM_US}, False),
        ("snap", [2, NOW + 5 * RANDOM_US, 0, 0, [], []], False),
        ("status", [5, NOW + 5 * RANDOM_US, 0, "trading", ""], False),
        ("book", [1, NOW + 5 * RANDOM_US, 1, 1, 0, [], []], True),
        ("trade", [3, NOW + 5 * RANDOM_US, 1, 0, 1, 1, 0, 1], True),
    ],
)
def test_an_epoch_is_greater_than_all_that_is_stored(stream: str, value: Any, log: bool) -> None:
    bus = FakeBus()
    bus.store(stream, value, log=log)
    assert NOW + 5 * RANDOM_US < claimed(bus).epoch <= NOW + 6 * RANDOM_US


def test_an_epoch_is_greater_than_what_is_heard() -> None:
    assert claimed(FakeBus(), known=NOW + 7 * RANDOM_US).epoch > NOW + 7 * RANDOM_US


def test_an_epoch_that_no_clock_has_claimed_counts_for_nobody() -> None:
    bus = FakeBus()
    bus.store("ref", {"epoch": NOW + AHEAD_US + 1})
    claim = claimed(bus)
    assert claim.epoch < NOW + RANDOM_US
    assert claim.ref_seq == 2
    assert plausible(NOW + AHEAD_US, NOW) and not plausible(NOW + AHEAD_US + 1, NOW) and not plausible(0, NOW)


def test_of_two_writers_at_once_the_slower_one_takes_a_greater_epoch() -> None:
    bus = FakeBus(rivals=[NOW + 2 * RANDOM_US, NOW + 4 * RANDOM_US])
    claim = claimed(bus)
    assert claim.epoch > NOW + 4 * RANDOM_US
    assert claim.ref_seq == 3


def test_without_a_claim_the_epoch_is_above_what_is_known_and_stays() -> None:
    clock = ServerClock(lambda: NOW, lambda: 0)
    claim = Claim(FakeBus(), BTC, clock, NOW + 3 * RANDOM_US)  # type: ignore[arg-type]
    epoch = claim.epoch
    assert epoch > NOW + 3 * RANDOM_US
    claim.know(epoch - 1)
    assert claim.epoch == epoch
    claim.know(epoch)
    assert claim.epoch > epoch


def test_the_random_part_is_added_to_the_greater_of_clock_and_known() -> None:
    assert next_epoch(100, 50, lambda below: below - 1) == 100 + RANDOM_US - 1
    assert next_epoch(100, 200, lambda _: 0) == 201


def test_the_servers_clock_goes_on_by_the_monotonic_one() -> None:
    wall, monotonic = [1_000], [10]
    clock = ServerClock(lambda: wall[0], lambda: monotonic[0])
    assert (clock.now_us(), clock.is_known) == (1_000, False)
    clock.set(5_000)
    wall[0], monotonic[0] = 0, 17
    assert (clock.now_us(), clock.is_known) == (5_007, True)


@pytest.mark.parametrize(
    ("stream", "payload", "epoch"),
    [
        ("ref", msgpack.packb({"epoch": 7}), 7),
        ("snap", msgpack.packb([2, 7, 0]), 7),
        ("book", msgpack.packb([1, 7, 1]) + msgpack.packb([1, 8, 1]), 7),
        ("ref", msgpack.packb({"price_exp": 0}), 0),
        ("ref", msgpack.packb({"epoch": True}), 0),
        ("ref", msgpack.packb([1]), 0),
        ("snap", msgpack.packb([2, 7.0]), 0),
        ("snap", b"\xc1", 0),
        ("snap", msgpack.packb([2]), 0),
        ("snap", b"", 0),
    ],
)
def test_the_epoch_of_a_payload_is_read_from_its_head(stream: str, payload: bytes, epoch: int) -> None:
    assert epoch_of(stream, payload) == epoch
