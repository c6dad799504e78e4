"""``python -m attack.flood KIND PORT ADDRESS [TOKEN]``: floods a server from one address, as fast as it can, until it is ended.

It runs at the lowest priority: what it takes from others on its core is not what is measured. Every second it prints how much it sent.
"""

from __future__ import annotations

import os
import selectors
import socket
import struct
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress

from msgpack import packb

from attack.table_frames import deflated
from attack.wire import DEFLATE, PROTOCOLS, request
from support.websocket import BINARY, PING, frame

CONNECTIONS = 50
CHUNK = 65_536
SYMBOLS = 100
"""Instruments whose names are known to the flooder: ``FLOOD:SYM0`` and so on."""
PINGS = frame(PING, b"flood") * (CHUNK // 11)
COMMANDS = frame(BINARY, b"\x82\xa2op\xa4ping\xa4data\xa5flood") * (CHUNK // 26)
BIG = frame(BINARY, packb({"op": "ping", "data": bytes(60_000)}))
DEFLATED = frame(BINARY, deflated(packb({"op": "ping", "data": bytes(60_000)})), rsv=4) * 100
RESET = struct.pack("ii", 1, 0)


def subscribes() -> bytes:
    """Each instrument, full as the honest clients have it, and away again: by the numbers that those have too."""
    begin = [
        {"op": "subscribe", "channel": "book", "instruments": [f"FLOOD:SYM{number}"]}
        for number in range(SYMBOLS)
    ]
    end = [{"op": "unsubscribe", "subs": [number + 1]} for number in range(SYMBOLS)]
    return b"".join(frame(BINARY, packb(command)) for command in begin + end)


def connect(port: int, address: str) -> socket.socket:
    made = socket.socket()
    made.bind((address, 0))
    made.connect(("127.0.0.1", port))
    return made


def connections(port: int, address: str, hello: bytes) -> Iterator[int]:
    """Connects, asks for an upgrade, and ends with RST. Yields bytes sent."""
    while True:
        with suppress(OSError):
            made = connect(port, address)
            made.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            made.sendall(hello)
            made.close()
        yield len(hello)


def frames(port: int, address: str, hello: bytes, chunk: bytes) -> Iterator[int]:
    """Sends whole frames on many sessions at once, and opens another one where the server has ended one."""
    ready = selectors.DefaultSelector()
    places: dict[socket.socket, int] = {}
    view = memoryview(chunk)

    def another() -> None:
        with suppress(OSError):
            made = connect(port, address)
            made.sendall(hello)
            made.setblocking(False)
            ready.register(made, selectors.EVENT_READ | selectors.EVENT_WRITE)

    for _ in range(CONNECTIONS):
        another()
    while True:
        sent = 0
        for key, events in ready.select(1.0):
            session: socket.socket = key.fileobj  # type: ignore[assignment]
            place = places.pop(session, 0)
            try:
                taken = _serve(session, events, view[place:])
                places[session] = (place + taken) % len(chunk)
                sent += taken
            except OSError:
                ready.unregister(session)
                session.close()
                another()
        if not ready.get_map():
            another()
        yield sent


def _serve(session: socket.socket, events: int, chunk: memoryview) -> int:
    """Reads and forgets; sends what is taken. OSError where the session has ended."""
    if events & selectors.EVENT_READ and not session.recv(1 << 18):
        raise ConnectionResetError
    with suppress(BlockingIOError):
        return session.send(chunk) if events & selectors.EVENT_WRITE else 0
    return 0


def half(port: int, address: str, hello: bytes) -> Iterator[int]:
    """Connections that never ask for anything; the oldest ends with RST once there are many, so that its port is free again."""
    held: list[socket.socket] = []
    while True:
        with suppress(OSError):
            held.append(connect(port, address))
            held[-1].setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        if len(held) > 1_000:
            held.pop(0).close()
        yield 0


KINDS: dict[str, Callable[[int, str, bytes], Iterator[int]]] = {
    "connections": connections,
    "half-open": half,
    "pings": lambda port, address, hello: frames(port, address, hello, PINGS),
    "commands": lambda port, address, hello: frames(port, address, hello, COMMANDS),
    "subscribes": lambda port, address, hello: frames(port, address, hello, subscribes()),
    "big": lambda port, address, hello: frames(port, address, hello, BIG),
    "deflated": lambda port, address, hello: frames(port, address, hello, DEFLATED),
}


def main(kind: str, port: str, address: str, token: str = "") -> None:
    os.nice(int(os.environ.get("FLOOD_NICE", "19")))
    bearer = {"Authorization": f"Bearer {token}"} if token else {}
    extensions = DEFLATE if kind == "deflated" else None
    hello = request(
        Sec_WebSocket_Protocol=PROTOCOLS["msgpack"], Sec_WebSocket_Extensions=extensions, **bearer
    )
    rounds = sent = 0
    due_s = time.monotonic() + 1
    for size in KINDS[kind](int(port), address, hello):
        rounds, sent = rounds + 1, sent + size
        if time.monotonic() > due_s:
            print(rounds, sent, flush=True)
            rounds, sent, due_s = 0, 0, time.monotonic() + 1


if __name__ == "__main__":
    main(*sys.argv[1:])
