"""The kinds of rows of the attack table: what is sent, and the refusal that must come. ``play`` raises AssertionError where it does not."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

import msgpack

from attack.arena import DEADLINE_S, Arena
from attack.wire import Attacker, Gone, Wire, request


@dataclass(frozen=True, kw_only=True)
class Expect:
    """What may happen; where several are given, any of them."""

    close: tuple[int | None, ...] = ()
    """Close codes; None: the connection ends without a close frame."""
    errors: tuple[str, ...] = ()
    """Codes of ``error``; the session goes on."""
    stays: bool = False
    """Nothing is said, and the session goes on."""


def closes(*codes: int | None) -> Expect:
    return Expect(close=codes)


def refuses(*codes: str) -> Expect:
    return Expect(errors=codes)


STAYS = Expect(stays=True)


@dataclass(frozen=True, kw_only=True)
class Row:
    name: str

    def play(self, arena: Arena) -> None:
        raise NotImplementedError


@dataclass(frozen=True, kw_only=True)
class RequestRow(Row):
    """Bytes on a new connection, and the status of the answer; 0: it ends without one, 101: let in."""

    raw: bytes | Callable[[], bytes]
    status: tuple[int, ...]
    finish: bool = False
    """The sender says that nothing more comes."""
    admin: bool = False
    source: str = "127.0.0.1"
    """Where it comes from: the gateway counts by it."""

    def play(self, arena: Arena) -> None:
        raw = self.raw if isinstance(self.raw, bytes) else self.raw()
        port = arena.gateway.admin_port if self.admin else arena.gateway.port
        with Wire(port, address=self.source) as wire:
            wire.watched = not self.admin  # an operator may see the names of all instruments
            try:
                wire.send(raw)
                if self.finish:
                    wire.finish()
            except (Gone, OSError):
                pass  # it was answered before all was sent
            if self.status == (101,):
                got = int((wire.take(12))[9:])
            else:
                got, headers, body = wire.answer()
                self._check_answer(got, headers, body)
        assert got in self.status, f"answered {got}, not {' or '.join(map(str, self.status))}"

    def _check_answer(self, status: int, headers: dict[str, str], body: bytes) -> None:
        """An answer is complete, short, and says nothing of the inside."""
        if not status:
            return
        assert int(headers["content-length"]) == len(body) or not body, (headers, body)
        assert headers["connection"] == "close"
        if status >= 400:
            assert len(body) < 600, body
            for secret in (b"Traceback", b'File "', b"/mdstream/", b"eyJ"):
                assert secret not in body, body


@dataclass(frozen=True, kw_only=True)
class SessionRow(Row):
    """Frames of an open session, and what comes of them."""

    frames: bytes | Callable[[], bytes]
    expect: Expect
    format: str = "json"
    compression: bool = False
    before: tuple[dict[str, Any], ...] = ()
    """Commands that come first, and are answered as they should be."""
    finish: bool = False

    def play(self, arena: Arena) -> None:
        frames = self.frames if isinstance(self.frames, bytes) else self.frames()
        with Attacker(arena.gateway.port, self.format, compression=self.compression) as client:
            client.until("welcome")
            for command in self.before:
                client.say(command)
                client.until("subscribed")
            got = self._provoke(client, frames)
        assert got in self._allowed(), f"{got} came, not {self.expect}"

    def _allowed(self) -> set[str]:
        allowed = {f"close {code}" for code in self.expect.close}
        allowed |= {f"error {code}" for code in self.expect.errors}
        return allowed | ({"stays"} if self.expect.stays else set())

    def _provoke(self, client: Attacker, frames: bytes) -> str:
        """``close CODE``, ``error CODE`` of a session that goes on, or ``stays``."""
        try:
            client.send(frames)
            if self.finish:
                client.finish()
            # Instruments are looked for while other commands are answered: a pong may come before the error.
            error = "" if self.expect.stays or not self.expect.errors else _error(client.until("error"))
            if not self.expect.close or self.expect.errors or self.expect.stays:
                client.say({"op": "ping", "id": "still here"})
            while True:
                message = client.until("error", "pong")
                if message["type"] == "error":
                    error = error or _error(message)
                elif message.get("id") == "still here":
                    return error or "stays"
        except Gone as gone:
            return f"close {gone.code}"


@dataclass(frozen=True, kw_only=True)
class BusRow(Row):
    """What a publisher that was broken into sends on the subjects of a venue that honest clients watch."""

    payloads: tuple[bytes, ...]
    subject: str = "md.SIM.A.book"
    refused: bool = True
    """Whether it is counted as refused."""

    def play(self, arena: Arena) -> None:
        before = arena.gateway.metric("mdstream_upstream_refused_total")
        arena.target.publish(self.subject, *self.payloads)
        arena.honest.wait_for_updates()
        until = time.monotonic() + DEADLINE_S
        while self.refused and arena.gateway.metric("mdstream_upstream_refused_total") == before:
            assert time.monotonic() < until, "it was not refused"


@dataclass(frozen=True, kw_only=True)
class ForgedRow(Row):
    """An instrument whose names and reasons were written to deceive, and a client that opens it. The log is looked at by the test."""

    symbol: str = "FORGED"
    """As it stands in the bus subject, percent-encoded or not."""
    ref: dict[str, Any]
    reason: Any = None
    trade_id: Any = 1
    shown: bool = True
    """Whether the client may have it; else nobody has announced it."""
    format: str = "json"

    def play(self, arena: Arena) -> None:
        self._publish(arena)
        symbol = unquote(self.symbol)
        with Attacker(arena.gateway.port, self.format) as client:
            client.say({"op": "subscribe", "channel": "trades", "instruments": [f"SIM:{symbol}"]})
            answer = client.until("subscribed", "error")
            assert (answer["type"] == "subscribed") is self.shown, answer
            self._publish(arena)  # while somebody follows it
            client.say({"op": "ping"})
            client.until("pong")

    def _publish(self, arena: Arena) -> None:
        """All values of an epoch of their own, but those that the row spoils."""
        epoch = time.time_ns() // 1000
        values = {
            "ref": {"epoch": epoch, "price_exp": 0, "size_exp": 0} | self.ref,
            "status": [5, epoch, epoch, "halted", self.reason, 1, 1, epoch],
            "snap": [2, epoch, 1, epoch, [5, 1], [7, 1]],
            "trade": [3, epoch, 1, epoch, 5, 1, 1, self.trade_id],
        }
        arena.target.store(
            {f"md.SIM.{self.symbol}.{stream}": msgpack.packb(value) for stream, value in values.items()}
        )


@dataclass(frozen=True, kw_only=True)
class TokenRow(Row):
    """A token in an upgrade request that must be refused: always the same 401."""

    token: Callable[[], str]
    where: str = "header"

    def play(self, arena: Arena) -> None:
        token = self.token()
        headers: dict[str, str | None] = {}
        path = "/v1/stream"
        if self.where == "header":
            headers["Authorization"] = f"Bearer {token}"
        elif self.where == "subprotocol":
            headers["Sec_WebSocket_Protocol"] = f"mdstream.v1.json, bearer.{token}"
        else:
            path += f"?token={token}"
        with Wire(arena.gateway.port) as wire:
            wire.send(request(path, **headers))
            answer = wire.rest()
        assert answer.startswith(b"HTTP/1.1 401 "), answer[:200]
        without_time = re.sub(rb"\r\nDate: [^\r]*", b"", answer)
        arena.refusals.add(without_time)
        assert len(arena.refusals) == 1, f"the answers tell them apart: {arena.refusals}"


def _error(message: dict[str, Any]) -> str:
    return f"error {message['code']}"
