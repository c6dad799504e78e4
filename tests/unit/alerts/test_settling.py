"""A crossing is recorded and told while thousands of records wait to be stored."""

from __future__ import annotations

import asyncio
from collections import Counter
from types import SimpleNamespace
from typing import Any

from mdstream.alert import read_alert
from mdstream.alerts.settling import IN_BULK, Settling
from mdstream.alerts.watched import Crossing, Seen, Watched
from mdstream.bus.alerts import record_subject

MANY = 1_000
TOPIC = "alerts.alice"


class Server:
    """JetStream that stores a message when the test says so."""

    def __init__(self) -> None:
        self.waiting: dict[str, asyncio.Future[Any]] = {}
        self.most = self.stored = 0

    async def publish(self, subject: str, payload: bytes, **_: Any) -> Any:
        self.waiting[subject] = asyncio.get_running_loop().create_future()
        self.most = max(self.most, len(self.waiting))
        return await self.waiting[subject]

    async def store(self, *subjects: str) -> None:
        for subject in subjects:
            self.stored += 1
            self.waiting.pop(subject).set_result(SimpleNamespace(seq=self.stored))
        await turns()


class NoEvents:
    async def last(self, subject: str) -> None:
        return None


async def turns() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


def watched(number: int) -> Watched:
    alert = read_alert({"instrument": "SIM:A", "on": "last", "when": "above", "price": "1.05"})
    return Watched(number, TOPIC, f"k{number}", 5, 5, 0, alert, is_changed=True)


def crossing(of: Watched) -> Crossing:
    found = of.move(Seen(1, 1, 1, -2, {"last": 106}), 1)
    assert found is not None
    return found


def settling_on(server: Server, told: list[Watched]) -> Settling:
    bus: Any = SimpleNamespace(jetstream=server)
    reader: Any = NoEvents()
    return Settling(bus, reader, told=told.append, at=lambda _: None, counters=Counter())


def test_a_crossing_waits_for_none_of_the_records_that_are_stored_in_bulk(run) -> None:
    async def scenario() -> None:
        server, told = Server(), []
        settling = settling_on(server, told)
        alerts = [watched(number) for number in range(MANY)]
        recording = asyncio.create_task(settling.record(alerts))
        await turns()
        in_bulk = set(server.waiting)
        assert len(in_bulk) == IN_BULK

        last = alerts[-1]
        settled = asyncio.create_task(settling.settle([crossing(last)]))
        await turns()
        record = record_subject(TOPIC, last.key)
        await server.store(record)
        await server.store("ev.user.alice")
        assert told == [last]
        await server.store(record)
        await settled
        assert set(server.waiting) == in_bulk

        while server.waiting:
            await server.store(*server.waiting)
        await recording
        assert server.most == IN_BULK + 1
        assert server.stored == MANY - 1 + 3  # that of the crossing was stored already
        assert not any(each.is_changed for each in alerts)

    run(scenario(), debug=False)


def test_what_a_record_in_bulk_finds_gone_is_left_alone(run) -> None:
    async def scenario() -> None:
        server = Server()
        settling = settling_on(server, [])
        alerts = [watched(number) for number in range(IN_BULK + 1)]
        recording = asyncio.create_task(settling.record(alerts))
        await turns()
        alerts[-1].is_gone = True
        await server.store(*server.waiting)
        await recording
        assert server.stored == IN_BULK

    run(scenario(), debug=False)


def test_records_are_removed_in_bulk_too(run, monkeypatch) -> None:
    """Of those that nobody has any more there may be thousands."""
    removing: dict[str, asyncio.Future[None]] = {}

    async def forget(bus: Any, subject: str) -> None:
        removing[subject] = asyncio.get_running_loop().create_future()
        await removing[subject]

    monkeypatch.setattr("mdstream.alerts.settling.forget", forget)

    async def scenario() -> None:
        server = Server()
        settling = settling_on(server, [])
        alerts = [watched(number) for number in range(MANY)]
        works = [asyncio.create_task(settling.forget(TOPIC, each.key, each.slot)) for each in alerts]
        await turns()
        assert len(removing) == IN_BULK
        other = watched(MANY)
        settled = asyncio.create_task(settling.settle([crossing(other)]))
        await turns()
        assert list(server.waiting) == [record_subject(TOPIC, other.key)]
        for each in (settled, *works):
            each.cancel()
        await asyncio.gather(settled, *works, return_exceptions=True)

    run(scenario(), debug=False)
