"""Commands to all gateways: what was revoked, kept in the stream ``MD_CTL`` for those that start later, sessions that opened,
and signed requests that were used.

A revocation is published once, on ``mdctl.revoke.<kind>.<hash of the name>``: gateways that are there hear it, and the stream keeps the
newest of each name. What comes is untrusted, and read within bounds.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Final

import nats.errors

from mdstream.bus import streams
from mdstream.bus.connection import Bus
from mdstream.bus.log import Since, replay
from mdstream.bus.streams import MD_CTL
from mdstream.errors import PayloadError
from mdstream.model import MAX_NUMBER
from mdstream.nesting import is_deep

REVOKE: Final = "mdctl.revoke"
OPENED: Final = "mdctl.opened"
USED: Final = "mdctl.used"
KINDS: Final = ("subject", "session", "key", "token")
MAX_NAME: Final = 256
MAX_PAYLOAD: Final = 4_096


@dataclass(frozen=True, slots=True)
class Revoke:
    """``kind`` is one of KINDS; ``at_us``: when, ``until_us``: how long, None for good; ``lifted``: it holds no longer."""

    kind: str
    name: str
    at_us: int
    until_us: int | None = None
    lifted: bool = False

    @property
    def subject(self) -> str:
        """The bus subject."""
        return f"{REVOKE}.{self.kind}.{sha256(self.name.encode()).hexdigest()[:32]}"

    def encode(self) -> bytes:
        found = {
            "kind": self.kind,
            "name": self.name,
            "at": self.at_us,
            "until": self.until_us,
            "lifted": self.lifted,
        }
        return json.dumps(found).encode()

    @classmethod
    def decode(cls, payload: bytes) -> Revoke:
        """Raises PayloadError."""
        found = _read(payload)
        kind, name = found.get("kind"), found.get("name")
        at_us, until_us, lifted = found.get("at"), found.get("until"), found.get("lifted", False)
        times = [at_us] if until_us is None else [at_us, until_us]
        if (
            kind not in KINDS
            or not _is_name(name)
            or not all(map(_is_whole, times))
            or not isinstance(lifted, bool)
        ):
            raise PayloadError("a revocation must have kind, name, at, and until or null")
        return cls(str(kind), str(name), int(at_us or 0), until_us, lifted)


async def ensure(bus: Bus) -> None:
    """Creates the stream if it does not exist. Raises BusError."""
    try:
        await streams.ensure_control(bus.jetstream, bus.options.streams)
    except (nats.errors.Error, TimeoutError) as error:
        streams.explain(error, f"stream {MD_CTL} does not exist and cannot be created")


async def revoke(bus: Bus, revocation: Revoke) -> None:
    """Publishes it; returns when the stream has it. Raises BusError."""
    await bus.publish_acked(revocation.subject, revocation.encode())


async def revoked(bus: Bus) -> AsyncIterator[bytes]:
    """The payloads of all revocations that the stream keeps. Raises BusError."""
    found = replay(
        bus.client, bus.jetstream, f"{REVOKE}.>", Since(), bus.options.replay_silence_s, stream=MD_CTL
    )
    async with aclosing(found) as payloads:
        async for payload in payloads:
            yield payload


def encode_opened(subject: str, session: str, line: int) -> bytes:
    return json.dumps({"subject": subject, "session": session, "line": line}).encode()


def decode_opened(payload: bytes) -> tuple[str, str, int]:
    """Subject, session and line. Raises PayloadError."""
    found = _read(payload)
    subject, session, line = found.get("subject"), found.get("session"), found.get("line", 1)
    if not _is_name(subject) or not _is_name(session) or not _is_whole(line):
        raise PayloadError("an opened session must have subject and session, and a whole number as its line")
    return str(subject), str(session), line


def encode_used(key: str, nonce: str) -> bytes:
    return json.dumps({"key": key, "nonce": nonce}).encode()


def decode_used(payload: bytes) -> tuple[str, str]:
    """The id of an API key, and the nonce of a request that it signed. Raises PayloadError."""
    found = _read(payload)
    key, nonce = found.get("key"), found.get("nonce")
    if not _is_name(key) or not _is_name(nonce):
        raise PayloadError("a used request must have key and nonce")
    return str(key), str(nonce)


def _read(payload: bytes) -> dict[str, Any]:
    try:
        text = payload.decode() if len(payload) <= MAX_PAYLOAD else "null"
        found = None if is_deep(text) else json.loads(text)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise PayloadError(f"a command to gateways must be a JSON object of at most {MAX_PAYLOAD} bytes")
    return found


def _is_name(value: object) -> bool:
    return isinstance(value, str) and 0 < len(value) <= MAX_NAME and value.isprintable()


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MAX_NUMBER
