"""Thousands of sessions join one topic of presence at once: ``python benchmarks/presence.py --clients 10000 --who 10``.

NATS and a gateway are started here; the clients are sockets of this process that speak as little of the contract as they need. All are
connected first; then all subscribe with ``join``, and a few with ``who`` too. Printed: when the count was right for each, bytes and
messages, changes that it took on the bus, and the longest time in which a client heard nothing.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import re
import shlex
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import uvloop
from storm import Gateway

from mdstream.bus import EmbeddedNats
from mdstream.bus import connect as connect_bus

MASK = b"\0\0\0\0"
REQUEST = (
    b"GET /v1/stream HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Protocol: mdstream.v1.json\r\n\r\n"
)
TEXT, PING, PONG = 1, 9, 10
PLACE = re.compile(rb'"page":(\d+),"pages":(\d+),"count":(\d+)')
WAIT_S = 120.0


def frame(opcode: int, payload: bytes) -> bytes:
    size = len(payload)
    head = (
        bytes((0x80 | opcode, 0x80 | size)) if size < 126 else bytes((0x80 | opcode, 0xFE)) + size.to_bytes(2)
    )
    return head + MASK + payload


class Client(asyncio.Protocol):
    """One session."""

    def __init__(self, heard: Callable[[Client], None]) -> None:
        self._heard = heard
        self._buffer = bytearray()
        self._is_open = False
        self.count = 0
        self.right_at = 0.0
        self.heard_at = time.monotonic()
        self.silence_s = 0.0
        self.bytes = self.messages = 0
        self.refused = 0
        self.is_lost = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport: asyncio.Transport = transport  # type: ignore[assignment]
        self.transport.write(REQUEST)

    def connection_lost(self, error: Exception | None) -> None:
        self.is_lost = True

    def say(self, command: dict[str, object]) -> None:
        self.command = command
        self.transport.write(frame(TEXT, json.dumps(command).encode()))

    def data_received(self, data: bytes) -> None:
        now = time.monotonic()
        self.silence_s = max(self.silence_s, now - self.heard_at)
        self.heard_at = now
        self.bytes += len(data)
        self._buffer += data
        if not self._is_open:
            _, end, rest = self._buffer.partition(b"\r\n\r\n")
            if not end:
                return
            self._is_open, self._buffer = True, bytearray(rest)
        while self._take():
            pass

    def _take(self) -> bool:
        buffer = self._buffer
        if len(buffer) < 2:
            return False
        size, at = buffer[1] & 127, 2
        if size > 125:
            at = 4 if size == 126 else 10
            if len(buffer) < at:
                return False
            size = int.from_bytes(buffer[2:at])
        if len(buffer) < at + size:
            return False
        opcode, payload = buffer[0] & 15, bytes(buffer[at : at + size])
        del buffer[: at + size]
        if opcode == PING:
            self.transport.write(frame(PONG, payload))
        elif payload.startswith(b'{"type":"presence"'):
            self._take_presence(payload)
        elif payload.startswith(b'{"type":"error"'):
            self.refused += 1
            asyncio.get_running_loop().call_later(0.5 + random.random(), self.say, self.command)
        return True

    def _take_presence(self, payload: bytes) -> None:
        """The sessions that it names are not looked at: this process is all clients."""
        self.messages += 1
        page, pages, count = map(int, PLACE.search(payload, 0, 200).groups())  # type: ignore[union-attr]
        if page == pages:
            self.count = count
            self._heard(self)


def cpu_s(pid: int) -> float:
    """What a process has used so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def bench(options: argparse.Namespace) -> None:
    async with await EmbeddedNats.start() as nats:
        arguments = [
            "--limits-address-connections",
            "0",
            "--limits-address-handshakes",
            "0",
            *options.server_args,
        ]
        gateway = Gateway(nats.url, arguments)
        try:
            while not await asyncio.to_thread(gateway.is_ready):
                await asyncio.sleep(0.05)
            await join(options, nats, gateway)
        finally:
            gateway.kill()


async def enter(port: int, heard: Callable[[Client], None]) -> Client:
    """Tries again where the gateway takes no more for a moment."""
    while True:
        with suppress(ConnectionError):
            _, client = await asyncio.get_running_loop().create_connection(
                lambda: Client(heard), "127.0.0.1", port
            )
            return client
        await asyncio.sleep(0.1)


async def join(options: argparse.Namespace, nats: EmbeddedNats, gateway: Gateway) -> None:
    began = 0.0
    right = 0
    done = asyncio.Event()

    def heard(client: Client) -> None:
        nonlocal right
        if client.count == options.clients and not client.right_at:
            client.right_at = time.monotonic() - began
            right += 1
            if right == options.clients:
                done.set()

    connecting = time.monotonic()
    clients = [await enter(gateway.port, heard) for _ in range(options.clients)]
    print(f"connected in {time.monotonic() - connecting:.1f} s", flush=True)
    await asyncio.sleep(options.settle)
    for client in clients:
        client.silence_s, client.bytes, client.heard_at = 0.0, 0, time.monotonic()
    began, used_s = time.monotonic(), cpu_s(gateway.process.pid)
    for number, client in enumerate(clients):
        client.say(
            {
                "op": "subscribe",
                "channel": "presence",
                "topics": ["room"],
                "join": True,
                "info": {"name": f"client {number}"},
                "who": number < options.who,
            }
        )
        if number % 100 == 99:
            await asyncio.sleep(0)
    said = time.monotonic() - began
    try:
        async with asyncio.timeout(WAIT_S):
            await done.wait()
    except TimeoutError:
        print("not all counts became right")
    used_s = cpu_s(gateway.process.pid) - used_s
    await asyncio.sleep(options.after)
    gateway.note_memory()
    async with await connect_bus(nats.url) as bus:
        info = await bus.jetstream.stream_info("MD_PRESENCE")
    times = sorted(client.right_at for client in clients if client.right_at)
    figures = {
        "clients": options.clients,
        "who": options.who,
        "asked_s": round(said, 2),
        "right": len(times),
        "half_s": round(times[len(times) // 2], 2) if times else None,
        "last_s": round(times[-1], 2) if times else None,
        "gateway_cpu_s": round(used_s, 2),
        "silence_s": round(max(client.silence_s for client in clients), 2),
        "refused_for_now": sum(client.refused for client in clients),
        "lost": sum(client.is_lost for client in clients),
        "messages_per_client": round(sum(client.messages for client in clients) / len(clients), 2),
        "mebibytes": round(sum(client.bytes for client in clients) / 2**20, 1),
        "changes_on_bus": info.state.messages,
        "gateway_mebibytes": round(gateway.peak_bytes / 2**20),
    }
    print(json.dumps(figures))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--clients", type=int, default=10_000)
    parser.add_argument("--who", type=int, default=10, help="clients that see who is present")
    parser.add_argument("--settle", type=float, default=5.0, help="seconds between connecting and joining")
    parser.add_argument(
        "--after", type=float, default=12.0, help="seconds that are watched once all counts are right"
    )
    parser.add_argument("--server-args", type=shlex.split, default=[], help="more options for mdstream serve")
    uvloop.run(bench(parser.parse_args()))


if __name__ == "__main__":
    os.environ.setdefault("PYTHONUNBUFFERED", "1")
    main()
