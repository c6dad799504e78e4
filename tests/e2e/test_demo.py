"""``mdstream demo`` as a user runs it: what it shows, how it ends, and that nothing is left of it."""

from __future__ import annotations

import os
import pty
import re
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mdstream.bus import EmbeddedNats
from mdstream.cli import demo_options
from support.program import DEADLINE_S, ROOT, Program, alive

FREE = ("--port", "0", "--admin-port", "0")
LINE = re.compile(
    r"^\d\d:\d\d:\d\d SIM:BTC-USD live \| bid (\S+) x \S+ ask (\S+) x \S+ \| seq (\d+) \| ([\d,]+) updates/s"
    r" \| latency \S+ ms \| clients 1 \|"
)

Demo = Callable[..., Program]
linux = pytest.mark.skipif(sys.platform != "linux", reason="looks at processes by /proc")


@pytest.fixture
def demo(tmp_path: Path) -> Iterator[Demo]:
    """``demo(*arguments)``, on free ports."""
    programs: list[Program] = []

    def start(*arguments: str) -> Program:
        programs.append(Program("mdstream.cli", "demo", *arguments, temporary=tmp_path))
        return programs[-1]

    yield start
    for program in programs:
        with program:
            pass


def refused(url: str) -> bool:
    host, _, port = url.split("/")[2].rpartition(":")
    try:
        socket.create_connection((host, int(port)), DEADLINE_S).close()
    except ConnectionRefusedError:
        return True
    return False


def test_it_ends_by_itself_and_leaves_nothing(demo: Demo, tmp_path: Path) -> None:
    program = demo("--for", "3s", *FREE)
    urls = [
        program.until(r"clients connect to +(ws://\S+)")[1],
        program.until(r"health, metrics +(http://\S+)/readyz")[1],
        program.until(r"NATS +(nats://\S+)")[1],
    ]
    assert program.end() == 0, program.errors
    lines = [found for line in program.lines if (found := LINE.match(line))]
    assert len(lines) >= 2, program.said
    seqs = [int(found[3]) for found in lines]
    assert seqs == sorted(seqs) and seqs[0] < seqs[-1]
    assert all(float(found[1]) < float(found[2]) for found in lines)
    assert f"mdstream.cli watch SIM:BTC-USD --url {urls[0]}" in program.said
    assert f"{urls[0]} refused with HTTP 401 Unauthorized: a valid credential is needed" in program.said
    assert "EUR-USD" in lines[0].string, "the others' tickers are shown next to it"
    assert all(map(refused, urls))
    assert list(tmp_path.iterdir()) == []
    assert program.errors == ""


@linux
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_cleanly(demo: Demo, number: signal.Signals, tmp_path: Path) -> None:
    program = demo(*FREE, "--instruments", "BTC-USD")
    program.until(LINE.pattern.rstrip(r" \|"))
    children = program.children()
    assert len(children) == 4, (
        "nats-server, the simulated market, the writer of candles and the watcher of alerts"
    )
    program.signal(number)
    program.signal(number)
    assert program.end() == 0
    assert program.errors == ""
    assert not any(map(alive, children))
    assert list(tmp_path.iterdir()) == []


@linux
def test_a_signal_while_it_starts_ends_it_cleanly(demo: Demo, tmp_path: Path) -> None:
    program = demo(*FREE)
    program.until("^starting")
    assert program.end(signal.SIGINT) == 0
    assert program.errors == ""
    assert list(tmp_path.iterdir()) == []


@linux
def test_nothing_outlives_it_when_it_is_killed(demo: Demo) -> None:
    program = demo(*FREE)
    program.until(LINE.pattern)
    children = {os.pidfd_open(pid): command for pid, command in program.children().items()}
    program.end(signal.SIGKILL)
    for child, command in children.items():
        gone, _, _ = select.select([child], [], [], DEADLINE_S)
        assert gone, command
        os.close(child)


@linux
@pytest.mark.parametrize(
    ("part", "message"),
    [("feed sim", "the simulated market ended with status -9"), ("nats-server", "nats-server ended")],
)
def test_a_part_that_fails_ends_it_and_is_named(demo: Demo, part: str, message: str, tmp_path: Path) -> None:
    program = demo(*FREE)
    program.until(LINE.pattern)
    (victim,) = [pid for pid, command in program.children().items() if part in command]
    os.kill(victim, signal.SIGKILL)
    assert program.end() == 1
    assert f"mdstream: {message}" in program.errors
    assert "Traceback" not in program.errors
    assert list(tmp_path.iterdir()) == []


def test_it_uses_a_nats_server_that_runs(demo: Demo, nats_server: EmbeddedNats) -> None:
    program = demo("--nats", nats_server.url, "--for", "1s", *FREE)
    assert program.end() == 0, program.errors
    assert f"@127.0.0.1:{nats_server.port}" in program.said
    assert nats_server.password not in program.said + program.errors


def test_a_port_that_was_asked_for_must_be_free(demo: Demo) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        program = demo("--port", str(port), "--admin-port", "0")
        assert program.end() == 1
    assert (
        program.errors == f"mdstream: cannot listen on 127.0.0.1:{port} for clients: address already in use"
    )


def test_a_default_port_that_is_taken_gives_way(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        monkeypatch.setattr(demo_options, "default_of", lambda name: port)
        assert demo_options.default_port("port", "127.0.0.1") == "0"
    assert demo_options.default_port("port", "127.0.0.1") == str(port)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ("--rate", "0"),
            "argument --rate: '0' must be a number of level changes per second from 1 to 1,000,000",
        ),
        (("--instruments", "A,A"), "argument --instruments: 'A,A' names an instrument twice"),
        (("--instruments", ","), "argument --instruments: no instrument was named"),
        (("--for", "soon"), "argument --for: 'soon' is no time; it reads 500ms, 10s, 5m or 1h"),
        (("--port", "70000"), "configuration: --port is 70000; it must be a whole number from 0 to 65535"),
        (("--nats", "http://x"), "configuration: --nats holds a URL of scheme 'http'"),
    ],
)
def test_wrong_arguments_are_named(demo: Demo, arguments: tuple[str, ...], message: str) -> None:
    program = demo(*arguments)
    assert program.end() == 2
    assert message in program.errors


# ---- on a terminal


class Terminal:
    """The demo on a terminal of its own, 120 × 40."""

    def __init__(self, temporary: Path) -> None:
        self._master, slave = pty.openpty()
        # login_tty makes it the controlling terminal, so that Ctrl-C is a signal to all that run on it.
        program = "import os, sys; os.login_tty(0); os.execv(sys.executable, [sys.executable, *sys.argv[1:]])"
        self.process = subprocess.Popen(
            [sys.executable, "-c", program, "-m", "mdstream.cli", "demo", *FREE],
            cwd=ROOT,
            env=os.environ
            | {"TMPDIR": str(temporary), "TERM": "xterm-256color", "COLUMNS": "120", "LINES": "40"},
            stdin=slave,
            stdout=slave,
            stderr=slave,
        )
        os.close(slave)
        self.text = ""

    def until(self, wanted: str) -> None:
        """Reads on until the text was shown, or, for ``""``, until the program lets go of the terminal."""
        deadline = time.monotonic() + DEADLINE_S
        while not wanted or wanted not in self.text:
            ready, _, _ = select.select([self._master], [], [], deadline - time.monotonic())
            assert ready, f"never shown: {wanted!r}; shown:\n{self.text}"
            try:
                self.text += os.read(self._master, 65536).decode(errors="replace")
            except OSError:
                assert not wanted, f"ended without {wanted!r}; shown:\n{self.text}"
                return

    def press(self, keys: str) -> None:
        os.write(self._master, keys.encode())

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self._master)


ALTERNATE, NORMAL = "\x1b[?1049h", "\x1b[?1049l"


@linux
def test_on_a_terminal_the_addresses_then_the_live_ladder(tmp_path: Path) -> None:
    terminal = Terminal(tmp_path)
    try:
        terminal.until("try in another terminal")
        terminal.until(ALTERNATE)
        terminal.until("q quits")
        terminal.text = ""
        terminal.press("\x03")
        terminal.until("")
        assert NORMAL in terminal.text and "stopping" in terminal.text.partition(NORMAL)[2]
        assert "Traceback" not in terminal.text
        assert terminal.process.wait(DEADLINE_S) == 0
    finally:
        terminal.close()
    assert list(tmp_path.iterdir()) == []
