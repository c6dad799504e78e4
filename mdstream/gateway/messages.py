"""The control messages that a gateway sends: maps with their keys in the contract's order, and their bytes in both formats.

``id`` and ``data`` are echoed where the client gave them and left out where it did not.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

import msgpack
import msgspec
from msgspec import UNSET

from mdstream._core.entry.welcome import WelcomeBytes
from mdstream.bus.events import MAX_DATA_BYTES
from mdstream.gateway.control_decoder import JSON, MSGPACK
from mdstream.maps import MAX_KEYS
from mdstream.model import MAX_NUMBER, Channel, Ref

if TYPE_CHECKING:
    from mdstream._core.fanout.topic import Topic
    from mdstream.codes import ErrorCode
    from mdstream.gateway.commands import CommandId
    from mdstream.gateway.config import GatewayConfig
    from mdstream.model import State, StateCode

PROTOCOL_VERSION = 1
HEALTHY_MS: Final = 1_000
"""For a gateway that is well; for one that is not, UNWELL_MS."""
UNWELL_MS: Final = 30_000

Message = dict[str, Any]

_JSON_ENCODER = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False)
_to_json = msgspec.json.Encoder().encode
_to_msgpack = msgspec.msgpack.Encoder().encode


def encode(format: int, message: Message) -> bytes:
    """The bytes of a control message: ``json.dumps`` without spaces, or ``msgpack.packb``, keys in the order given.

    Raises ValueError, RecursionError or OverflowError for what cannot be encoded (only an echoed ``data`` can hold that).
    """
    if "data" in message:
        # A client's own: floating-point numbers and extension types as these libraries write them.
        return _JSON_ENCODER.encode(message).encode() if format == JSON else bytes(msgpack.packb(message))
    return _to_json(message) if format == JSON else _to_msgpack(message)


def encode_both(message: Message) -> tuple[bytes, bytes]:
    """The bytes as JSON and as MessagePack."""
    return encode(JSON, message), encode(MSGPACK, message)


RESUMES: Final = [
    Channel.BOOK,
    Channel.TRADES,
    Channel.TICKER,
    Channel.BOARD,
    Channel.EVENTS,
    Channel.MAP,
    Channel.PRESENCE,
]
"""Channels of which a subscription may go on from a number."""
Shared = Mapping[str, Mapping[str, int]]
"""The limits that a client has together with others: ``{"address": {…}, "user": {…}}``, or less."""


def welcome(
    config: GatewayConfig, session: str, time_us: int, shared: Shared, healthy_ms: int = HEALTHY_MS
) -> Message:
    """``healthy_ms``: how long a connection must last until the client may count it as a success."""
    limits = {
        "depths": list(config.depths),
        "intervals_ms": list(config.intervals_ms),
        "groups": list(config.groups),
        "max_subscriptions": config.max_subscriptions,
        "max_grouped": config.max_grouped,
        "max_other_groups": config.max_other_groups,
        "max_boards": config.max_boards,
        "max_board_rows": config.max_board_rows,
        "max_instruments_per_command": config.max_instruments_per_command,
        "max_message_bytes": config.max_message_bytes,
        "max_errors": config.max_errors,
        "commands_per_second": config.commands_per_second,
        "commands_burst": config.commands_burst,
        "max_commands_per_message": config.max_commands_per_message,
        "decoded_bytes_per_second": config.decoded_bytes_per_second,
        "decoded_bytes_burst": config.decoded_bytes_burst,
        "levels_per_second": config.levels_per_second,
        "levels_burst": config.levels_burst,
        "answer_bytes_per_second": config.answer_bytes_per_second,
        "answer_bytes_burst": config.answer_bytes_burst,
        "control_frames_per_second": config.control_frames_per_second,
        "control_frames_burst": config.control_frames_burst,
        "max_event_bytes": MAX_DATA_BYTES,
        "publishes_per_second": config.publishes_per_second,
        "publishes_burst": config.publishes_burst,
        "published_bytes_per_hour": config.published_bytes_per_hour,
        "published_bytes_burst": config.published_bytes_burst,
        "puts_per_second": config.puts_per_second,
        "puts_burst": config.puts_burst,
        "alerts_per_second": config.alerts_per_second,
        "alerts_burst": config.alerts_burst,
        "max_user_map_bytes": config.max_user_map_bytes,
        "max_map_keys": MAX_KEYS,
        **shared,
    }
    return {
        "type": "welcome",
        "version": PROTOCOL_VERSION,
        "node": config.node,
        "session": session,
        "time": time_us,
        "heartbeat_ms": config.heartbeat_ms,
        "healthy_ms": healthy_ms,
        "resumes": RESUMES,
        "limits": limits,
    }


class Welcomes(WelcomeBytes):
    """Makes the ``welcome`` of each session. All are the same except for the session's name and the time, so the rest is encoded once."""

    def __init__(self, config: GatewayConfig, shared: Shared, healthy_ms: int = HEALTHY_MS) -> None:
        super().__init__([_parts(format, config, shared, healthy_ms) for format in (JSON, MSGPACK)])


def _parts(format: int, config: GatewayConfig, shared: Shared, healthy_ms: int) -> tuple[bytes, bytes, bytes]:
    """The bytes before the session's name, between it and the time, and after the time."""
    session, time_us = secrets.token_hex(8), MAX_NUMBER
    whole = encode(format, welcome(config, session, time_us, shared, healthy_ms))
    before, _, rest = whole.partition(session.encode())
    between, _, after = rest.partition(_number(format, time_us))
    return before, between, after


def _number(format: int, value: int) -> bytes:
    return str(value).encode() if format == JSON else _to_msgpack(value)


def subscribed(
    format: int, id: CommandId, topic: Topic, ref: Ref, *, resumed: bool, delay_ms: int = 0
) -> bytes:
    message = {
        **_head("subscribed", id),
        "sub": topic.number,
        "channel": topic.channel,
        "instrument": topic.instrument.name,
        "depth": topic.depth,
        "group": topic.group,
        "interval_ms": topic.interval_ms,
        "price_exp": ref.price_exp,
        "size_exp": ref.size_exp,
        "ref": reference(ref),
        "resumed": resumed,
    }
    if delay_ms:
        message["delay_ms"] = delay_ms
    return encode(format, message)


def subscribed_many(
    id: CommandId, topic: Topic, patterns: list[str], *, resumed: bool, delay_ms: int = 0
) -> Message:
    """To a list or a board."""
    message = {
        **_head("subscribed", id),
        "sub": topic.number,
        "channel": topic.channel,
        "instruments": patterns,
        "interval_ms": topic.interval_ms,
        "resumed": resumed,
    }
    return message | {"delay_ms": delay_ms} if delay_ms else message


def subscribed_candles(id: CommandId, sub: int, instrument: str, span: str, ref: Ref) -> Message:
    return {
        **_head("subscribed", id),
        "sub": sub,
        "channel": "candles",
        "instrument": instrument,
        "span": span,
        "price_exp": ref.price_exp,
        "size_exp": ref.size_exp,
        "ref": reference(ref),
        "resumed": False,
    }


def subscribed_topic(id: CommandId, topic: Topic, name: str, epoch: int, *, resumed: bool) -> Message:
    """To a map, or to presence."""
    return {
        **_head("subscribed", id),
        "sub": topic.number,
        "channel": topic.channel,
        "topic": name,
        "epoch": epoch,
        "interval_ms": topic.interval_ms,
        "resumed": resumed,
    }


def subscribed_events(
    id: CommandId,
    sub: int,
    topic: str,
    epoch: int,
    acknowledge: str,
    position: int | None,
    newest: int,
    *,
    resumed: bool,
) -> Message:
    """``epoch``: the numbering that its numbers are of; ``acknowledge``: user, device or none; ``position``: up to which event that was
    done; ``newest``: the number of the newest event."""
    return {
        **_head("subscribed", id),
        "sub": sub,
        "channel": "events",
        "topic": topic,
        "epoch": epoch,
        "acknowledge": acknowledge,
        "position": position,
        "newest": newest,
        "resumed": resumed,
    }


def stored(id: CommandId, topic: str, seq: int) -> Message:
    """The answer to a ``put`` that was applied."""
    return {**_head("stored", id), "topic": topic, "seq": seq}


def conflict(id: CommandId, topic: str, current: Mapping[str, list[object] | None] | None) -> Message:
    """The answer to a ``put`` that expected something else than holds; ``current`` None: the client may not know what does."""
    text = f"what was expected of {topic} does not hold; nothing was changed"
    told = error(id, "conflict", text)
    return told if current is None else {**told, "current": current}


class Subscribed:
    """The ``subscribed`` of one instrument. All that lead to the same topic are equal but for the ``id``, so the rest is encoded once;
    with the ``id``, where many clients may give it."""

    def __init__(self) -> None:
        self._ref: Ref | None = None
        self._made: dict[tuple[int, int, bool, int, CommandId], bytes] = {}

    def __len__(self) -> int:
        return len(self._made)

    def encode(
        self, format: int, id: CommandId, topic: Topic, ref: Ref, *, resumed: bool, delay_ms: int = 0
    ) -> bytes:
        """As ``subscribed``."""
        if ref is not self._ref or len(self._made) >= _MOST_ANSWERS:
            self._ref, self._made = ref, {}
        kept = id if type(id) is int and 0 <= id <= _MOST_KEPT_ID else UNSET
        key = format, topic.number, resumed, delay_ms, kept
        made = self._made.get(key)
        if made is None:
            made = subscribed(format, kept, topic, ref, resumed=resumed, delay_ms=delay_ms)
            self._made[key] = made
        return made if kept is id else _with_id(format, made, id)


_MOST_ANSWERS = 64
_MOST_KEPT_ID = 100
"""Clients that count their commands give the same numbers."""
_JSON_HEAD = b'{"type":"subscribed",'
_MSGPACK_HEAD = _to_msgpack("type") + _to_msgpack("subscribed")


def _with_id(format: int, made: bytes, id: CommandId) -> bytes:
    """A ``subscribed`` with its ``id`` in its place, the second."""
    if format == JSON:
        return b'%b"id":%b,%b' % (_JSON_HEAD, _to_json(id), made[len(_JSON_HEAD) :])
    fields = made[0] + 1  # of a map with less than fifteen
    return b"%c%b\xa2id%b%b" % (fields, _MSGPACK_HEAD, _to_msgpack(id), made[1 + len(_MSGPACK_HEAD) :])


def reference(ref: Ref) -> Message:
    """What clients are told of the reference data, and what may change within an epoch."""
    return {"tick": ref.tick, "lot": ref.lot, "name": ref.name, "depth": ref.depth, **ref.extra}


def ref(sub: int, ref: Ref) -> Message:
    return {"type": "ref", "sub": sub, "ref": reference(ref)}


def state(
    sub: int,
    state: State,
    since_us: int,
    code: StateCode | None,
    age_ms: int | None,
    reason: str | None,
    *,
    slowed: bool = False,
) -> Message:
    """``slowed``: updates come less often than asked for."""
    message: Message = {
        "type": "state",
        "sub": sub,
        "state": state,
        "since": since_us,
        "code": code,
        "age_ms": age_ms,
        "reason": reason,
    }
    return message | {"slowed": True} if slowed else message


def acknowledged(sub: int, seq: int) -> Message:
    """Up to this event a user has acknowledged: it is stored."""
    return {"type": "acknowledged", "sub": sub, "seq": seq}


def lost(sub: int, first: int, last: int) -> Message:
    return {"type": "lost", "sub": sub, "first": first, "last": last}


def recovered(id: CommandId, sub: int, first: int, last: int, *, more: bool) -> Message:
    """The end of the answer to ``recover`` of events: those from ``first`` to ``last`` came before it; ``more``: there are others."""
    return {**_head("recovered", id), "sub": sub, "from": first, "last": last, "more": more}


def published(id: CommandId, topic: str, seq: int, *, duplicate: bool) -> Message:
    return {**_head("published", id), "topic": topic, "seq": seq, "duplicate": duplicate}


def unsubscribed(id: CommandId, subs: list[int], reason: str) -> Message:
    return {**_head("unsubscribed", id), "subs": subs, "reason": reason}


def drain(reconnect_after_ms: int, deadline_ms: int) -> Message:
    return {"type": "drain", "reconnect_after_ms": reconnect_after_ms, "deadline_ms": deadline_ms}


def authenticated(id: CommandId, expires_us: int | None) -> Message:
    return {**_head("authenticated", id), "expires": expires_us}


def token_expiring(expires_us: int | None) -> Message:
    return {"type": "token_expiring", "expires": expires_us}


def error(id: CommandId, code: ErrorCode | str, text: str) -> Message:
    return {**_head("error", id), "code": str(code), "message": text}


def pong(id: CommandId, data: Any, time_us: int) -> Message:
    message = _head("pong", id)
    if data is not UNSET:
        message["data"] = data
    message["time"] = time_us
    return message


def _head(kind: str, id: CommandId) -> Message:
    return {"type": kind} if id is UNSET else {"type": kind, "id": id}
