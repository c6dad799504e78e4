"""``python -m attack.honest PORT``: clients that do everything right, and judge what they get.

Told ``mark`` on standard input it begins to measure anew; told ``report`` it prints one line of JSON: what was received since the
mark, the longest silence and the latencies, and since its start every fault. It ends with its standard input.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
import zlib
from collections.abc import Iterable
from typing import Any

import msgpack
import uvloop

from attack.canary import INSTRUMENT, MARKS, PING_MARK
from attack.wire import PROTOCOLS, parse_head, request
from support.websocket import BINARY, CLOSE, PING, PONG, TEXT, frame

MAX_FAULTS = 20
HONEST: tuple[dict[str, Any], ...] = (
    {"instrument": "SIM:A", "channel": "book", "depth": 20, "format": "json"},
    {"instrument": "SIM:A", "channel": "book", "depth": 0, "format": "msgpack"},
    {"instrument": "SIM:A", "channel": "ticker", "depth": 0, "format": "json"},
    {"instrument": INSTRUMENT, "channel": "book", "depth": 5, "format": "msgpack"},
)
"""The last one is the canary: nobody else subscribes to that instrument."""


class Measures:
    """The time between messages, and from an update's event time to its arrival; since ``mark``."""

    def __init__(self) -> None:
        self.mark()

    def mark(self) -> None:
        self.last_s = time.monotonic()
        self.longest_s = 0.0
        self.late_us: list[int] = []

    def note(self, ts_us: int) -> None:
        now_s = time.monotonic()
        self.longest_s = max(self.longest_s, now_s - self.last_s)
        self.last_s = now_s
        self.late_us.append(time.time_ns() // 1000 - ts_us)

    def longest_now_s(self) -> float:
        """With the silence that has not ended yet."""
        return max(self.longest_s, time.monotonic() - self.last_s)


class Honest:
    """One session with one subscription. It never resumes: its connection must not end."""

    def __init__(self, host: str, port: int, address: str, token: str, view: dict[str, Any]) -> None:
        self.host, self.port, self.address, self.token = host, port, address, token
        self.view, self.format = view, view["format"]
        self.name = f"{view['instrument']} {view['channel']} {self.format}"
        self.is_canary = view["instrument"] == INSTRUMENT
        self.measures = Measures()
        self.faults: list[str] = []
        self.fault_count = self.updates = self.total = 0
        self.live = asyncio.Event()
        self.sub: int | None = None
        self._exps = (0, 0)
        self._seq = 0
        self._sides: tuple[dict[int, int], dict[int, int]] = ({}, {})

    # ---- the connection

    async def run(self) -> None:
        try:
            await self._run()
        except (OSError, asyncio.IncompleteReadError, AssertionError, ValueError, KeyError) as error:
            self._fault(f"the connection ended: {error!r}")

    async def _run(self) -> None:
        self._reader, self._writer = await asyncio.open_connection(
            self.host, self.port, local_addr=(self.address, 0), limit=1 << 24
        )
        bearer = {"Authorization": f"Bearer {self.token}"} if self.token else {}
        self._writer.write(request(Sec_WebSocket_Protocol=PROTOCOLS[self.format], **bearer))
        status, _ = parse_head(await self._reader.readuntil(b"\r\n\r\n"))
        assert status == 101, f"the upgrade was answered {status}"
        command = {
            "op": "subscribe",
            "channel": self.view["channel"],
            "instruments": [self.view["instrument"]],
        }
        self._say(command | ({"depth": self.view["depth"]} if self.view["depth"] else {}))
        while True:
            await self._frame()

    def _say(self, command: dict[str, Any]) -> None:
        if self.format == "json":
            self._writer.write(frame(TEXT, json.dumps(command).encode()))
        else:
            self._writer.write(frame(BINARY, msgpack.packb(command)))

    async def _frame(self) -> None:
        first, size = await self._reader.readexactly(2)
        if size >= 126:
            size = int.from_bytes(await self._reader.readexactly(2 if size == 126 else 8))
        payload = await self._reader.readexactly(size)
        self._search(payload)
        match first & 0x0F:
            case opcode if opcode in (TEXT, BINARY):
                for message in self._decode(payload):
                    self._take(message)
            case code if code == PING:
                self._writer.write(frame(PONG, payload))
            case code if code == CLOSE:
                raise ValueError(f"closed with {int.from_bytes(payload[:2])}: {payload[2:]!r}")

    def _search(self, payload: bytes) -> None:
        foreign = [PING_MARK.encode(), *(() if self.is_canary else MARKS)]
        for mark in foreign:
            if mark in payload:
                self._fault(f"LEAK: received {mark!r} in {payload[:80]!r}")

    def _decode(self, payload: bytes) -> Iterable[Any]:
        if self.format == "json":
            return [json.loads(payload)]
        unpacker = msgpack.Unpacker()
        unpacker.feed(payload)
        return [_named(value) for value in unpacker]

    # ---- messages

    def _take(self, message: dict[str, Any]) -> None:
        kind, sub = message["type"], message.get("sub")
        if kind == "subscribed":
            self.sub, self._exps = sub, (message["price_exp"], message["size_exp"])
        elif sub is not None and sub != self.sub:
            self._fault(f"LEAK: {kind} of subscription {sub}, which is not ours")
        elif kind == "heartbeat" and any(each != self.sub for each, _ in message["seqs"]):
            self._fault(f"LEAK: a heartbeat names {message['seqs']}")
        elif kind in ("snapshot", "delta", "ticker"):
            getattr(self, f"_on_{kind}")(message)
            self.updates += 1
            self.total += 1
            self.measures.note(message["ts"])
            self.live.set()
        elif kind in ("error", "unsubscribed", "drain"):
            self._fault(f"told {message}")

    def _on_snapshot(self, message: dict[str, Any]) -> None:
        if self._seq and message["reason"] not in ("slow", "epoch"):
            self._fault(f"an unasked snapshot at {message['seq']}: {message['reason']}")
        self._sides = ({}, {})
        self._seq = message["seq"]
        self._apply(message)

    def _on_delta(self, message: dict[str, Any]) -> None:
        if message["first"] != self._seq + 1:
            self._fault(f"delta {message['first']}..{message['last']} after {self._seq}")
        self._seq = message["last"]
        self._apply(message)

    def _on_ticker(self, message: dict[str, Any]) -> None:
        if message["seq"] < self._seq:
            self._fault(f"ticker {message['seq']} after {self._seq}")
        self._seq = message["seq"]

    def _apply(self, message: dict[str, Any]) -> None:
        for side, levels in zip(self._sides, (message["bids"], message["asks"]), strict=True):
            for ticks, lots in self._levels(levels):
                if lots:
                    side[ticks] = lots
                else:
                    side.pop(ticks, None)
        if message["crc"] != checksum(*self._sides):
            self._fault(f"checksum at {self._seq}")

    def _levels(self, levels: list[Any]) -> Iterable[tuple[int, int]]:
        if self.format == "msgpack":
            return zip(levels[::2], levels[1::2], strict=True)
        return ((int(price.replace(".", "")), int(size.replace(".", ""))) for price, size in levels)

    def _fault(self, text: str) -> None:
        self.fault_count += 1
        if len(self.faults) < MAX_FAULTS:
            self.faults.append(f"{self.name}: {text}")

    def report(self) -> dict[str, Any]:
        late = sorted(self.measures.late_us) or [0]
        return {
            "name": self.name,
            "updates": self.updates,
            "longest_gap_ms": round(self.measures.longest_now_s() * 1e3, 2),
            "p50_ms": round(late[len(late) // 2] / 1e3, 3),
            "p99_ms": round(late[len(late) * 99 // 100] / 1e3, 3),
            "faults": self.faults,
            "fault_count": self.fault_count,
        }


def checksum(bids: dict[int, int], asks: dict[int, int]) -> int:
    sides = sorted(bids, reverse=True)[:10], sorted(asks)[:10]
    text: list[str] = []
    for at in range(10):
        for side, prices in zip((bids, asks), sides, strict=True):
            text += [str(n) for price in prices[at : at + 1] for n in (price, side[price])]
    return zlib.crc32(":".join(text).encode())


_NAMES = {
    1: ("delta", "sub", "first", "last", "ts", "bids", "asks", "crc"),
    2: ("snapshot", "sub", "epoch", "seq", "ts", "bids", "asks", "crc", "reason"),
    4: ("ticker", "sub", "epoch", "seq", "ts", "bid", "bid_lots", "ask", "ask_lots", "last", "last_lots"),
}


def _named(value: Any) -> dict[str, Any]:
    if isinstance(value, dict):
        return value
    kind, *rest = value
    if kind == 5:
        return {
            "type": "heartbeat",
            "seqs": list(zip(rest[1][::2], rest[1][1::2], strict=True)),
        }
    name, *fields = _NAMES[kind]
    return dict(zip(fields, rest, strict=True), type=name)


async def serve(clients: list[Honest]) -> None:
    """Runs the clients, and answers orders."""
    running = [asyncio.ensure_future(client.run()) for client in clients]
    waits = asyncio.gather(*(client.live.wait() for client in clients))
    await asyncio.wait([waits, *running], return_when=asyncio.FIRST_COMPLETED)
    print("ready", flush=True)
    orders = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(orders), sys.stdin
    )
    while order := (await orders.readline()).strip():
        if order == b"mark":
            for client in clients:
                client.updates = 0
                client.measures.mark()
        print(json.dumps([client.report() for client in clients]), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("port", type=int)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--address", default="127.0.0.1", help="the local end: the gateway counts by it")
    parser.add_argument("--token", default="")
    parser.add_argument("--times", type=int, default=1, help="how many of each kind")
    options = parser.parse_args()
    clients = [
        Honest(options.host, options.port, options.address, options.token, view)
        for view in HONEST * options.times
    ]
    uvloop.run(serve(clients))


if __name__ == "__main__":
    main()
