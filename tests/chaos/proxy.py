"""``python -m chaos.proxy``: TCP links that can be cut, delayed and frozen.

The first line of standard input is the links as JSON: ``{name: [port, target port]}``. Each later line is
an order:
``{"do": "cut", "link": name, "share": 0.5}``, ``delay`` with ``seconds``, ``freeze`` (with ``way``: ``out`` from who connects, or ``in``,
only that way), ``thaw``, ``refuse`` and ``accept``. Each is answered by a line.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
from collections import deque
from typing import Any

import uvloop

WAYS = {"out": frozenset({True}), "in": frozenset({False}), None: frozenset({True, False})}


class End(asyncio.Protocol):
    """One end of a connection: what it receives leaves at the other end."""

    def __init__(self, link: Link, *, is_near: bool) -> None:
        self.link, self.is_near = link, is_near
        self.other: End | None = None
        self.transport: Any = None
        self._held: list[bytes] = []
        self._late: deque[bytes] = deque()
        self._due = 0.0

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        if self.is_near:
            self.link.connect(self)

    def data_received(self, data: bytes) -> None:
        if self.is_near in self.link.frozen or self.other is None or self._held:
            self._held.append(data)
            self.transport.pause_reading()
        else:
            self._pass(data)

    def _pass(self, data: bytes) -> None:
        loop = asyncio.get_running_loop()
        now = loop.time()
        if self.link.delay_s == 0 and not self._late:
            self._write(data)
            return
        self._due = max(self._due, now + self.link.delay_s)
        self._late.append(data)
        loop.call_at(self._due, self._write_next)

    def _write_next(self) -> None:
        """In order: two timers of the same time may run in any."""
        self._write(self._late.popleft())

    def _write(self, data: bytes) -> None:
        if (
            self.other is not None
            and self.other.transport is not None
            and not self.other.transport.is_closing()
        ):
            self.other.transport.write(data)

    def release(self) -> None:
        held, self._held = self._held, []
        for data in held:
            self._pass(data)
        if held and not self.transport.is_closing():
            self.transport.resume_reading()

    def pause_writing(self) -> None:
        if self.other is not None and self.other.transport is not None:
            self.other.transport.pause_reading()

    def resume_writing(self) -> None:
        if self.other is not None and self.other.transport is not None and not self.other._held:
            self.other.transport.resume_reading()

    def connection_lost(self, error: Exception | None) -> None:
        """What was on its way still arrives, as on a real link."""
        self.link.ends.discard(self)
        if self.other is not None and self.other.transport is not None:
            loop = asyncio.get_running_loop()
            loop.call_at(max(self._due, loop.time()), self.other.transport.close)

    def abort(self) -> None:
        for end in (self, self.other):
            if end is not None and end.transport is not None:
                end.transport.abort()


class Link:
    def __init__(self, port: int, target: int) -> None:
        self.port, self.target = port, target
        self.delay_s = 0.0
        self.refusing = False
        self.frozen: frozenset[bool] = frozenset()
        """Of which ends nothing passes: the near one, the far one, or both."""
        self.ends: set[End] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    async def listen(self) -> None:
        loop = asyncio.get_running_loop()
        await loop.create_server(lambda: End(self, is_near=True), "127.0.0.1", self.port, backlog=2048)

    def connect(self, near: End) -> None:
        task = asyncio.get_running_loop().create_task(self._connect(near))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _connect(self, near: End) -> None:
        far = End(self, is_near=False)
        try:
            if self.refusing:
                raise ConnectionRefusedError
            await asyncio.get_running_loop().create_connection(lambda: far, "127.0.0.1", self.target)
        except OSError:
            near.transport.abort()
            return
        near.other, far.other = far, near
        self.ends |= {near}
        if True not in self.frozen:
            near.release()

    def obey(self, order: dict[str, Any], chance: random.Random) -> None:
        match order["do"]:
            case "cut":
                for end in list(self.ends):
                    if chance.random() < order.get("share", 1.0):
                        end.abort()
            case "delay":
                self.delay_s = order["seconds"]
            case "freeze":
                self.frozen = WAYS[order.get("way")]
            case "thaw":
                self.frozen = frozenset()
                for end in list(self.ends):
                    end.release()
                    if end.other is not None:
                        end.other.release()
            case "refuse" | "accept":
                self.refusing = order["do"] == "refuse"


async def main() -> None:
    loop = asyncio.get_running_loop()
    orders = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(orders), sys.stdin)
    links = {name: Link(*ports) for name, ports in json.loads(await orders.readline()).items()}
    for link in links.values():
        await link.listen()
    print('"ready"', flush=True)
    chance = random.Random(1)
    while line := await orders.readline():
        order = json.loads(line)
        links[order["link"]].obey(order, chance)
        print('"done"', flush=True)


if __name__ == "__main__":
    uvloop.run(main())
