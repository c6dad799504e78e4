"""What the streams hold, read message by message by a client of NATS that knows nothing of mdstream, and the maps that follow from it."""

from __future__ import annotations

import asyncio
import base64
import json
import re
from collections import defaultdict
from datetime import datetime
from typing import Any, NamedTuple

import msgpack
from nats.aio.client import Client as Nats
from nats.errors import Error as NatsError

LOOK_S = 0.2
ID = re.compile(r"Nats-Msg-Id: (\S+)")


class Stored(NamedTuple):
    seq: int
    subject: str
    payload: bytes
    time_us: int
    id: str = ""
    """By which the server recognises what comes again."""


class StreamTap:
    """Everything that a stream ever held on some subjects, also what it no longer keeps."""

    def __init__(self, nats: Nats, stream: str, subjects: str) -> None:
        self._nats, self.stream, self._subjects = nats, stream, subjects
        self.kept: list[Stored] = []

    async def follow(self) -> None:
        while True:
            await self.catch_up()
            await asyncio.sleep(LOOK_S)

    async def catch_up(self) -> None:
        """Returns at the end of what is stored, or where nobody answers."""
        while (message := await self._next()) is not None:
            self.kept.append(message)

    async def _next(self) -> Stored | None:
        last = self.kept[-1].seq if self.kept else 0
        answer = await self.ask("MSG.GET", {"seq": last + 1, "next_by_subj": self._subjects})
        if (found := answer.get("message")) is None:
            return None
        at = datetime.fromisoformat(found["time"])
        payload = base64.b64decode(found.get("data", ""))
        headers = base64.b64decode(found.get("hdrs", "")).decode()
        id = ID.search(headers)
        return Stored(
            found["seq"], found["subject"], payload, round(at.timestamp() * 1e6), id[1] if id else ""
        )

    async def count(self) -> int:
        """How many messages the stream holds now; -1 where nobody answers."""
        answer = await self.ask("INFO", {})
        return int(answer["state"]["messages"]) if "state" in answer else -1

    async def ask(self, what: str, request: dict[str, Any]) -> dict[str, Any]:
        try:
            answer = await self._nats.request(
                f"$JS.API.STREAM.{what}.{self.stream}", json.dumps(request).encode(), timeout=2
            )
        except (NatsError, TimeoutError):  # it has no leader now
            return {}
        found: dict[str, Any] = json.loads(answer.data)
        return found


class MapModel:
    """The rules of the contract once more, as plainly as possible."""

    def __init__(self) -> None:
        self.entries: dict[str, tuple[Any, int, int | None]] = {}
        """By key: the value, its rev, when it ends."""

    def apply(self, message: Stored) -> None:
        payload = message.payload
        change = json.loads(payload) if payload.startswith(b"{") else msgpack.unpackb(payload)
        for key, rev in change.get("expire", {}).items():
            _, its_rev, ends_us = self.entries.get(key, (None, 0, None))
            if its_rev == rev and ends_us is not None and ends_us <= message.time_us:
                del self.entries[key]
        if any(self.entries.get(key, (None, 0))[1] != rev for key, rev in change.get("expect", {}).items()):
            return
        for key in change.get("delete", ()):
            self.entries.pop(key, None)
        for key, (value, ttl_ms) in change.get("set", {}).items():
            ends_us = None if ttl_ms is None else message.time_us + ttl_ms * 1000
            self.entries[key] = (value, message.seq, ends_us)


def maps_of(log: list[Stored]) -> dict[str, dict[str, Any]]:
    """By topic, what each key holds after all changes."""
    models: dict[str, MapModel] = defaultdict(MapModel)
    for message in log:
        models[message.subject.removeprefix("map.")].apply(message)
    return {topic: {key: each[0] for key, each in model.entries.items()} for topic, model in models.items()}


def event_data(message: Stored) -> Any:
    payload = message.payload
    return (json.loads(payload) if payload.startswith(b"{") else msgpack.unpackb(payload))["data"]
