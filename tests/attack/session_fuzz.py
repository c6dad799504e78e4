"""A fuzzer that knows the protocol: actors who connect, subscribe, break off, send halves, and are reset, in an order drawn by a seed.

The same seed gives the same actions; what the gateway answers does not change them.
"""

from __future__ import annotations

import itertools
import json
import random
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import msgpack

from attack.canary import PING_MARK
from attack.table_commands import ROWS as COMMAND_ROWS
from attack.table_frames import ROWS as FRAME_ROWS
from attack.table_frames import compressed, deflated
from attack.target import Target
from attack.wire import Attacker, Gone, Refused, Wire, request
from support.websocket import BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT, frame

INSTRUMENTS = ("SIM:A", "SIM:DEEP", "SIM:QUIET")
STRANGE = ("SIM:NONE", "SIM:", "x", "SIM:A\n", "md.SIM.>", "SIM:" + "Z" * 130)
NUMBERS = (0, 1, 2, 3, 7, 63, 2**31, 2**53 - 1, 2**53, -1)


class Actor:
    """One of those who misbehave. An action that the gateway does not survive, or answers by ending the connection, is over then."""

    def __init__(self, target: Target, chance: random.Random) -> None:
        self._target, self._chance = target, chance
        self.wire: Wire | None = None
        self.did: Counter[str] = Counter()
        self._rest = b""
        """What is missing of a frame of which a half was sent."""
        self._actions: list[tuple[int, Callable[[], None]]] = [
            (10, self.subscribe), (4, self.unsubscribe), (5, self.recover), (3, self.ping), (1, self.auth), (8, self.row),
            (5, self.half), (4, self.fragments), (2, self.one_byte_at_a_time), (6, self.read), (2, self.packed),
            (2, self.control), (1, self.finish), (2, self.close), (3, self.reset), (1, self.hang_up), (1, self.storm),
        ]  # fmt: skip

    def act(self) -> None:
        if self.wire is None:
            action = self.connect
        else:
            weights, actions = zip(*self._actions, strict=True)
            action = self._chance.choices(actions, weights)[0]
        self.did[action.__name__] += 1
        try:
            action()
        except (Gone, Refused, OSError):
            self.hang_up()

    # ---- connections

    def connect(self) -> None:
        chance = self._chance
        self._format = chance.choice(("json", "msgpack"))
        self._packs = chance.random() < 0.4
        kind = chance.random()
        self._rest = b""
        if kind < 0.1:  # half an upgrade request
            whole = request()
            self.wire = Wire(self._target.port)
            self.wire.send(whole[: chance.randrange(len(whole))])
            return
        pipelined = self._frame(self._command()) if kind < 0.3 else b""
        self.wire = Attacker(
            self._target.port, self._format, compression=self._packs, pipelined=pipelined,
            receive_buffer=chance.choice((0, 0, 4096)),
        )  # fmt: skip

    def finish(self) -> None:
        self._socket.finish()

    def close(self) -> None:
        self._send(frame(CLOSE, self._chance.choice((b"", b"\x03\xe8", b"\x11\x31bye", b"\x00"))))

    def reset(self) -> None:
        self._socket.reset()
        self.wire = None

    def hang_up(self) -> None:
        if self.wire is not None:
            self.wire.socket.close()
        self.wire = None

    # ---- commands

    def subscribe(self) -> None:
        self._send(self._frame(self._subscribe()))

    def unsubscribe(self) -> None:
        subs = [self._chance.randint(0, 12) for _ in range(self._chance.randint(0, 4))]
        self._send(self._frame({"op": "unsubscribe", "subs": subs}))

    def recover(self) -> None:
        self._send(
            self._frame(
                {"op": "recover", "sub": self._chance.randint(0, 12), "from": self._chance.choice(NUMBERS)}
            )
        )

    def ping(self) -> None:
        data = [PING_MARK, self._chance.choice(NUMBERS[:-2]), None, {"a": [1.5, True]}]
        self._send(self._frame({"op": "ping", "id": self._chance.choice((1, "x")), "data": data}))

    def auth(self) -> None:
        self._send(self._frame({"op": "auth", "token": "eyJ" + "A" * self._chance.randrange(200)}))

    def _command(self) -> dict[str, Any]:
        return self._subscribe() if self._chance.random() < 0.7 else {"op": "ping", "data": PING_MARK}

    def _subscribe(self) -> dict[str, Any]:
        chance = self._chance
        names = chance.sample(INSTRUMENTS, chance.randint(1, 3))
        if chance.random() < 0.15:
            names.append(chance.choice(STRANGE))
        command: dict[str, Any] = {
            "op": "subscribe",
            "channel": chance.choice(("book", "book", "trades", "ticker")),
            "instruments": names,
        }
        if command["channel"] == "book":
            command["depth"] = chance.choice((0, 1, 5, 20, 20, 7))
            command["group"] = chance.choice((1, 1, 1, 2, 5, 10, 0))
        if chance.random() < 0.4:
            command["interval_ms"] = chance.choice((0, 50, 100, 1000, 3))
        if chance.random() < 0.3:
            command["resume"] = {names[0]: [chance.choice(NUMBERS), chance.choice(NUMBERS)]}
        return command

    # ---- frames

    def row(self) -> None:
        """A row of the tables, whatever state the session is in."""
        rows = [each for each in COMMAND_ROWS + FRAME_ROWS if each.format == self._format]
        frames = self._chance.choice(rows).frames
        assert isinstance(frames, bytes)
        self._send(frames)

    def half(self) -> None:
        """The first bytes of a frame; the rest comes with the next one that is sent, or never."""
        whole = self._frame(self._command())
        at = self._chance.randrange(1, len(whole))
        self._send(whole[:at])
        self._rest = whole[at:]

    def fragments(self) -> None:
        payload = self._payload(self._command())
        cuts = sorted({0, len(payload), *(self._chance.randrange(len(payload)) for _ in range(3))})
        pieces = [payload[start:end] for start, end in itertools.pairwise(cuts)]
        sent = b""
        for number, piece in enumerate(pieces):
            opcode = CONTINUATION if number else self._opcode
            sent += frame(opcode, piece, fin=number == len(pieces) - 1)
            if self._chance.random() < 0.4:
                sent += frame(self._chance.choice((PING, PONG)), b"between")
        self._send(sent)

    def one_byte_at_a_time(self) -> None:
        self._socket.send_slowly(
            self._take_rest() + self._frame(self._command()), self._chance.choice((1, 2, 5))
        )

    def packed(self) -> None:
        payload = self._payload(self._command())
        self._send(compressed(deflated(payload), self._opcode))

    def control(self) -> None:
        self._send(
            frame(self._chance.choice((PING, PONG)), PING_MARK.encode()) * self._chance.choice((1, 10, 300))
        )

    def storm(self) -> None:
        """Many commands in one write."""
        self._send(b"".join(self._frame(self._command()) for _ in range(self._chance.choice((20, 200)))))

    def read(self) -> None:
        self._socket.discard()

    # ---- parts

    @property
    def _socket(self) -> Wire:
        assert self.wire is not None
        return self.wire

    @property
    def _opcode(self) -> int:
        return BINARY if self._format == "msgpack" else TEXT

    def _payload(self, command: dict[str, Any]) -> bytes:
        return msgpack.packb(command) if self._format == "msgpack" else json.dumps(command).encode()

    def _frame(self, command: dict[str, Any]) -> bytes:
        return frame(self._opcode, self._payload(command))

    def _take_rest(self) -> bytes:
        rest, self._rest = self._rest, b""
        return rest if self._chance.random() < 0.8 else b""

    def _send(self, data: bytes) -> None:
        """What the gateway does not take at once, because this actor does not read, is not sent."""
        self._socket.socket.setblocking(False)
        try:
            with suppress(BlockingIOError):
                self._socket.send(self._take_rest() + data)
        finally:
            if self.wire is not None:
                self.wire.socket.settimeout(20.0)


def rampage(target: Target, seed: int, actions: int, actors: int = 8) -> Counter[str]:
    """So many actions of so many actors; returns what was done how often."""
    chance = random.Random(seed)
    all_of_them = [Actor(target, random.Random(chance.random())) for _ in range(actors)]
    for _ in range(actions):
        chance.choice(all_of_them).act()
    done: Counter[str] = Counter()
    for actor in all_of_them:
        actor.hang_up()
        done += actor.did
    return done
