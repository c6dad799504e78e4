"""The attacks that once stopped a gateway, each a function of its target and of its size.

Size 1 is that at which the attack was found; ``make test`` runs a tenth of it, ``make attack`` ten times as much. An attack returns when
the attacker has sent all that it wants, or the gateway has ended all its connections.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import msgpack

from attack.canary import PING_MARK
from attack.table_frames import compressed, deflated
from attack.target import Target
from attack.wire import Attacker, Gone, Refused, Wire
from support.websocket import BINARY, CONTINUATION, PING, TEXT, frame

DEEP: dict[str, Any] = {"op": "subscribe", "channel": "book", "instruments": ["SIM:DEEP"]}
SUBSCRIBED_S = 10.0


@dataclass(frozen=True)
class Attack:
    name: str
    what: str
    run: Callable[[Target, float], None]


ATTACKS: dict[str, Attack] = {}


def attack(what: str) -> Callable[[Callable[[Target, float], None]], Callable[[Target, float], None]]:
    def keep(run: Callable[[Target, float], None]) -> Callable[[Target, float], None]:
        ATTACKS[run.__name__] = Attack(run.__name__, what, run)
        return run

    return keep


def times(count: float, size: float) -> int:
    return max(1, round(count * size))


def deep_client(target: Target, format: str, **options: Any) -> tuple[Attacker, int]:
    """A session with the deep book, and its subscription."""
    client = Attacker(target.port, format, **options)
    client.say(DEEP)
    return client, client.until("subscribed")["sub"]


def read_on(client: Attacker, seconds: float) -> None:
    """Reads until so many seconds were silent, or the gateway ends it."""
    with suppress(Gone, OSError, TimeoutError):
        while client.discard(seconds):
            pass


# ---- bytes out


@attack("one frame with 1,900 `recover from: 0` of a deep book, MessagePack")
def recover_in_one_frame(target: Target, size: float) -> None:
    left = times(1_900, size)
    while left > 0:
        client, sub = deep_client(target, "msgpack")
        with client, suppress(Gone, OSError):
            some = min(left, 1_900)
            left -= some
            client.say(*[{"op": "recover", "sub": sub, "from": 0}] * some)
            read_on(client, 0.5)


@attack("`recover from: 0` of a deep book at the allowed rate, JSON")
def recover_in_json(target: Target, size: float) -> None:
    left = times(1_000, size)
    while left > 0:
        client, sub = deep_client(target, "json")
        with client, suppress(Gone, OSError):
            some = min(left, 200)
            left -= some
            client.say(*[{"op": "recover", "sub": sub, "from": 0}] * some)
            read_on(client, 0.2)


@attack("subscribe to and unsubscribe from a deep book again and again")
def subscribe_again(target: Target, size: float) -> None:
    left = times(500, size)
    while left > 0:
        client, sub = deep_client(target, "msgpack")
        with client, suppress(Gone, OSError):
            some = min(left, 500)
            left -= some
            commands: list[dict[str, Any]] = []
            for _ in range(some):
                commands += [{"op": "unsubscribe", "subs": [sub]}, DEEP]
            client.say(*commands)
            read_on(client, 0.5)


@attack("20 clients that ask for deep books and never read")
def never_read(target: Target, size: float) -> None:
    clients = []
    try:
        for _ in range(times(20, size)):
            with suppress(Gone, Refused, OSError):
                client, sub = deep_client(target, "msgpack", receive_buffer=4096)
                client.say(*[{"op": "recover", "sub": sub, "from": 0}] * 30)
                clients.append(client)
        time.sleep(1.0)
    finally:
        for client in clients:
            client.socket.close()


# ---- CPU


@attack("deflated messages that unpack to empty maps, 15.7 kB/s")
def deflated_maps(target: Target, size: float) -> None:
    bomb = compressed(deflated(b"\x80" * 65_536), BINARY)
    left = times(15_700 * 5, size)
    while left > 0:
        with suppress(Gone, Refused, OSError), Attacker(target.port, "msgpack", compression=True) as client:
            for _ in range(100):
                client.send(bomb)
                left -= len(bomb)
                if left <= 0:
                    break
            read_on(client, 0.2)


@attack("deflated JSON of 64 kB of nested lists")
def deflated_json(target: Target, size: float) -> None:
    payload = b'{"op":"ping","data":[' + b",".join([b"[[[[1]]]]"] * 6_000) + b"]}"
    bomb = compressed(deflated(payload), TEXT)
    left = times(300, size)
    while left > 0:
        with suppress(Gone, Refused, OSError), Attacker(target.port, compression=True) as client:
            for _ in range(min(left, 100)):
                client.send(bomb)
                left -= 1
            read_on(client, 0.2)


@attack("pings as fast as they can be sent (403,000 a second)")
def pings(target: Target, size: float) -> None:
    flood_frames(target, frame(PING, PING_MARK.encode()) * 2_000, times(400, size))


@attack("pongs that nobody asked for, as fast as they can be sent")
def pongs(target: Target, size: float) -> None:
    flood_frames(target, frame(10, b"x") * 2_000, times(400, size))


@attack("empty fragments of a message that never ends, as fast as they can be sent")
def empty_fragments(target: Target, size: float) -> None:
    flood_frames(
        target, frame(CONTINUATION, b"", fin=False) * 2_000, times(400, size), frame(TEXT, b"", fin=False)
    )


def flood_frames(target: Target, chunk: bytes, chunks: int, first: bytes = b"") -> None:
    """Sends so many chunks, on a new connection where the old one was ended, and reads what comes in between."""
    left = chunks
    while left > 0:
        left -= 1
        with suppress(Gone, Refused, OSError), Attacker(target.port) as client:
            client.send(first)
            while left > 0:
                client.send(chunk)
                client.discard()
                left -= 1
            client.say({"op": "ping"})  # its answer comes when all before it was read
            client.until("pong", "error")


@attack("a thousand numbers in `unsubscribe` that meet in Python's hash table")
def colliding_numbers(target: Target, size: float) -> None:
    numbers = [n << 43 for n in range(1, 1_000)] + [n << 30 for n in range(1, 3_000)]
    command = frame(TEXT, json.dumps({"op": "unsubscribe", "subs": numbers}).encode())
    flood_frames(target, command, times(200, size))


@attack("an id of 60,000 characters, repeated for each instrument that is subscribed to")
def long_ids(target: Target, size: float) -> None:
    command = {
        "op": "subscribe",
        "channel": "ticker",
        "instruments": ["SIM:A", "SIM:DEEP", "SIM:QUIET"],
        "id": "x" * 60_000,
    }
    flood_frames(target, frame(TEXT, json.dumps(command).encode()), times(500, size))


# ---- work and topics


@attack("990 groups of a deep book by one client")
def groups(target: Target, size: float) -> None:
    wanted = times(990, size)
    clients = []
    try:
        for start in range(2, 2 + wanted, 990):
            client = Attacker(target.port, "msgpack")
            clients.append(client)
            with suppress(Gone, OSError):
                client.say(
                    *({**DEEP, "group": group} for group in range(start, min(start + 990, 2 + wanted)))
                )
        for client in clients:
            read_on(client, 0.5)
    finally:
        for client in clients:
            client.socket.close()


@attack("connections that are reset in the middle of 1,810 subscribes")
def reset_in_commands(target: Target, size: float) -> None:
    for number in range(times(100, size)):
        with suppress(Gone, Refused, OSError):
            client = Attacker(target.port, "msgpack")
            views = [
                {
                    "op": "subscribe",
                    "channel": "book",
                    "instruments": ["SIM:A"],
                    "group": 2 + number * 18 + i,
                    "depth": 5,
                }
                for i in range(18)
            ]
            client.say(*views)
            client.reset()


@attack("eight connections that ask for unknown instruments")
def unknown_instruments(target: Target, size: float) -> None:
    clients = []
    try:
        for number in range(times(8, size)):
            client = Attacker(target.port, "msgpack")
            clients.append(client)
            with suppress(Gone, OSError):
                for at in range(5):
                    names = [f"SIM:NONE{number}X{at}X{i}" for i in range(500)]
                    client.say({"op": "subscribe", "channel": "book", "instruments": names})
        with suppress(Gone):  # one of those that know what they want
            honest = Attacker(target.port)
            clients.append(honest)
            honest.say({"op": "subscribe", "channel": "book", "instruments": ["SIM:QUIET"]})
            honest.until("subscribed")
    finally:
        for client in clients:
            client.socket.close()


@attack("resumes of 1,000 subscriptions at an epoch that never was")
def resume_ahead(target: Target, size: float) -> None:
    resume_at(target, size, 2**53 - 1)


@attack("the same, at an epoch that a writer could have claimed")
def resume_soon(target: Target, size: float) -> None:
    resume_at(target, size, time.time_ns() // 1000 + 1_800_000_000)


def resume_at(target: Target, size: float, epoch: int) -> None:
    clients = []
    try:
        for _ in range(times(10, size)):
            client = Attacker(target.port, "msgpack")
            clients.append(client)
            with suppress(Gone, OSError):
                for number in range(100):
                    names = ["SIM:A", "SIM:DEEP", "SIM:QUIET"]
                    ahead = {name: [epoch - number, 1] for name in names}
                    client.say({"op": "subscribe", "channel": "book", "instruments": names, "resume": ahead})
        time.sleep(2.5)
    finally:
        for client in clients:
            client.socket.close()


# ---- connections


@attack("1,000 connections that say nothing")
def silent_connections(target: Target, size: float) -> None:
    wires = []
    try:
        for _ in range(min(times(1_000, size), 9_000)):
            with suppress(OSError):
                wires.append(Wire(target.port))
    finally:
        for wire in wires:
            wire.socket.close()


@attack("200 upgrade requests that come one byte at a time")
def slow_requests(target: Target, size: float) -> None:
    wires = [Wire(target.port) for _ in range(min(times(200, size), 1_500))]
    try:
        for at in range(60):
            for wire in wires:
                with suppress(Gone, OSError):
                    wire.send(
                        b"GET /v1/stream HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n"[at : at + 1]
                    )
    finally:
        for wire in wires:
            wire.socket.close()


@attack("upgrade requests with 16,000 commas in their extensions")
def comma_requests(target: Target, size: float) -> None:
    commas = "," * 15_000
    for _ in range(times(200, size)):
        with suppress(Gone, Refused, OSError):
            Attacker(target.port, headers={"Sec_WebSocket_Extensions": commas}).socket.close()


@attack("connections that are reset at once, 1,000 of them")
def resets(target: Target, size: float) -> None:
    for _ in range(times(1_000, size)):
        with suppress(OSError):
            Wire(target.port).reset()


@attack("connections that send a close frame and stay, 200 of them")
def closing_connections(target: Target, size: float) -> None:
    """Sockets on their way out must not hold the places of others."""
    clients = []
    try:
        for _ in range(times(200, size)):
            with suppress(Gone, Refused, OSError):
                client = Attacker(target.port)
                clients.append(client)
                client.send(frame(8, b"\x03\xe8"))
    finally:
        for client in clients:
            client.socket.close()


# ---- the admin port


@attack("900 connections to the admin port with half a request each")
def admin_half_requests(target: Target, size: float) -> None:
    wires = []
    try:
        for _ in range(min(times(900, size), 9_000)):
            with suppress(OSError):
                wires.append(Wire(target.admin_port))
                wires[-1].send(b"GET /metrics HTTP/1.1\r\nHost: local")
    finally:
        for wire in wires:
            wire.socket.close()


@attack("500 scrapes of the metrics, one after another")
def admin_scrapes(target: Target, size: float) -> None:
    for _ in range(times(500, size)):
        answer(target.admin_port, b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n")


@attack("20 requests to the admin port whose Host is a name of 16,000 blanks")
def admin_hosts(target: Target, size: float) -> None:
    for _ in range(times(20, size)):
        answer(target.admin_port, b"GET /metrics HTTP/1.1\r\nHost: a" + b" " * 16_000 + b"b\r\n\r\n")


def answer(port: int, raw: bytes) -> None:
    with suppress(Gone, OSError), Wire(port) as wire:
        wire.watched = False  # an operator may see the names of all instruments
        wire.send(raw)
        wire.rest()


# ---- the bus


@attack("names that are nearly those of a venue with 1,000 instruments")
def near_names(target: Target, size: float) -> None:
    """The error for an unknown instrument names similar ones: who has many asks the gateway to compare them all."""
    ref = msgpack.packb({"epoch": time.time_ns() // 1000, "price_exp": 0, "size_exp": 0})
    target.store({f"md.NEAR.SYMBOL{number}.ref": ref for number in range(times(1_000, size))})
    with suppress(Gone, Refused, OSError), Attacker(target.port) as client:
        for number in range(100):
            client.say({"op": "subscribe", "channel": "book", "instruments": [f"NEAR:symbol{number}"]})
            read_on(client, 0.05)


@attack("updates whose ticks meet in one slot of the table that joins a log")
def colliding_ticks(target: Target, size: float) -> None:
    """With an interval, each delta joins all changes since the last: the table was not seeded, so anybody could choose its worst case."""
    ticks = colliding(times(4_000, min(size, 2)))
    epoch = time.time_ns() // 1000
    subject = "md.SIM.COLLIDE"
    ref = msgpack.packb({"epoch": epoch, "price_exp": 0, "size_exp": 0})
    flat = [n for tick in sorted(ticks, reverse=True) for n in (tick, 1)]
    target.publish(f"{subject}.ref", ref)
    target.publish(f"{subject}.snap", msgpack.packb([2, epoch, 1, epoch, flat[:20], []]))
    with Attacker(target.port, "msgpack") as client, suppress(Gone, OSError):
        client.say({"op": "subscribe", "channel": "book", "instruments": ["SIM:COLLIDE"], "interval_ms": 100})
        for number in range(2, 2 + times(20, size)):
            lots = 1 + number % 2
            changed = [n if at % 2 == 0 else lots for at, n in enumerate(flat)]
            target.publish(f"{subject}.book", msgpack.packb([1, epoch, number, number, epoch, changed, []]))
        read_on(client, 0.3)


def colliding(count: int) -> list[int]:
    """Ticks that the multiplicative hash without a seed puts into one slot: multiples of a number that it takes almost to 0."""
    whole, factor = 1 << 64, 0x9E37_79B9_7F4A_7C15
    a, b = whole, factor
    before, step = 0, 1
    while step < 1 << 32:  # the denominators of the best approximations to factor / 2^64
        quotient = a // b
        a, b = b, a - quotient * b
        before, step = step, before + quotient * step
    return [step * k for k in range(1, count + 1)]
