"""The contract's two formats behind one interface: bytes to typed events, commands to bytes. No I/O, no state machine.

``protocol_json.py`` and ``protocol_msgpack.py`` implement it, ``protocol_factory.py`` chooses between them. Both check what
they know: a missing field, a wrong type or a number out of range raises ProtocolViolation. Both ignore what they do not
know: unknown keys, trailing array elements and unknown message types.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple, Protocol

from mdstream.client.events import Event
from mdstream.topics import ALERTS, OWN, TOPIC_CHANNELS

VERSION = 1
"""Of the contract."""

FormatName = Literal["json", "msgpack"]
Command = dict[str, Any]


class Codec(Protocol):
    """Decoder and encoder of one connection; each connection needs a new one."""

    subprotocol: str
    """The name that the client offers in ``Sec-WebSocket-Protocol``."""
    binary: bool
    """Whether its messages travel in binary frames."""

    def decode(self, payload: bytes) -> list[Event]:
        """Returns the events of one WebSocket message, in order. Raises ProtocolViolation with what was wrong."""

    def encode(self, command: Command) -> bytes: ...


class Request(NamedTuple):
    """What a subscription asks for: everything that identifies a topic."""

    channel: str
    instrument: str
    depth: int = 0
    group: int = 1
    interval_ms: int = 0
    group_digits: int = 0
    patterns: tuple[str, ...] = ()
    """Of a list or a board, whose ``instrument`` is only for people."""
    span: str = ""
    """Of candles."""
    history: int = 0
    """Closed candles before the newest one."""
    prefix: str = ""
    """Of a map: how its keys begin."""
    who: bool = False
    join: bool = False
    info: str = ""
    """Of presence: whether sessions are shown, whether this one is present, and what it says of itself, as JSON."""
    device: str = ""
    """Of events: which of the user's devices this is."""
    since: int | None = None
    """Of events: the number after which they begin; None: where the user stands, or now."""

    def is_answered_by(self, instrument: str, patterns: Sequence[str] | None) -> bool:
        """``instrument``: or a topic, which a user may have called `user` or `alerts`, its own."""
        if self.channel in TOPIC_CHANNELS and self.instrument in (OWN, ALERTS):
            return instrument.startswith(f"{self.instrument}.")
        return tuple(patterns or ()) == self.patterns and (
            bool(self.patterns) or instrument == self.instrument
        )


def subscribe(
    id: int, requests: Sequence[Request], resume: Mapping[str, tuple[int, int]] | None = None
) -> Command:
    """One ``subscribe`` for several instruments; the requests must be equal in everything else."""
    first = requests[0]
    if first.channel in ("map", "presence"):
        return _subscribe_topics(id, requests, resume)
    if first.patterns:
        return _subscribe_many(id, first, resume.get(first.instrument) if resume else None)
    if first.channel == "events":
        return _subscribe_events(id, requests, resume)
    command: Command = {
        "op": "subscribe",
        "id": id,
        "channel": first.channel,
        "instruments": [request.instrument for request in requests],
    }
    if first.channel == "book":
        command["depth"] = first.depth
        if first.group_digits:
            command["group_digits"] = first.group_digits
        else:
            command["group"] = first.group
        command["interval_ms"] = first.interval_ms
    elif first.channel == "candles":
        command["span"] = first.span
        command["history"] = first.history
    elif first.interval_ms:
        command["interval_ms"] = first.interval_ms
    if resume:
        command["resume"] = {instrument: list(place) for instrument, place in resume.items()}
    return command


def _subscribe_many(id: int, request: Request, resume: tuple[int, int] | None) -> Command:
    command: Command = {
        "op": "subscribe",
        "id": id,
        "channel": request.channel,
        "instruments": list(request.patterns),
    }
    if request.interval_ms:
        command["interval_ms"] = request.interval_ms
    if resume is not None:
        command["resume"] = list(resume)
    return command


def _subscribe_topics(
    id: int, requests: Sequence[Request], resume: Mapping[str, tuple[int, int]] | None
) -> Command:
    first = requests[0]
    command: Command = {
        "op": "subscribe",
        "id": id,
        "channel": first.channel,
        "topics": [request.instrument for request in requests],
    }
    given = {"prefix": first.prefix, "who": first.who, "join": first.join, "interval_ms": first.interval_ms}
    command.update({name: value for name, value in given.items() if value})
    if first.info:
        command["info"] = json.loads(first.info)
    if resume:
        command["resume"] = {topic: list(place) for topic, place in resume.items()}
    return command


def _subscribe_events(
    id: int, requests: Sequence[Request], resume: Mapping[str, tuple[int, int]] | None
) -> Command:
    command: Command = {
        "op": "subscribe",
        "id": id,
        "channel": "events",
        "topics": [request.instrument for request in requests],
    }
    if requests[0].device:
        command["device"] = requests[0].device
    if resume:
        command["resume"] = {topic: list(place) for topic, place in resume.items()}
    return command


def put(id: int, fields: Mapping[str, Any]) -> Command:
    return {"op": "put", "id": id, **fields}


def acknowledge(sub: int, seq: int) -> Command:
    return {"op": "ack", "sub": sub, "seq": seq}


def publish(id: int, topic: str, event: str, data: Any, key: str) -> Command:
    return {"op": "publish", "id": id, "topic": topic, "event": event, "data": data, "key": key}


def unsubscribe(id: int, subs: Sequence[int]) -> Command:
    return {"op": "unsubscribe", "id": id, "subs": list(subs)}


def recover(id: int, sub: int, from_seq: int) -> Command:
    """``from_seq`` 0 asks for a snapshot."""
    return {"op": "recover", "id": id, "sub": sub, "from": from_seq}


def ping(id: int, data: Any = None) -> Command:
    return {"op": "ping", "id": id, "data": data}


def auth(id: int, token: str) -> Command:
    return {"op": "auth", "id": id, "token": token}
