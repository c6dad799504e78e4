"""A follower reads on while records and places are stored, and gives the loop back while many alerts begin."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import msgpack
import pytest

from mdstream.alert import read_alert
from mdstream.alerts.follower import IN_A_TURN, Follower, Sources
from mdstream.alerts.watched import Crossing, Watched
from mdstream.bus.direct import Batch
from mdstream.bus.stored_message import Numbered
from mdstream.errors import BusError
from mdstream.model import InstrumentId

EPOCH = 1_000_000
MANY = 1_000


class Stored:
    """What a stream has on one subject."""

    def __init__(self, *payloads: bytes) -> None:
        self.messages: list[Numbered] = []
        for each in payloads:
            self.put(each)

    def put(self, payload: bytes) -> None:
        seq = len(self.messages) + 1
        self.messages.append(Numbered(seq, 0, seq, payload))

    async def read(self, subject: str, first: int, most: int = 256) -> Batch:
        return Batch(self.messages[first - 1 : first - 1 + most], len(self.messages) >= first + most)

    async def first_since(self, subject: str, us: int) -> Numbered | None:
        return next((each for each in self.messages if each.stored_us >= us), None)

    async def last(self, subject: str) -> Numbered | None:
        return self.messages[-1] if self.messages else None


def trade(seq: int, ticks: int) -> bytes:
    return msgpack.packb([3, EPOCH, seq, seq, ticks, 1, 1, seq])


class World:
    """What a follower of trades lives on. Records are stored when the test says so."""

    def __init__(self, **more: Any) -> None:
        self.log = Stored()
        self.wake: Callable[[], object] = lambda: None
        self.places = 0
        self.placed = asyncio.Event()
        self.recording: list[list[Watched]] = []
        self.may_record = asyncio.Event()
        self.is_recording = asyncio.Event()
        self.settled: list[list[Crossing]] = []
        self.has_settled = asyncio.Event()
        fields: dict[str, Any] = {
            "bus": self,
            "log": self.log,
            "state": Stored(msgpack.packb({"epoch": EPOCH, "price_exp": -2, "size_exp": 0})),
            "log_us": 1,
            "settle": self.settle,
            "record": self.record,
            "now_s": lambda: 0.0,
            "wall_us": lambda: EPOCH,
            "place_s": 0.0,
            "at": lambda _: None,
        }
        self.follower = Follower(Sources(**(fields | more)), InstrumentId("SIM", "A"), "trade")

    max_payload_bytes = 1_000_000

    @property
    def jetstream(self) -> World:
        return self

    async def subscribe(self, subject: str, wake: Callable[[], object]) -> None:
        self.wake = wake

    async def unsubscribe(self, _: object) -> None: ...

    async def last_stored(self, stream: str, subject: str) -> None:
        return None

    async def publish(self, subject: str, payload: bytes, **_: Any) -> Any:
        self.places += 1
        self.placed.set()
        return SimpleNamespace(seq=self.places)

    async def record(self, these: list[Watched]) -> None:
        self.recording.append(list(these))
        self.is_recording.set()
        await self.may_record.wait()

    async def settle(self, crossings: list[Crossing]) -> None:
        self.settled.append(crossings)
        self.has_settled.set()

    def watch(self, count: int, when: str) -> None:
        for number in range(count):
            value = {"instrument": "SIM:A", "on": "last", "when": when, "price": "1.05"}
            self.follower.add(Watched(number, "alerts.a", f"k{number}", 5, 5, 1, read_alert(value)))


def test_crossings_are_told_while_records_are_stored_and_no_place_is_stored_before_these(run) -> None:
    async def scenario() -> None:
        world = World()
        world.log.put(trade(1, 100))
        world.watch(MANY, "crosses")
        following = asyncio.create_task(world.follower.run())
        await world.is_recording.wait()
        assert [len(each) for each in world.recording] == [MANY]
        places = world.places
        world.log.put(trade(2, 106))
        world.wake()
        await world.has_settled.wait()
        assert sum(map(len, world.settled)) == MANY
        assert world.places == places and len(world.recording) == 1

        world.placed.clear()
        world.may_record.set()
        world.log.put(trade(3, 106))
        world.wake()
        await world.placed.wait()
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)

    run(scenario(), 10.0, debug=False)


def test_many_alerts_begin_in_several_turns_of_the_loop(run) -> None:
    async def scenario() -> None:
        world = World()
        world.log.put(trade(1, 106))
        world.watch(MANY, "above")  # it is above already: each fires as it begins
        following = asyncio.create_task(world.follower.run())
        await world.is_recording.wait()
        assert sum(map(len, world.settled)) == MANY
        assert max(map(len, world.settled)) <= IN_A_TURN
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)

    run(scenario(), 10.0, debug=False)


def test_what_goes_wrong_while_a_place_is_kept_ends_the_follower(run) -> None:
    async def record(these: list[Watched]) -> None:
        raise BusError("stopped by the test")

    async def scenario() -> None:
        world = World(record=record)
        world.log.put(trade(1, 100))
        world.watch(1, "crosses")
        with pytest.raises(BusError, match="stopped by the test"):
            await world.follower.run()

    run(scenario(), 10.0, debug=False)
