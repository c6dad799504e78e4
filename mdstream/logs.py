"""The log of a gateway or a feed handler: one line per event on stderr, as text or as JSON.

Whatever a message holds, it cannot forge a line: characters that are not printable are escaped (``mdstream.printable``).
"""

from __future__ import annotations

import json
import logging
import re
import sys
import time
from asyncio import AbstractEventLoop
from collections.abc import Mapping
from typing import Any

from mdstream.printable import printable, printable_json

_log = logging.getLogger("mdstream.gateway")

AUDIT = "mdstream.audit"
"""The logger of who came in, who was refused, and why; ``gateway/audit.py`` writes to it."""
FIELDS = "fields"
"""``extra={FIELDS: {…}}`` gives a record named values: ``name=value`` in text, keys of the object in JSON."""

_TRACE_INDENT = "  | "
_PLAIN = re.compile(r'[^ ="]+')
"""Values that need no quotes."""


class _UtcFormatter(logging.Formatter):
    """Times as RFC 3339 has them: ``2026-01-31T12:00:00.123Z``."""

    converter = staticmethod(time.gmtime)
    default_time_format = "%Y-%m-%dT%H:%M:%S"
    default_msec_format = "%s.%03dZ"


class LineFormatter(_UtcFormatter):
    """``2026-01-31T12:00:00.123Z info gateway.server: message``; a trace follows on lines of its own, each indented."""

    def format(self, record: logging.LogRecord) -> str:
        where = record.name.removeprefix("mdstream.")
        said = " ".join([record.getMessage(), *map(_named, _fields(record).items())])
        line = printable(f"{self.formatTime(record)} {record.levelname.lower()} {where}: {said}")
        return "\n".join([line, *(_TRACE_INDENT + printable(each) for each in self._trace(record))])

    def _trace(self, record: logging.LogRecord) -> list[str]:
        traces = [self.formatException(record.exc_info)] if record.exc_info else []
        if record.stack_info:
            traces.append(self.formatStack(record.stack_info))
        return [line for trace in traces for line in trace.split("\n")]


class JsonFormatter(_UtcFormatter):
    """One JSON object per line; a trace is a string within it."""

    def format(self, record: logging.LogRecord) -> str:
        entry = {
            **_fields(record),
            "time": self.formatTime(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            entry["trace"] = self.formatException(record.exc_info)
        return printable_json(json.dumps(entry, ensure_ascii=False, default=str))


def _fields(record: logging.LogRecord) -> Mapping[str, Any]:
    found: Mapping[str, Any] = getattr(record, FIELDS, {})
    return found


def _named(field: tuple[str, object]) -> str:
    """``name=value``; a value that could be read as two is quoted."""
    name, value = field
    if isinstance(value, str) and _PLAIN.fullmatch(value):
        return f"{name}={value}"
    return f"{name}={json.dumps(value, ensure_ascii=False, default=str, separators=(',', ':'))}"


def configure(level: str, format: str, *, audit: bool = False, worker: int | None = None) -> None:
    """Logs everything from ``level`` up to stderr; of the libraries that we use, only warnings and errors.

    ``audit``: also what is written to the logger ``AUDIT``, whatever the level. ``worker``: each line says that it is of this one.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter() if format == "json" else LineFormatter())
    if worker is not None:
        handler.addFilter(lambda record: _name_worker(record, worker))
    logging.basicConfig(handlers=[handler], level=logging.WARNING)
    logging.getLogger("mdstream").setLevel(level.upper())
    logging.getLogger(AUDIT).setLevel(logging.INFO if audit else logging.CRITICAL)
    if level == "info":
        # It says how each client broke the protocol; that helps to debug the client.
        logging.getLogger("mdstream.session").setLevel(logging.WARNING)


def _name_worker(record: logging.LogRecord, worker: int) -> bool:
    setattr(record, FIELDS, {**_fields(record), "worker": worker})
    return True


def handle_loop_exception(loop: AbstractEventLoop, context: dict[str, Any]) -> None:
    """For ``loop.set_exception_handler``: a fault of a client or a network is not our failure and gets no trace."""
    error = context.get("exception")
    if isinstance(error, OSError | TimeoutError):
        # Connections that break.
        _log.debug("%s: %r", context.get("message"), error)
        return
    _log.error("%s", context.get("message"), exc_info=error)
