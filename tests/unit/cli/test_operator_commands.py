"""What ``trace`` and ``sessions`` print, and how they fail."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar

import pytest

from mdstream.cli import main
from mdstream.cli.sessions import age
from mdstream.cli.trace import shown

pytestmark = pytest.mark.process

NAME = "0123456789abcdef"
ROW = {
    "session": NAME,
    "user": "al\u202eice",
    "address": "127.0.0.1",
    "connected_s": 61.0,
    "format": "json",
    "compression": True,
    "subscriptions": 2,
    "slow": True,
    "unread_bytes": 7,
}
SECOND = {**ROW, "session": "1123456789abcdef", "slow": False, "user": None}


class Gateway(BaseHTTPRequestHandler):
    """Answers as the admin address does."""

    answers: ClassVar[dict[str, tuple[int, str]]] = {}
    asked: ClassVar[list[str]] = []

    def do_GET(self) -> None:
        self.asked.append(self.path)
        status, body = self.answers.get(self.path.partition("?")[0], (404, "no"))
        if isinstance(body, list):
            body = body.pop(0)
        self.send_response(status)
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, *_: Any) -> None: ...


@pytest.fixture
def admin() -> Iterator[str]:
    Gateway.asked.clear()
    server = ThreadingHTTPServer(("127.0.0.1", 0), Gateway)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def trace_of(*lines: dict[str, Any]) -> str:
    return "".join(json.dumps({"at_us": 1_000_000, **line}) + "\n" for line in lines)


def test_sessions_are_a_table_over_all_pages(admin: str, capsys: pytest.CaptureFixture[str]) -> None:
    pages = [json.dumps({"sessions": [ROW], "next": NAME}), json.dumps({"sessions": [SECOND], "next": None})]
    Gateway.answers = {"/v1/sessions": (200, pages)}  # type: ignore[dict-item]
    assert main(["sessions", "--admin", admin, "--user", "al ice"]) == 0
    head, first, second = capsys.readouterr().out.splitlines()
    assert head.split() == ["session", "user", "address", "connected", "format", "subs", "state"]
    assert first.split() == [
        *(NAME, "al\\u202eice", "127.0.0.1", "1m", "json+deflate", "2"),
        *("slow,", "7", "bytes", "unread"),
    ]
    assert second.split()[1::5] == ["-", "2"] or second.split()[1] == "-"
    assert Gateway.asked == [
        "/v1/sessions?user=al+ice&limit=500&after=",
        f"/v1/sessions?user=al+ice&limit=500&after={NAME}",
    ]


def test_names_and_json_are_for_scripts(admin: str, capsys: pytest.CaptureFixture[str]) -> None:
    Gateway.answers = {"/v1/sessions": (200, json.dumps({"sessions": [ROW], "next": NAME}))}
    assert main(["sessions", "--admin", admin, "--names", "--most", "1"]) == 0
    assert capsys.readouterr().out == f"{NAME}\n"
    assert main(["sessions", "--admin", admin, "--json", "--most", "1"]) == 0
    assert json.loads(capsys.readouterr().out) == ROW


def test_a_trace_ends_with_its_session(admin: str, capsys: pytest.CaptureFixture[str]) -> None:
    lines = [
        {
            "event": "session",
            **ROW,
            "views": [{"sub": 1, "channel": "book", "instrument": "SIM:A", "depth": 20}],
        },
        {"event": "in", "op": "subscribe", "bytes": 70, "names": ["SIM:A", "SIM:B"]},
        {"event": "out", "type": "delta", "sub": 7, "first": 2, "last": 3, "bytes": 90, "compressed": True},
        {"event": "lost", "lines": 12},
        {"event": "closed", "code": 4408, "name": "too_slow"},
        {"event": "end", "reason": "the session has ended"},
    ]
    Gateway.answers = {"/v1/trace": (200, trace_of(*lines))}
    assert main(["trace", NAME, "--admin", admin]) == 0
    said = capsys.readouterr().out
    assert "al\\u202eice" in said and "\n    sub=1 book SIM:A depth=20\n" in said
    for part in (
        " < subscribe names=SIM:A,SIM:B (70 bytes)\n",
        " > delta sub=7 first=2 last=3 (90 bytes, compressed)\n",
        " * lost lines=12\n",
        " * closed code=4408 name=too_slow\n",
    ):
        assert part in said
    assert main(["trace", NAME, "--admin", admin, "--json", "--bodies"]) == 0
    assert [json.loads(line)["event"] for line in capsys.readouterr().out.splitlines()][-1] == "end"
    assert Gateway.asked[-1] == f"/v1/trace?session={NAME}&bodies=1"


def test_a_body_is_shown_below_its_line() -> None:
    line = {"at_us": 1, "event": "out", "type": "pong", "bytes": 9, "body": {"data": "\x1b[2J"}}
    assert shown(line).splitlines()[1] == '    {"data": "\\u001b[2J"}'


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ((404, "there is no session here\n"), "there is no session here (404)"),
        ((503, ""), "says: 503"),
        ((200, trace_of({"event": "out"})), "the trace broke off"),
        ((200, ""), "the trace broke off"),
        ((200, "nonsense\n"), "no line of a trace"),
        ((200, "[1]\n"), "no line of a trace"),
    ],
)
def test_how_a_trace_fails(
    answer: tuple[int, str], said: str, admin: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Gateway.answers = {"/v1/trace": answer}
    assert main(["trace", NAME, "--admin", admin]) == 1
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    "url", ["ftp://x", "http://", "127.0.0.1:8081", "http://a/b", "http://u@a", "http://a:99999"]
)
def test_an_address_that_is_none(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["trace", NAME, "--admin", url]) == 2
    assert "no address like" in capsys.readouterr().err


def test_nobody_is_there(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sessions", "--admin", "http://127.0.0.1:1"]) == 1
    assert "is it the admin address of a gateway that runs?" in capsys.readouterr().err


def test_ages() -> None:
    assert [age(each) for each in (0.9, 59, 60, 3_599, 3_600, 90_000)] == [
        "0s",
        "59s",
        "1m",
        "59m",
        "1h",
        "1d",
    ]
