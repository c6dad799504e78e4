"""A receiver of webhooks on loopback: it answers as it is told, and verifies each signature by a computation of its own."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any, NamedTuple

from mdstream.auth.patterns import Pattern, PatternSet
from mdstream.bus import Bus, BusOptions, connect
from mdstream.bus.activity import encode_activity, encode_happening, put_activity
from mdstream.bus.events import Event, publish_event
from mdstream.bus.webhook_places import Place
from mdstream.topics import TopicPattern
from mdstream.webhooks import Hook, WebhookOptions, WebhookSender
from mdstream.webhooks.hooks import TYPES
from mdstream.webhooks.signing import Secret

KEY, OLD_KEY = bytes(range(32)), bytes(range(100, 124))
SECRET = "whsec_" + base64.b64encode(KEY).decode()
OLD_SECRET = "whsec_" + base64.b64encode(OLD_KEY).decode()
HANG = "hang"
"""In place of a status: the receiver takes the request and never answers."""


class Request(NamedTuple):
    """What came. ``verified``: by which keys its signature is right, in the order of the header."""

    id: str
    timestamp: int
    body: bytes
    head: bytes
    verified: list[bytes | None]

    @property
    def records(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = json.loads(self.body)["data"]["records"]
        return found

    @property
    def seqs(self) -> list[int]:
        return [record["data"]["seq"] for record in self.records if record["type"] == "event.published"]


class Receiver:
    """``answers``: status, or status and more of the head, for each request in turn; then 204."""

    def __init__(self, *answers: int | str | tuple[int, bytes]) -> None:
        self.answers = list(answers)
        self.requests: list[Request] = []
        self.taken: list[Request] = []
        """Those that were answered by a 2xx."""
        self.port = 0
        self._came = asyncio.Condition()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hooks"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            head = await reader.readuntil(b"\r\n\r\n")
            fields = dict(line.split(b": ", 1) for line in head.split(b"\r\n")[1:] if line)
            lower = {name.lower(): value for name, value in fields.items()}
            body = await reader.readexactly(int(lower[b"content-length"]))
            request = _request(head, lower, body)
            answer = self.answers.pop(0) if self.answers else 204
            self.requests.append(request)
            if isinstance(answer, int) and answer < 300:
                self.taken.append(request)
            async with self._came:
                self._came.notify_all()
            if answer == HANG:
                await reader.read()
                return
            status, more = answer if isinstance(answer, tuple) else (answer, b"")
            writer.write(b"HTTP/1.1 %d x\r\n%bcontent-length: 0\r\n\r\n" % (status, more))
            await writer.drain()
        writer.close()

    async def until_asked(self, count: int) -> None:
        async with self._came:
            await self._came.wait_for(lambda: len(self.requests) >= count)

    async def until_told(self, count: int) -> list[dict[str, Any]]:
        """So many records, of the requests that were taken."""
        async with self._came:
            await self._came.wait_for(lambda: len(self.records) >= count)
        return self.records

    @property
    def records(self) -> list[dict[str, Any]]:
        return [record for request in self.taken for record in request.records]


def _request(head: bytes, fields: dict[bytes, bytes], body: bytes) -> Request:
    id, stamp = fields[b"webhook-id"], fields[b"webhook-timestamp"]
    verified = []
    for each in fields[b"webhook-signature"].split(b" "):
        version, _, signature = each.partition(b",")
        assert version == b"v1"
        right = {
            base64.b64encode(hmac.digest(key, id + b"." + stamp + b"." + body, hashlib.sha256)): key
            for key in (KEY, OLD_KEY)
        }
        verified.append(right.get(signature))
    return Request(id.decode(), int(stamp), body, head, verified)


@asynccontextmanager
async def receiver_of(
    *answers: int | str | tuple[int, bytes], tls: ssl.SSLContext | None = None
) -> AsyncIterator[Receiver]:
    receiver = Receiver(*answers)
    handling: set[asyncio.Task[Any] | None] = set()
    writers: list[asyncio.StreamWriter] = []

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        handling.add(asyncio.current_task())
        writers.append(writer)
        await receiver.serve(reader, writer)

    server = await asyncio.start_server(handle, "127.0.0.1", 0, ssl=tls)
    receiver.port = server.sockets[0].getsockname()[1]
    try:
        yield receiver
    finally:
        server.close()
        for writer in writers:
            writer.transport.abort()
        await asyncio.gather(*(task for task in handling if task is not None), return_exceptions=True)


def hook_of(url: str, *types: str, name: str = "crm", **changes: Any) -> Hook:
    topics = changes.pop("topics", ["*", "user.*"])
    instruments = changes.pop("instruments", ["*"])
    return Hook(
        name,
        url,
        changes.pop("secrets", (Secret(SECRET),)),
        frozenset(types or TYPES),
        tuple(map(TopicPattern.parse, topics)),
        PatternSet((Pattern.parse(each), 1) for each in instruments),
        **changes,
    )


def options_of(**changes: Any) -> WebhookOptions:
    """Quick ones; a wait between two attempts is a turn of the loop."""

    async def no_sleep(_: float) -> None:
        await asyncio.sleep(0.001)

    return WebhookOptions(**{"lease_s": 0.5, "poll_s": 0.01, "sleep": no_sleep, **changes})


@asynccontextmanager
async def bus_of(url: str) -> AsyncIterator[Bus]:
    options = BusOptions((url,), reconnect_cap_s=0.05, connect_deadline_s=10.0)
    async with await connect(options) as bus:
        yield bus


async def publish(
    bus: Bus, topic: str, count: int, *, start: int = 0, sender: str | None = "alice"
) -> list[int]:
    """Their numbers."""
    return [
        (await publish_event(bus, topic, Event("notice", start + number, sender))).seq
        for number in range(count)
    ]


async def happen(bus: Bus, id: str, *records: tuple[str, dict[str, Any]]) -> None:
    happenings = [encode_happening(type, 1_764_504_000_000_123, data) for type, data in records]
    await put_activity(bus, "gw", id, encode_activity(happenings))


async def sending(sender: WebhookSender) -> None:
    """Returns once every lane knows where it stands: what comes from now on is told."""
    while not sender.lanes or any(lane._stored == Place(0, 0, 0) for lane in sender.lanes):
        await asyncio.sleep(0.005)
