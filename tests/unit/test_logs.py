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


FORGED = "2026-01-01T00:00:00.000Z error gateway: forged"


def test_no_text_forges_a_line_of_the_log() -> None:
    line = logs.LineFormatter().format(record("%s", f"a\r\n{FORGED}\x1b[2J\u202e"))
    assert line.isprintable() and rf"a\r\n{FORGED}\x1b[2J\u202e" in line


def test_the_lines_of_a_trace_are_indented_and_printable() -> None:
    try:
        raise ValueError(f"no\n{FORGED}\x1b[2J")
    except ValueError:
        info = sys.exc_info()
    failed = logging.LogRecord("mdstream.x", logging.ERROR, "f.py", 1, "failed", (), info)
    first, *trace = logs.LineFormatter().format(failed).split("\n")
    assert first.endswith(" error x: failed")
    assert all(line.startswith("  | ") and line.isprintable() for line in trace)
    assert f"  | {FORGED}\\x1b[2J" in trace


def test_json_holds_no_character_that_a_terminal_obeys() -> None:
    line = logs.JsonFormatter().format(record("%s", "\x1b[2J\x9b\u202e\u2028"))
    assert line.isprintable()
    assert json.loads(line)["message"] == "\x1b[2J\x9b\u202e\u2028"


def test_named_values_follow_the_message_and_are_keys_in_json() -> None:
    named = record("login")
    named.fields = {"subject": "anna b", "sessions": 2, "most": {"10.0.0.1": 3}, "address": "10.0.0.1:1"}
    assert (
        logs.LineFormatter()
        .format(named)
        .endswith('login subject="anna b" sessions=2 most={"10.0.0.1":3} address=10.0.0.1:1')
    )
    entry = json.loads(logs.JsonFormatter().format(named))
    assert (entry["message"], entry["subject"], entry["sessions"]) == ("login", "anna b", 2)


def test_named_values_do_not_replace_those_of_the_log() -> None:
    named = record("login")
    named.fields = {"time": "never", "level": "none"}
    assert json.loads(logs.JsonFormatter().format(named))["level"] == "warning"
