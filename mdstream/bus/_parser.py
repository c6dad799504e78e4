"""The compiled scanner in the place of nats-py's parser.

All that is not market data takes the same way as ever, through the client's own methods.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Awaitable
from typing import TYPE_CHECKING, Any

from nats import errors
from nats.aio.client import Client

from mdstream._core.ingest.nats_scanner import NatsScanner, ScanError

if TYPE_CHECKING:
    from mdstream.bus._client import TapClient

# What of nats-py is relied upon here, as it is in 2.16.
_CALLED = {
    "_process_msg": ["sid", "subject", "reply", "data", "headers"],
    "_process_info": ["info", "initial_connection"],
    "_process_err": ["err_msg"],
    "_process_ping": [],
    "_process_pong": [],
}


class Refused(errors.ProtocolError):
    """nats-py's own says nothing but its name."""

    def __str__(self) -> str:
        return f"nats: {self.args[0]}"


class CompiledParser:
    """What nats-py's ``Parser`` is to its client: ``parse`` and ``reset``."""

    def __init__(self, client: TapClient) -> None:
        self._client = client
        self._scanner = NatsScanner(client._taps)

    def reset(self) -> None:
        self._scanner.reset()

    async def parse(self, data: bytes = b"") -> None:
        """Takes what was read. Raises nats-py's ProtocolError, upon which its read loop reconnects."""
        scanner, stats = self._scanner, self._client.stats
        messages, size = scanner.messages, scanner.payload_bytes
        scanner.feed(data)
        try:
            operation = scanner.next()
            while operation is not None:
                await self._process(*operation)
                operation = scanner.next()
        except ScanError as error:
            refused = Refused(str(error))
            await self._client._error_cb(refused)
            raise refused from error
        finally:
            stats["in_msgs"] += scanner.messages - messages
            stats["in_bytes"] += scanner.payload_bytes - size

    def _process(self, name: str, *rest: Any) -> Awaitable[None]:
        client = self._client
        match name:
            case "MSG":
                return client._process_msg(*rest)
            case "PING":
                return client._process_ping()
            case "PONG":
                return client._process_pong()
            case "INFO":
                return client._process_info(_info(rest[0]))
            case "-ERR":
                return client._process_err(rest[0].decode(errors="replace").lower())
            case "FAULT":
                return client._error_cb(rest[0])
        return _nothing()


async def _nothing() -> None:
    """``+OK`` says nothing."""


def _info(line: bytes) -> dict[str, Any]:
    try:
        info = json.loads(line)
    except ValueError as error:
        raise ScanError(f"INFO is no JSON: {error}") from None
    if not isinstance(info, dict):
        raise ScanError("INFO is no JSON object")
    return info


def why_not(client: Client) -> str | None:
    """Why the compiled parser cannot take the place of nats-py's own, or None if it can."""
    parser = getattr(client, "_ps", None)
    if not inspect.iscoroutinefunction(getattr(parser, "parse", None)) or not callable(
        getattr(parser, "reset", None)
    ):
        return "its client has no parser where it was"
    loop = getattr(Client, "_read_loop", None)
    if not {"_ps", "parse"} <= set(getattr(getattr(loop, "__code__", None), "co_names", ())):
        return "its read loop does not use the client's parser"
    for name, parameters in _CALLED.items():
        method = getattr(Client, name, None)
        if not inspect.iscoroutinefunction(method):
            return f"{name} is no coroutine function"
        found = list(inspect.signature(method).parameters)[1:]
        if found != parameters:
            return f"{name} takes {', '.join(found) or 'nothing'}"
    if not {"in_msgs", "in_bytes"} <= set(getattr(client, "stats", ())):
        return "its counters are others"
    return None
