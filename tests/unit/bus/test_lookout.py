"""What a client was shown elsewhere, where JetStream cannot be asked for it."""

from __future__ import annotations

import asyncio
from typing import Any

import msgpack
import pytest

from mdstream.bus import MD_LOG, lookout
from mdstream.bus.lookout import Lookout
from mdstream.bus.streams import Stored
from mdstream.errors import BusError, BusUnavailable
from mdstream.model import InstrumentId


class Owner:
    """A book at 10 of epoch 1."""

    instrument = InstrumentId("SIM", "A")

    def __init__(self) -> None:
        self.book_position = (1, 10)
        self.denied = False
        self.said: list[Any] = []

    def meet(self, payload: bytes) -> None:
        raise AssertionError

    def meet_status(self, payload: bytes, stored_s: float) -> None:
        raise AssertionError

    def owe(self, named: int, wanted: int) -> None:
        self.said.append(("owe", named, wanted))

    def suspect(self, epoch: int, seq: int, since_s: float) -> bool:
        self.said.append(("suspect", epoch, seq, since_s))
        return not self.denied

    def clear(self) -> None:
        self.said.append("clear")


class Bus:
    """It answers once it may, and holds nothing."""

    def __init__(self, clock: list[float], answers_at: float) -> None:
        self._clock, self._answers_at = clock, answers_at
        self.asked = 0

    async def last_stored(self, stream: str, subject: str) -> Stored | None:
        self.asked += 1
        self._clock[0] += 0.75
        if self._clock[0] < self._answers_at:
            await self.fail()
        return None

    async def newest_stored(self, stream: str, subject: str) -> Stored | None:
        return None

    async def is_in_touch(self, stream: str) -> bool:
        return True

    async def fail(self) -> None:
        raise BusUnavailable("no answer")


class Silent(Bus):
    """Until it may answer, questions are lost."""

    async def fail(self) -> None:
        await asyncio.Event().wait()


class Lagging(Bus):
    """The leader alone has number 50 of the log."""

    async def newest_stored(self, stream: str, subject: str) -> Stored | None:
        return Stored(msgpack.packb([1, 1, 50, 50, 1, [], []]), 1, 1) if stream == MD_LOG else None


class CutOff(Bus):
    """Its leader hears nobody until it may answer."""

    async def last_stored(self, stream: str, subject: str) -> Stored | None:
        self._clock[0] += 0.75
        return None

    async def is_in_touch(self, stream: str) -> bool:
        self.asked += 1
        return self._clock[0] >= self._answers_at


class Denying(Bus):
    """Its user may ask replicas alone."""

    async def newest_stored(self, stream: str, subject: str) -> Stored | None:
        raise BusError("Permissions Violation")


def looked(answers_at: float, *, denied: bool = False, kind: type[Bus] = Bus) -> tuple[Owner, Bus, float]:
    clock, owner = [0.0], Owner()
    owner.denied = denied
    bus = kind(clock, answers_at)
    looking = Lookout(owner, bus, lambda: clock[0])  # type: ignore[arg-type]
    looking.want(1, 99)
    asyncio.run(looking.run())
    return owner, bus, clock[0]


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lookout, "LOOK_EVERY_S", 0.0)
    monkeypatch.setattr(lookout, "ANSWER_S", 0.001)


@pytest.mark.parametrize("kind", [Bus, Silent, CutOff])
def test_it_is_asked_until_there_is_an_answer_and_clients_wait_so_long(kind: type[Bus]) -> None:
    owner, _, ended_s = looked(answers_at=30.0, kind=kind)
    assert owner.said[0] == ("suspect", 1, 99, 0.0)
    assert owner.said.count("clear") == 1 and owner.said[-1] == "clear"
    assert 30.0 <= ended_s < 35.0


@pytest.mark.parametrize("kind", [Bus, Denying])
def test_an_answer_ends_it_after_its_time_as_ever(kind: type[Bus]) -> None:
    owner, bus, ended_s = looked(answers_at=0.0, kind=kind)
    assert owner.said == [] and bus.asked and ended_s < 4.0


def test_where_a_live_status_has_said_what_there_is_nobody_waits_longer() -> None:
    owner, _, ended_s = looked(answers_at=30.0, denied=True)
    assert "clear" not in owner.said and ended_s < 4.0


def test_what_a_lagging_replica_has_not_is_asked_of_the_leader() -> None:
    owner, _, _ = looked(answers_at=0.0, kind=Lagging)
    assert owner.said[0] == ("owe", 50, 99) and "clear" not in owner.said
