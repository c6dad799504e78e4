"""``python -m chaos.topic_device``: one device of a user, which follows topics, maps and halls, and writes down what it is sent.

The first line of standard input is the plan as JSON; each later line is an order, answered by a line of JSON.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
import time
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

import msgpack
import uvloop

from chaos import topic_journal as journal
from chaos.topic_plan import AT_MOST_ONCE, policy_of
from mdstream.client import Client, Event, Events, Map, Policy, Presence, PutConflict, connect
from mdstream.errors import ClientError

EVENT_TAG = 11
AGAIN_S = 0.5
LATE, LATE_S = 0.05, 8.0
"""So many events are acknowledged late, and how late at most: after they were sent again."""
POLICY = Policy(persist=True, backoff_base_s=0.2, backoff_cap_s=2.0, recover_timeout_s=3.0)
ERRORS = (b'"type":"error"', b"\xa5error")
KEYS = 30
S = TypeVar("S")


class Device:
    """It acknowledges an event once the journal has it, as an application would that stores what it was sent."""

    def __init__(self, plan: dict[str, Any]) -> None:
        self.plan = plan
        path = Path(plan["journal"])
        self._since = _delivered(path)
        self.journal = journal.Journal(path)
        self.journal.note(journal.LIFE, plan["life"])
        self.chance = random.Random(f"{plan['seed']} {plan['user']} {plan['device']} {plan['life']}")
        self.client: Client
        self.events: dict[str, Events] = {}
        self.maps: dict[str, Map] = {}
        self.halls: dict[str, Presence] = {}
        self.resting = bool(plan["resting"])
        self.refused = 0

    async def run(self) -> None:
        plan = self.plan
        async with connect(
            plan["urls"], token=plan["token"], format=plan["format"], policy=POLICY, on_payload=self._hear
        ) as self.client:
            await asyncio.gather(
                *map(self._follow, plan["topics"]),
                *map(self._open, plan["maps"]),
                *map(self._enter, plan["halls"]),
            )
            await self._change_maps()
            await self.client.wait_closed()

    # ---- what it follows

    async def _follow(self, topic: str) -> None:
        since = self._since.get(topic, 0) if policy_of(topic) == AT_MOST_ONCE else None
        device = self.plan["device"]
        found = await self._there(lambda: self.client.events(topic, device=device, since=since))
        self.events[topic] = found
        found.on_lost(lambda first, last: self.journal.note(journal.LOST, topic, first, last))
        found.on_event(lambda event: self._take(found, event))

    def _take(self, found: Events, event: Event) -> None:
        self.journal.note(journal.EVENT, event.topic, event.seq, event.data)
        if self.chance.random() >= LATE:
            found.acknowledge(event)
        else:
            late_s = LATE_S * self.chance.random()
            asyncio.get_running_loop().call_later(late_s, found.acknowledge, event)

    async def _open(self, topic: str) -> None:
        interval_ms = self.chance.choice([0, 100])
        self.maps[topic] = await self._there(lambda: self.client.map(topic, interval_ms=interval_ms))

    async def _enter(self, hall: str) -> None:
        info = [self.plan["device"], self.plan["life"]]
        self.halls[hall] = await self._there(
            lambda: self.client.presence(hall, join=True, who=True, info=info, interval_ms=100)
        )

    async def _there(self, ask: Callable[[], Awaitable[S]]) -> S:
        """A gateway that cannot serve it now is asked again."""
        while True:
            try:
                return await ask()
            except ClientError:
                self.refused += 1
                await asyncio.sleep(AGAIN_S)

    def _hear(self, payload: bytes) -> None:
        if any(each in payload for each in ERRORS) and b"conflict" not in payload:
            print(f"{time.monotonic():.1f} {payload[:300]!r}", file=sys.stderr, flush=True)
        for topic, seq, redelivered in events_of(payload, self.plan["format"]):
            self.journal.note(journal.RAW, topic, seq, redelivered)

    # ---- what it changes

    async def _change_maps(self) -> None:
        while not self.resting:
            with suppress(ClientError):  # it may be made or not
                await self._change(self.chance.choice(self.plan["maps"]))
            await asyncio.sleep(2 * self.plan["pause_s"] * self.chance.random())

    async def _change(self, topic: str) -> None:
        key = f"k{self.chance.randrange(KEYS)}"
        match self.chance.randrange(4):
            case 0:
                await self._raise(topic)
                return
            case 1:
                seq = await self.client.put(topic, delete=[key])
            case _:
                value = [self.plan["user"], self.plan["device"], self.chance.random()]
                ttl_ms = self.chance.choice([None, None, 300])
                seq = await self.client.put(topic, {key: value, f"{key}+": value}, ttl_ms=ttl_ms)
        self.journal.note(journal.PUT, topic, seq)

    async def _raise(self, topic: str) -> None:
        found = self.maps[topic]
        count = found["count"] if "count" in found.entries else 0
        self.journal.note(journal.TRIED, topic)
        try:
            seq = await self.client.put(topic, {"count": count + 1}, expect={"count": found.rev("count")})
        except PutConflict:
            self.journal.note(journal.REFUSED, topic)
            return
        self.journal.note(journal.PUT, topic, seq)
        self.journal.note(journal.RAISED, topic)

    # ---- orders

    def obey(self, order: dict[str, Any]) -> Any:
        match order["do"]:
            case "live":
                return int(self.is_live)
            case "rest":
                self.resting = True
            case "report":
                return self.report()
        return "done"

    @property
    def is_live(self) -> bool:
        """Whether it has all that it asked for, and nothing is known to be missing."""
        asked = sum(len(self.plan[name]) for name in ("topics", "maps", "halls"))
        have = [*self.events.values(), *self.maps.values(), *self.halls.values()]
        return len(have) == asked and all(each.trusted for each in have)

    def report(self) -> dict[str, Any]:
        return {
            "maps": {
                topic: {key: entry.value for key, entry in found.entries.items()}
                for topic, found in self.maps.items()
            },
            "halls": {
                hall: [[each.user, *each.info] for each in found.sessions.values()]
                for hall, found in self.halls.items()
            },
            "duplicates": sum(each.duplicates for each in self.events.values()),
            "refused": self.refused,
        }


def events_of(payload: bytes, format: str) -> Iterable[tuple[str, int, bool]]:
    """Of each event in a message: its topic, its number, and whether it says that it is redelivered."""
    if format == "json":
        message = json.loads(payload)
        if message["type"] == "event":
            yield message["topic"], message["seq"], message["redelivered"]
        return
    unpacker = msgpack.Unpacker()
    unpacker.feed(payload)
    for message in unpacker:
        if isinstance(message, list) and message[0] == EVENT_TAG:
            yield message[2], message[3], message[9]


def _delivered(path: Path) -> dict[str, int]:
    """By topic, the number of the newest event that the application had in its lives before."""
    return {line[1]: line[2] for line in journal.read(path) if line[0] == journal.EVENT}


async def main() -> None:
    orders = asyncio.StreamReader(limit=1 << 24)
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(orders), sys.stdin
    )
    device = Device(json.loads(await orders.readline()))
    running = asyncio.ensure_future(device.run())
    print('"ready"', flush=True)
    while line := await orders.readline():
        if running.done():
            running.result()
        print(json.dumps(device.obey(json.loads(line))), flush=True)


if __name__ == "__main__":
    uvloop.run(main())
