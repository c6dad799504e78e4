"""What a client was shown elsewhere, where JetStream cannot be asked for it."""

from __future__ import annotations

import asyncio
from typing import Any

import msgpack
import pytest

from mdstream.bus import MD_LOG, lookout, streams
from mdstream.bus.denied import PUBLISH, Denial, DeniedError
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


def book(seq: int) -> Stored:
    return Stored(msgpack.packb([1, 1, seq, seq, 1, [], []]), 1, 1)


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
        return book(50) if stream == MD_LOG else None


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
        raise BusError("refused") from DeniedError(Denial(PUBLISH, "$js.api.stream.msg.get.md_log"))


class Headless(Bus):
    """Its replica has number 30; there is no leader until it may answer, and then it has 40."""

    async def last_stored(self, stream: str, subject: str) -> Stored | None:
        self._clock[0] += 0.75
        return book(30) if stream == MD_LOG else None

    async def newest_stored(self, stream: str, subject: str) -> Stored | None:
        if self._clock[0] < self._answers_at:
            raise BusUnavailable("no leader")
        return book(40) if stream == MD_LOG else None


def looked(
    answers_at: float, *wants: tuple[int, int], denied: bool = False, kind: type[Bus] = Bus
) -> tuple[Owner, Bus, float]:
    clock, owner = [0.0], Owner()
    owner.denied = denied
    bus = kind(clock, answers_at)
    looking = Lookout(owner, bus, lambda: clock[0])  # type: ignore[arg-type]
    for wanted in wants:
        looking.want(*wanted)
    asyncio.run(looking.run())
    return owner, bus, clock[0]


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lookout, "LOOK_EVERY_S", 0.0)
    monkeypatch.setattr(lookout, "ANSWER_S", 0.001)


@pytest.mark.parametrize("kind", [Bus, Silent, CutOff])
def test_it_is_asked_until_there_is_an_answer_and_clients_wait_so_long(kind: type[Bus]) -> None:
    owner, _, ended_s = looked(30.0, (1, 99), kind=kind)
    assert owner.said[0] == ("suspect", 1, 99, 0.0)
    assert owner.said.count("clear") == 1 and owner.said[-1] == "clear"
    assert 30.0 <= ended_s < 35.0


@pytest.mark.parametrize("kind", [Bus, Denying])
def test_an_answer_ends_it_after_its_time_as_ever(kind: type[Bus]) -> None:
    owner, bus, ended_s = looked(0.0, (1, 99), kind=kind)
    assert owner.said == [] and bus.asked and ended_s < 4.0


def test_where_a_live_status_has_said_what_there_is_nobody_waits_longer() -> None:
    owner, _, ended_s = looked(30.0, (1, 99), denied=True)
    assert "clear" not in owner.said and ended_s < 4.0


def test_what_a_lagging_replica_has_not_is_asked_of_the_leader() -> None:
    owner, _, _ = looked(0.0, (1, 99), kind=Lagging)
    assert owner.said[0] == ("owe", 50, 99) and "clear" not in owner.said


def test_what_a_replica_has_does_not_stand_for_all_that_is_wanted() -> None:
    owner, _, _ = looked(30.0, (1, 99), kind=Headless)
    assert owner.said[:2] == [("owe", 30, 99), ("suspect", 1, 99, 0.0)]
    assert owner.said.count("clear") == 1 and ("owe", 40, 99) in owner.said


def test_once_the_bus_has_what_is_wanted_it_is_suspected_no_longer() -> None:
    owner, _, _ = looked(30.0, (1, 40), kind=Headless)
    assert owner.said[1] == ("suspect", 1, 40, 0.0) and owner.said.count("clear") == 1
    assert owner.said[-1] != ("suspect", 1, 40, 0.0)


def test_a_greater_epoch_that_somebody_wants_does_not_hide_a_number_of_this_one() -> None:
    owner, _, _ = looked(30.0, (1, 99), (7, 1), (5, 1), (6, 1))
    held = {said[1:3] for said in owner.said if said[0] == "suspect"}
    assert held == {(1, 99), (7, 1)}, "of two epochs at most: strangers could invent them"


SECOND_NS = 1_000_000_000
HEARD, UNHEARD, GONE = {"active": SECOND_NS}, {"active": 3 * SECOND_NS}, {"active": 0, "offline": True}


@pytest.mark.parametrize(
    ("info", "expected"),
    [
        ({}, True),
        ({"cluster": None}, True),
        ({"cluster": {"leader": "a"}}, True),
        ({"cluster": {"leader": "a", "replicas": None}}, True),
        ({"cluster": {"leader": "a", "replicas": [HEARD, HEARD]}}, True),
        ({"cluster": {"leader": "a", "replicas": [HEARD, UNHEARD]}}, True),
        ({"cluster": {"leader": "a", "replicas": [UNHEARD, UNHEARD]}}, False),
        ({"cluster": {"leader": "a", "replicas": [GONE, UNHEARD]}}, False),
        ({"cluster": {"leader": "a", "replicas": [HEARD, GONE, UNHEARD, GONE]}}, False),
        ({"cluster": {"leader": "a", "replicas": [HEARD, HEARD, UNHEARD, GONE]}}, True),
        ({"cluster": {"leader": "a", "replicas": [GONE]}}, False),
    ],
)
def test_a_leader_must_hear_most_of_the_servers(info: dict[str, Any], expected: bool) -> None:
    assert streams.is_in_touch(info) is expected
