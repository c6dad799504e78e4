"""The commands as a user runs them: what they print, how they end, and what they say when something is wrong."""

from __future__ import annotations

import json
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mdstream import __version__
from mdstream.bus import EmbeddedNats
from support.program import DEADLINE_S, ROOT, Program, alive

FREE = ("--port", "0", "--admin-port", "0")
BOOK = "SIM:BTC-USD"

Run = Callable[..., Program]


@pytest.fixture
def program(tmp_path: Path) -> Iterator[Run]:
    """``program(module, *arguments)`` starts one; what still runs at the end is killed."""
    programs: list[Program] = []

    def start(*arguments: str, **options: dict[str, str]) -> Program:
        programs.append(Program(*arguments, temporary=tmp_path, **options))
        return programs[-1]

    yield start
    for one in programs:
        with one:
            pass


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """Where a gateway serves a simulated market, and where its metrics are."""
    with Program("mdstream.cli", "demo", *FREE, temporary=tmp_path_factory.mktemp("demo")) as running:
        clients = running.until(r"clients connect to +(ws://\S+)")[1]
        metrics = running.until(r"(http://\S+/metrics)")[1]
        token = Path(running.until(r"MDSTREAM_TOKEN=\$\(cat (\S+)\)")[1]).read_text()
        yield f"{clients}?token={token}", metrics
        assert running.end(signal.SIGTERM) == 0


@pytest.fixture
def url(demo: tuple[str, str]) -> str:
    return demo[0]


@pytest.fixture
def closed_port() -> Iterator[int]:
    """A port on which nobody listens, and nobody will."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield taken.getsockname()[1]


def traceless(program: Program) -> bool:
    return "Traceback" not in program.errors


# ---- all


@pytest.mark.parametrize("arguments", [("--version",), ("--help",), ("serve", "--help"), ("dump", "--help")])
def test_help_and_version_succeed_and_say_it_on_standard_output(
    program: Run, arguments: tuple[str, ...]
) -> None:
    asked = program("mdstream.cli", *arguments)
    assert asked.end() == 0
    assert (f"mdstream {__version__}" if "--version" in arguments else "exit codes:") in asked.said
    assert asked.errors == ""


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), ""),
        (("serv",), "invalid choice: 'serv'"),
        (("serve", "--prot", "1"), "unrecognized arguments: --prot 1"),
        (("serve", "--port", "x"), "configuration: --port is 'x'; it must be a whole number from 0 to 65535"),
        (("serve", "--config", "/nowhere.toml"), "configuration: /nowhere.toml cannot be read: No such file"),
        (("serve", "--nats", "127.0.0.1:4222"), "configuration: --nats holds a URL"),
        (("watch",), "watch shows one INSTRUMENT, or with --board PATTERN many"),
        (("watch", "BTC-USD"), "instrument 'BTC-USD' has no colon"),
        (("dump", BOOK, "--count", "0"), "'0' must be a whole number from 1 on"),
        (("dump", BOOK, "--channel", "books"), "invalid choice: 'books'"),
    ],
)
def test_wrong_usage_is_named_and_ends_with_2(program: Run, arguments: tuple[str, ...], message: str) -> None:
    wrong = program("mdstream.cli", *arguments)
    assert wrong.end() == 2
    assert message in wrong.errors and traceless(wrong)


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ("file", "mdstream: configuration: {file}: prot is not a key; did you mean port?"),
        (
            "environment",
            "mdstream: configuration: environment variable MDSTREAM_PROT is not a key; did you mean",
        ),
    ],
)
def test_a_key_that_is_none_is_named_with_its_place(
    program: Run, place: str, message: str, tmp_path: Path
) -> None:
    file = tmp_path / "gateway.toml"
    file.write_text("prot = 1\n" if place == "file" else "")
    env = {"MDSTREAM_PROT": "1"} if place == "environment" else {}
    wrong = program("mdstream.cli", "serve", "--config", str(file), env=env)
    assert wrong.end() == 2
    assert message.format(file=file) in wrong.errors


# ---- serve


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_serve_with_its_own_nats_ends_cleanly(program: Run, number: signal.Signals, tmp_path: Path) -> None:
    gateway = program("mdstream.cli", "serve", "--nats", "embedded", *FREE)
    admin = gateway.until_error(r"probes and metrics at (http://\S+)")[1]
    gateway.until_error("connected to NATS")
    assert fetch(f"{admin}/readyz")[0] == 200
    children = gateway.children() if sys.platform == "linux" else {}
    assert gateway.end(number) == 0
    assert gateway.said == "" and traceless(gateway)
    assert not any(map(alive, children))
    assert list(tmp_path.iterdir()) == []


def test_serve_waits_for_nats_and_says_so(program: Run, closed_port: int) -> None:
    gateway = program("mdstream.cli", "serve", "--nats", f"nats://127.0.0.1:{closed_port}", *FREE)
    admin = gateway.until_error(r"probes and metrics at (http://\S+)")[1]
    gateway.until_error(f"NATS at nats://127.0.0.1:{closed_port} could not be reached")
    assert fetch(f"{admin}/healthz")[0] == 200
    status, body = fetch(f"{admin}/readyz")
    assert (status, body.strip()) == (503, "NATS is not connected")
    assert gateway.end(signal.SIGTERM) == 0
    assert traceless(gateway)


@pytest.mark.parametrize(("flag", "whom"), [("--port", "clients"), ("--admin-port", "the admin pages")])
def test_serve_on_a_port_that_is_taken(program: Run, nats_server: EmbeddedNats, flag: str, whom: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        gateway = program("mdstream.cli", "serve", "--nats", nats_server.url, *FREE, flag, str(port))
        assert gateway.end() == 1
    assert gateway.errors.splitlines()[-1] == (
        f"mdstream: cannot listen on 127.0.0.1:{port} for {whom}: address already in use"
    )
    assert traceless(gateway)


def fetch(url: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(url, timeout=DEADLINE_S) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as refused:
        with refused:
            return refused.code, refused.read().decode()


# ---- instruments


@pytest.mark.parametrize("format", ["json", "msgpack"])
def test_instruments_lists_what_there_is(program: Run, url: str, format: str) -> None:
    plain = program("mdstream.cli", "instruments", "--url", url, "--format", format)
    assert plain.end() == 0 and plain.errors == ""
    (btc,) = [line for line in plain.lines if line.startswith(f"{BOOK} ")]
    assert " 0.01 × 0.00000001" in btc
    names = program("mdstream.cli", "instruments", "SIM:*", "--names", "--url", url)
    assert names.end() == 0 and names.lines == sorted(names.lines) and BOOK in names.lines
    as_json = program("mdstream.cli", "instruments", BOOK, "--json", "--url", url)
    assert as_json.end() == 0
    (row,) = map(json.loads, as_json.lines)
    assert (row["instrument"], row["price_exp"], row["size_exp"]) == (BOOK, -2, -8)


def test_instruments_of_a_pattern_that_is_none(program: Run, url: str) -> None:
    wrong = program("mdstream.cli", "instruments", "btc", "--url", url)
    assert wrong.end() == 2 and "the pattern is 'btc'" in wrong.errors and traceless(wrong)


# ---- dump


@pytest.mark.parametrize("format", ["json", "msgpack"])
def test_dump_prints_the_contracts_messages_line_by_line(program: Run, url: str, format: str) -> None:
    dump = program(
        "mdstream.cli", "dump", BOOK, "--depth", "5", "--count", "20", "--url", url, "--format", format
    )
    assert dump.end() == 0
    messages = list(map(json.loads, dump.lines))
    kinds = [message["type"] for message in messages]
    assert kinds[0] == "subscribed" and kinds[1:].count("delta") + kinds[1:].count("snapshot") == 20
    data = [message for message in messages if message["type"] in ("snapshot", "delta")]
    assert data[0]["type"] == "snapshot" and len(data[0]["bids"]) == 5
    numbers = [data[0]["seq"]]
    for delta in data[1:]:
        assert delta["first"] == numbers[-1] + 1
        numbers.append(delta["last"])
    assert dump.errors == ""


@pytest.mark.parametrize("command", ["dump", "watch"])
def test_compression_is_a_flag(program: Run, demo: tuple[str, str], command: str) -> None:
    url, metrics = demo

    def compressed() -> float:
        return float(
            re.search(r"^mdstream_compressed_messages_total (\S+)", fetch(metrics)[1], re.MULTILINE)[1]
        )

    before = compressed()
    asking = program("mdstream.cli", command, BOOK, "--url", url, "--compression")
    asking.until(BOOK)
    assert asking.end(signal.SIGINT) == (130 if command == "dump" else 0)
    assert asking.errors == ""
    assert compressed() > before


def test_dump_into_a_pipe_that_closes(url: str) -> None:
    command = f"{sys.executable} -m mdstream.cli dump {BOOK} --url {url} | head -n 3; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(
        ["bash", "-c", command], cwd=ROOT, capture_output=True, text=True, timeout=DEADLINE_S, check=True
    )
    assert done.stdout.splitlines()[-1] == "141"
    assert done.stderr == ""


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_dump(program: Run, url: str, number: signal.Signals, code: int) -> None:
    dump = program("mdstream.cli", "dump", BOOK, "--channel", "ticker", "--url", url)
    dump.until('"type":"ticker"')
    assert dump.end(number) == code
    assert dump.errors == ""


# ---- watch


def test_watch_prints_a_line_a_second_where_there_is_no_terminal(program: Run, url: str) -> None:
    watch = program("mdstream.cli", "watch", BOOK, "--url", url)
    for _ in range(2):
        watch.until(rf"{BOOK} live \| bid \d+\.\d\d x \S+ ask ")
    assert watch.end(signal.SIGINT) == 0
    assert watch.errors == ""


def test_watch_ends_when_its_time_is_over(program: Run, url: str) -> None:
    watch = program("mdstream.cli", "watch", BOOK, "--for", "100ms", "--url", url)
    assert watch.end() == 0
    assert watch.errors == ""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_watch(program: Run, url: str, number: signal.Signals) -> None:
    watch = program("mdstream.cli", "watch", BOOK, "--url", url)
    watch.until(BOOK)
    assert watch.end(number) == 0
    assert watch.errors == ""


def test_watch_comes_back_when_the_gateway_does(
    program: Run, nats_server: EmbeddedNats, tmp_path: Path
) -> None:
    program(
        "mdstream.cli", "feed", "sim", "--nats", nats_server.url, "--rate", "500", "--instruments", "BTC-USD"
    )
    serve = ("mdstream.cli", "serve", "--nats", nats_server.url, "--admin-port", "0", "--port")
    first = program(*serve, "0")
    port = first.until_error(r"serving clients at ws://127.0.0.1:(\d+)/")[1]
    watch = watching(program, f"ws://127.0.0.1:{port}/v1/stream")
    watch.until(" live ")
    first.end(signal.SIGKILL)
    watch.until("reconnecting|disconnected|connecting")
    program(*serve, port)
    watch.until(r" live .* reconnects [1-9]")
    assert watch.end(signal.SIGINT) == 0
    assert watch.errors == ""


def watching(program: Run, url: str) -> Program:
    """``watch``, begun as soon as the market has been announced."""
    deadline = time.monotonic() + DEADLINE_S
    while time.monotonic() < deadline:
        probe = program("mdstream.cli", "dump", BOOK, "--count", "1", "--url", url)
        if probe.end() == 0:
            break
        assert re.search("unknown_instrument|unavailable", probe.errors), probe.errors
    return program("mdstream.cli", "watch", BOOK, "--url", url)


@pytest.mark.parametrize("command", ["watch", "dump"])
def test_where_there_is_no_gateway(program: Run, command: str, closed_port: int) -> None:
    alone = program("mdstream.cli", command, BOOK, "--url", f"ws://127.0.0.1:{closed_port}/v1/stream")
    assert alone.end() == 1
    assert len(alone.errors.splitlines()) == 1
    assert f"ws://127.0.0.1:{closed_port}/v1/stream" in alone.errors
    assert "is `mdstream serve` running there?" in alone.errors


@pytest.mark.parametrize("command", ["watch", "dump"])
def test_an_instrument_that_nobody_publishes(program: Run, url: str, command: str) -> None:
    refused = program("mdstream.cli", command, "SIM:NOPE", "--url", url)
    assert refused.end() == 1
    assert "no publisher has announced SIM:NOPE" in refused.errors
    assert len(refused.errors.splitlines()) == 1


# ---- feed handlers


def test_without_nats_each_handler_says_so_and_so_does_the_demo(program: Run, closed_port: int) -> None:
    commands = {"sim": (), "binance": ("--symbols", "BTCUSDT"), "kraken": ("--pairs", "BTC/USD")}
    nats = ("--nats", f"nats://127.0.0.1:{closed_port}")
    demo = program("mdstream.cli", "demo", *nats, *FREE)
    handlers = {
        name: program("mdstream.cli", "feed", name, *nats, *extra) for name, extra in commands.items()
    }
    for name, handler in handlers.items():
        assert handler.end() == 3
        assert f"mdstream feed {name}: NATS at {nats[1]} could not be reached" in handler.errors
        assert traceless(handler)
    assert demo.end() == 1
    assert f"NATS at {nats[1]} could not be reached" in demo.errors and traceless(demo)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_simulated_market(
    program: Run, nats_server: EmbeddedNats, number: signal.Signals
) -> None:
    sim = program("mdstream.cli", "feed", "sim", "--nats", nats_server.url)
    sim.until_error("publishing SIM:BTC-USD")
    assert sim.end(number) == 0
    assert traceless(sim)


def test_the_simulated_market_ends_by_itself(program: Run, nats_server: EmbeddedNats) -> None:
    sim = program("mdstream.cli", "feed", "sim", "--nats", nats_server.url, "--for", "300ms")
    assert sim.end() == 0
    assert "level changes/s" in sim.errors and traceless(sim)
