from __future__ import annotations

import asyncio
import json
import logging
import sys

import pytest

from mdstream import logs


def record(message: str, *args: object, trace: bool = False) -> logging.LogRecord:
    info = None
    if trace:
        try:
            raise ValueError("x")
        except ValueError:
            info = sys.exc_info()
    return logging.LogRecord("mdstream.gateway.server", logging.WARNING, "f.py", 1, message, args, info)


def test_text_is_one_line_with_time_level_and_place() -> None:
    line = logs.LineFormatter().format(record("%d clients", 3))
    assert line[10] == "T" and line[23] == "Z"
    assert line[24:] == " warning gateway.server: 3 clients"


def test_json_is_one_object_per_line_also_with_a_trace() -> None:
    line = logs.JsonFormatter().format(record("ü %s", "a\nb", trace=True))
    assert "\n" not in line
    entry = json.loads(line)
    assert (entry["level"], entry["message"]) == ("warning", "ü a\nb")
    assert "ValueError: x" in entry["trace"]


def test_json_has_the_time_of_rfc_3339() -> None:
    then = record("x")
    then.created, then.msecs = 1_700_000_000.25, 250.0
    assert json.loads(logs.JsonFormatter().format(then))["time"] == "2023-11-14T22:13:20.250Z"


@pytest.mark.parametrize("error", [ConnectionResetError(), TimeoutError(), BrokenPipeError()])
def test_what_networks_do_leaves_no_trace(error, caplog) -> None:
    with caplog.at_level(logging.INFO):
        logs.handle_loop_exception(asyncio.new_event_loop, {"message": "m", "exception": error})
    assert caplog.records == []


def test_what_we_do_wrong_is_logged_with_its_trace(caplog) -> None:
    logs.handle_loop_exception(asyncio.new_event_loop, {"message": "m", "exception": KeyError("k")})
    assert caplog.records[0].levelname == "ERROR"
    assert caplog.records[0].exc_info is not None
