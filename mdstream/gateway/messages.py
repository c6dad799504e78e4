"""The control messages that a gateway sends, as maps with their keys in the contract's order.

``id`` and ``data`` are echoed where the client gave them and left out where it did not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from msgspec import UNSET

from mdstream.gateway.wire import Message

if TYPE_CHECKING:
    from mdstream._core.topic import Topic
    from mdstream.codes import ErrorCode
    from mdstream.gateway.commands import CommandId
    from mdstream.gateway.config import GatewayConfig
    from mdstream.gateway.listing import Listing

PROTOCOL_VERSION = 1


def welcome(config: GatewayConfig, session: str, time_us: int) -> Message:
    limits = {
        "depths": list(config.depths),
        "intervals_ms": list(config.intervals_ms),
        "max_subscriptions": config.max_subscriptions,
        "max_instruments_per_command": config.max_instruments_per_command,
        "max_message_bytes": config.max_message_bytes,
        "max_errors": config.max_errors,
        "commands_per_second": config.commands_per_second,
        "commands_burst": config.commands_burst,
    }
    return {
        "type": "welcome",
        "version": PROTOCOL_VERSION,
        "node": config.node,
        "session": session,
        "time": time_us,
        "heartbeat_ms": config.heartbeat_ms,
        "limits": limits,
    }


def subscribed(id: CommandId, topic: Topic, listing: Listing, *, resumed: bool) -> Message:
    return {
        **_head("subscribed", id),
        "sub": topic.number,
        "channel": topic.channel,
        "instrument": listing.name,
        "depth": topic.depth,
        "group": topic.group,
        "interval_ms": topic.interval_ms,
        "price_exp": listing.ref.price_exp,
        "size_exp": listing.ref.size_exp,
        "resumed": resumed,
    }


def state(sub: int, state: str, since_us: int, reason: str | None) -> Message:
    return {"type": "state", "sub": sub, "state": state, "since": since_us, "reason": reason}


def unsubscribed(id: CommandId, subs: list[int], reason: str) -> Message:
    return {**_head("unsubscribed", id), "subs": subs, "reason": reason}


def drain(reconnect_after_ms: int, deadline_ms: int) -> Message:
    return {"type": "drain", "reconnect_after_ms": reconnect_after_ms, "deadline_ms": deadline_ms}


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
