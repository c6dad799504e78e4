"""Run as a program: clients that follow books and remember what they were shown, number by number.

``python follow.py URL CLIENTS FORMAT INSTRUMENT…`` says ``ready`` when all books are there, follows until its standard input ends, and
prints one JSON array. It uses only what the Python client of every version has, so that old and new ones can be run with it.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
import zlib
from typing import Any

from mdstream.client import connect


class Watch:
    """What one client saw of one book."""

    def __init__(self, book: Any) -> None:
        self.book = book
        self.seen: list[tuple[int, int, int]] = []
        """Epoch, number, checksum of the view after it."""
        self.holes = self.snapshots = 0
        self.longest_s = 0.0
        self._last = self._last_s = 0.0
        self._epoch = 0
        book.on_update(self._take)

    def reset(self) -> None:
        """Silence counts from now on."""
        self.longest_s, self._last_s = 0.0, time.monotonic()

    def _take(self, update: Any) -> None:
        now_s = time.monotonic()
        if self._last_s:
            self.longest_s = max(self.longest_s, now_s - self._last_s)
        self._last_s = now_s
        if update.kind == "snapshot":
            self.snapshots += 1
        elif update.epoch == self._epoch and update.first != self._last + 1:
            self.holes += 1
        self._epoch, self._last = update.epoch, update.last
        self.seen.append((update.epoch, update.last, self.book.crc))


def whole(bids: list[int], asks: list[int]) -> int:
    """A checksum of a whole book, as flat ticks and lots."""
    return zlib.crc32(repr((bids, asks)).encode())


async def main(url: str, count: int, format: str, instruments: list[str]) -> None:
    urls = url.split(",")
    clients: list[Any] = []
    watches: list[list[Watch]] = []
    for number in range(count):
        mine = urls[number % len(urls) :] + urls[: number % len(urls)]
        clients.append(await connect(mine if len(mine) > 1 else mine[0], format=format))  # type: ignore[arg-type]
        watches.append([Watch(await clients[-1].book(name)) for name in instruments])
    print("ready", flush=True)
    loop = asyncio.get_running_loop()
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        if line.strip() == "reset":
            for watch in (each for books in watches for each in books):
                watch.reset()
    found = [
        {
            "crc_errors": client.stats.crc_errors,
            "gaps": client.stats.gaps,
            "reconnects": client.stats.reconnects,
            "longest_s": max(watch.longest_s for watch in books),
            "books": {
                name: {
                    "seen": watch.seen,
                    "holes": watch.holes,
                    "snapshots": watch.snapshots,
                    "state": str(watch.book.state),
                    "last": [
                        watch.book.epoch,
                        watch.book.seq,
                        whole(watch.book.bids.flatten().tolist(), watch.book.asks.flatten().tolist()),
                    ],
                }
                for name, watch in zip(instruments, books, strict=True)
            },
        }
        for client, books in zip(clients, watches, strict=True)
    ]
    print(json.dumps(found), flush=True)
    for client in clients:
        await client.close()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2]), sys.argv[3], sys.argv[4:]))
