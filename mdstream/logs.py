"""The log of a gateway or a feed handler: one line per event on stderr, as text or as JSON."""

from __future__ import annotations

import json
import logging
import sys
import time
from asyncio import AbstractEventLoop
from typing import Any

_log = logging.getLogger("mdstream.gateway")


class _UtcFormatter(logging.Formatter):
    """Times as RFC 3339 has them: ``2026-01-31T12:00:00.123Z``."""

    converter = staticmethod(time.gmtime)
    default_time_format = "%Y-%m-%dT%H:%M:%S"
    default_msec_format = "%s.%03dZ"


class LineFormatter(_UtcFormatter):
    """``2026-01-31T12:00:00.123Z info gateway.server: message``; a trace follows on lines of its own."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(level)s %(where)s: %(message)s")

    def format(self, record: logging.LogRecord) -> str:
        record.level = record.levelname.lower()
        record.where = record.name.removeprefix("mdstream.")
        return super().format(record)


class JsonFormatter(_UtcFormatter):
    """One JSON object per line; a trace is a string within it."""

    def format(self, record: logging.LogRecord) -> str:
        entry = {
            "time": self.formatTime(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            entry["trace"] = self.formatException(record.exc_info)
        return json.dumps(entry, ensure_ascii=False)


def configure(level: str, format: str) -> None:
    """Logs everything from ``level`` up to stderr; of the libraries that we use, only warnings and errors."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter() if format == "json" else LineFormatter())
    logging.basicConfig(handlers=[handler], level=logging.WARNING)
    logging.getLogger("mdstream").setLevel(level.upper())
    if level == "info":
        # It says how each client broke the protocol; that helps to debug the client.
        logging.getLogger("mdstream.session").setLevel(logging.WARNING)


def handle_loop_exception(loop: AbstractEventLoop, context: dict[str, Any]) -> None:
    """For ``loop.set_exception_handler``: a fault of a client or a network is not our failure and gets no trace."""
    error = context.get("exception")
    if isinstance(error, OSError | TimeoutError):
        # Connections that break.
        _log.debug("%s: %r", context.get("message"), error)
        return
    _log.error("%s", context.get("message"), exc_info=error)
