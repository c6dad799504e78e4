"""The contract's two formats behind one interface: bytes to typed events, commands to bytes. No I/O, no state machine.

``protocol_json.py`` and ``protocol_msgpack.py`` implement it. Both are strict in what they know (a missing field, a wrong
type or a number out of range raises ProtocolViolation) and tolerant of what they do not: unknown keys, trailing array
elements and unknown message types are ignored.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple, Protocol

from mdstream.client.events import Event

FormatName = Literal["json", "msgpack"]
Command = dict[str, Any]


class Codec(Protocol):
    """One connection's decoder and encoder; make a new one for each connection."""

    subprotocol: str
    """What is offered in ``Sec-WebSocket-Protocol``."""
    binary: bool
    """Whether its messages travel in binary frames."""

    def decode(self, payload: bytes) -> list[Event]:
        """The events of one WebSocket message, in order; raises ProtocolViolation with what was wrong."""

    def encode(self, command: Command) -> bytes: ...


class Request(NamedTuple):
    """What is subscribed to: everything that makes a topic."""

    channel: str
    instrument: str
    depth: int = 0
    group: int = 1
    interval_ms: int = 0


def subscribe(
    id: int, requests: Sequence[Request], resume: Mapping[str, tuple[int, int]] | None = None
) -> Command:
    """One ``subscribe`` for several instruments; all requests must agree in everything else."""
    first = requests[0]
    command: Command = {
        "op": "subscribe",
        "id": id,
        "channel": first.channel,
        "instruments": [request.instrument for request in requests],
    }
    if first.channel == "book":
        command["depth"] = first.depth
        command["group"] = first.group
        command["interval_ms"] = first.interval_ms
    elif first.interval_ms:
        command["interval_ms"] = first.interval_ms
    if resume:
        command["resume"] = {instrument: list(place) for instrument, place in resume.items()}
    return command


def unsubscribe(id: int, subs: Sequence[int]) -> Command:
    return {"op": "unsubscribe", "id": id, "subs": list(subs)}


def recover(id: int, sub: int, from_seq: int) -> Command:
    """``from_seq`` 0 asks for a snapshot."""
    return {"op": "recover", "id": id, "sub": sub, "from": from_seq}


def ping(id: int, data: Any = None) -> Command:
    return {"op": "ping", "id": id, "data": data}


def make_codec(name: FormatName) -> Codec:
    """The codec called ``json`` or ``msgpack``; ValueError for any other name."""
    from mdstream.client.protocol_json import JsonCodec
    from mdstream.client.protocol_msgpack import MsgpackCodec

    if name == "json":
        return JsonCodec()
    if name == "msgpack":
        return MsgpackCodec()
    raise ValueError(f"format was {name!r}; it must be 'json' or 'msgpack'")
