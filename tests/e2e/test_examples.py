"""README's code and commands, and the programs in examples/, run as they stand."""

from __future__ import annotations

import asyncio
import json
import re
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from mdstream.bus import MD_STATE, Bus, EmbeddedNats
from mdstream.bus import connect as connect_bus
from mdstream.client import Book, Client, SubscriptionRefused, SubscriptionState, connect
from support.program import DEADLINE_S, ROOT, Program
from support.scripted import until
from support.websocket import TEXT, RawClient, frame

EXAMPLES = ROOT / "examples"
README = (ROOT / "README.md").read_text()
SIMULATOR = ("mdstream.cli", "feed", "sim")
PYTHON = (sys.executable,)
FREE = ("--port", "0", "--admin-port", "0")

NPM = shutil.which("npm")


def node_command() -> tuple[str, ...]:
    """Node with WebSocket: 22 or later has it, 20 with a flag."""
    node = shutil.which("node")
    version = subprocess.run([node, "--version"], capture_output=True, text=True).stdout if node else "v0."
    major = int(version[1:].partition(".")[0])
    if node is None or major < 20:
        return ()
    return (node,) if major >= 22 else (node, "--no-warnings", "--experimental-websocket")


NODE = node_command()
needs_node = pytest.mark.skipif(not NODE, reason="needs Node 20 or later")

Run = Callable[..., Program]


@pytest.fixture
def program(tmp_path: Path) -> Iterator[Run]:
    """``program(*arguments, command=NODE)`` starts one; what still runs at the end is killed."""
    programs: list[Program] = []

    def start(*arguments: str, **options: Any) -> Program:
        programs.append(Program(*arguments, temporary=tmp_path, **options))
        return programs[-1]

    yield start
    for one in programs:
        with one:
            pass


@dataclass(frozen=True)
class Service:
    """Where a gateway with a simulated venue is."""

    nats: str
    url: str


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    temporary = tmp_path_factory.mktemp("service")
    nats = asyncio.run(EmbeddedNats.start())
    serve = ("mdstream.cli", "serve", "--nats", nats.url, *FREE)
    with (
        Program(*serve, temporary=temporary) as gateway,
        Program(*SIMULATOR, "--nats", nats.url, "--rate", "1000", temporary=temporary) as simulator,
    ):
        url = gateway.until_error(r"serving clients at (ws://[^\s,]+)")[1]
        simulator.until_error("publishing SIM:BTC-USD")
        yield Service(nats.url, url)
    asyncio.run(nats.stop())


@pytest.fixture(scope="module")
def with_candles(service: Service, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """The service, once it has candles of all its instruments."""
    writer = ("mdstream.cli", "candles", "--nats", service.nats)
    with Program(*writer, temporary=tmp_path_factory.mktemp("candles")):
        asyncio.run(_wait_for_candles(service.url))
        yield service


async def _wait_for_candles(url: str) -> None:
    async with asyncio.timeout(DEADLINE_S), connect(url) as client:
        for name in (await client.instruments("SIM:*")).rows:
            while not await _has_candles(client, name):
                await asyncio.sleep(0.05)


async def _has_candles(client: Client, name: str) -> bool:
    try:
        candles = await client.candles(name, span="1m", history=60)
    except SubscriptionRefused:
        return False
    found = len(candles) > 0
    await candles.close()
    return found


# ---- README


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize(
    ("language", "files"),
    [
        ("python", ["examples/book.py", "examples/market.py", "examples/publish.py"]),
        ("js", ["clients/typescript/examples/market.mjs"]),
        ("tsx", ["clients/typescript/examples/react/best.tsx"]),
    ],
)
def test_the_code_in_the_readme_is_that_of_the_examples(language: str, files: list[str]) -> None:
    assert blocks(language) == [(ROOT / file).read_text() for file in files]


@pytest.mark.parametrize("file", ["examples/market.mjs", "examples/react/best.tsx"])
def test_the_readme_of_the_client_for_typescript_has_the_same(file: str) -> None:
    package = ROOT / "clients" / "typescript"
    assert f"\n{(package / file).read_text()}```\n" in (package / "README.md").read_text()


def commands() -> list[list[str]]:
    """README's ``mdstream …`` lines, without what follows the command in them."""
    lines = re.findall(r"^ {4}mdstream (.+)$", README, re.MULTILINE)
    return [shlex.split(line, comments=True) for line in lines if "dev" not in line]


def own_key_commands() -> list[list[str]]:
    """Those of the section about a key of one's own, the ``export`` too."""
    section = README.partition("## With a key of your own")[2].partition("\n## ")[0]
    lines = re.findall(r"^ {4}(.+)$", section, re.MULTILINE)
    return [
        shlex.split(re.sub(r"^export MDSTREAM_TOKEN=\$\((.*)\)$", r"\1", line), comments=True)
        for line in lines
    ]


# What it says when it runs, and its exit code after SIGTERM.
UNTIL_STOPPED = {
    "serve": ("connected to NATS", 0),
    "candles": ("writing candles", 143),
    "alerts": ("watching alerts", 143),
}


@pytest.mark.parametrize("words", commands(), ids=" ".join)
def test_the_commands_in_the_readme_run(program: Run, service: Service, words: list[str]) -> None:
    for_a_while = {
        "serve": ("--nats", service.nats, *FREE),
        "feed": ("--nats", service.nats, "--instruments", "README", "--for", "100ms"),
        "watch": ("--url", service.url, "--for", "100ms"),
        "candles": ("--nats", service.nats),
        "alerts": ("--nats", service.nats),
    }
    command = ("mdstream.cli", *words)
    running = program(*command, *for_a_while[words[0]])
    if words[0] in UNTIL_STOPPED:
        says, code = UNTIL_STOPPED[words[0]]
        running.until_error(says)
        assert running.end(signal.SIGTERM) == code, running.errors
    else:
        assert running.end() == 0, running.errors


def test_a_reader_of_the_readme_gets_to_a_subscription_with_a_key_of_his_own(
    program: Run, service: Service, tmp_path: Path
) -> None:
    def here(words: list[str]) -> tuple[str, ...]:
        return (
            "mdstream.cli",
            *(str(tmp_path / word) if word.startswith("dev") else word for word in words[1:]),
        )

    new_key, serve, token, watch = map(here, own_key_commands())
    assert program(*new_key).end() == 0
    gateway = program(*serve, "--nats", service.nats, *FREE)
    url = gateway.until_error(r"serving clients at (ws://[^\s,]+)")[1]
    made = program(*token)
    assert made.end() == 0
    brought = {"MDSTREAM_TOKEN": made.lines[-1]}
    assert program(*watch, "--url", url, "--for", "1s", env=brought).end() == 0
    for arguments, env, why in (
        (watch, {}, "401"),
        (watch, {"MDSTREAM_TOKEN": made.lines[-1] + "x"}, "401"),
        (("mdstream.cli", "watch", "SIM:ETH-USD"), brought, "not_entitled|not among the instruments"),
    ):
        refused = program(*arguments, "--url", url, "--for", "1s", env=env)
        assert refused.end() == 1 and re.search(why, refused.errors), refused.errors


def without_a_client(program: str) -> list[str]:
    """README's lines that ask with ``curl`` or ``websocat``."""
    return re.findall(rf"^ {{4}}((?:.* \| )?{program} .+)$", README, re.MULTILINE)


def here(line: str, service: Service) -> str:
    return line.replace("127.0.0.1:8080", service.url.split("/")[2])


@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
def test_the_lines_with_curl_in_the_readme_answer(program: Run, with_candles: Service) -> None:
    answers = []
    for line in without_a_client("curl"):
        asked = program("-c", here(line, with_candles), command=("sh",))
        assert asked.end() == 0, asked.errors
        answers.append(json.loads(asked.said))
    instruments, candles = answers
    assert {"SIM:BTC-USD", "SIM:ETH-USD"} <= {row["instrument"] for row in instruments["rows"]}
    assert (candles["instrument"], candles["span"]) == ("SIM:BTC-USD", "1m")
    assert all(re.fullmatch(r"\d+\.\d\d", price) for row in candles["rows"] for price in row[2:6])
    assert candles["rows"]


def is_live_board(message: dict[str, Any]) -> bool:
    return message["type"] in ("board", "board_snapshot") and any(row[1] == 1 for row in message["rows"])


@pytest.mark.skipif(shutil.which("websocat") is None, reason="needs websocat")
def test_the_line_with_websocat_in_the_readme_shows_the_market(program: Run, service: Service) -> None:
    (line,) = without_a_client("websocat")
    shown = program("-c", here(line, service), command=("sh",))
    while not is_live_board(json.loads(shown.until(r"^\{.*")[0])):
        pass


def test_what_the_line_with_websocat_sends_shows_the_market(service: Service) -> None:
    """The same without that program."""
    (line,) = without_a_client("websocat")
    words = shlex.split(here(line, service))
    command, url = words[1], words[-1]
    assert url == service.url

    async def scenario() -> None:
        async with asyncio.timeout(DEADLINE_S):
            client = await RawClient.connect(int(url.split(":")[2].partition("/")[0]))
            client.send(frame(TEXT, command.encode()))
            while not is_live_board(json.loads(await client.message())):
                pass
            await client.end()

    asyncio.run(scenario())


def test_what_the_readme_links_to_exists() -> None:
    links = re.findall(r"\]\((?!http)([^)#]+)", README)
    assert len(links) > 10
    assert [link for link in links if not (ROOT / link).exists()] == []


# ---- clients


def test_a_client_in_python(program: Run, service: Service) -> None:
    client = program("examples/book.py", service.url, command=PYTHON)
    for _ in range(3):
        client.until(r"^\d+ live \(Decimal\('\d+\.\d\d'\), Decimal\('\S+'\)\) \(Decimal\('\d+")


def test_candles_in_python(program: Run, with_candles: Service) -> None:
    client = program("examples/market.py", with_candles.url, command=PYTHON)
    assert client.end() == 0, client.errors
    found = [re.fullmatch(r"(\S+) \d+ \d+\.\d+ (?:True|False)", line) for line in client.lines]
    assert all(found)
    assert {"SIM:BTC-USD", "SIM:ETH-USD"} <= {one[1] for one in found if one}


@needs_node
def test_a_client_in_javascript_keeps_two_instruments_apart(program: Run, service: Service) -> None:
    client = program("examples/book.mjs", service.url, command=NODE)
    seen: set[str] = set()
    while seen != {"SIM:BTC-USD", "SIM:ETH-USD"}:
        line = client.until(r"^(\S+) live \d+ (\d+)\.\d\d (\d+)\.\d\d$")
        bid, ask = int(line[2]), int(line[3])
        assert bid <= ask
        assert (bid > 10_000) == (line[1] == "SIM:BTC-USD"), line[0]
        seen.add(line[1])
    assert "recovering" not in client.said and client.errors == ""


@needs_node
def test_a_client_in_javascript_comes_back_when_the_gateway_does(program: Run, service: Service) -> None:
    serve = ("mdstream.cli", "serve", "--nats", service.nats, "--admin-port", "0", "--port")
    first = program(*serve, "0")
    url = first.until_error(r"serving clients at (ws://127.0.0.1:(\d+)/[^\s,]+)")
    client = program("examples/book.mjs", url[1], command=NODE)
    client.until("^SIM:BTC-USD live")
    first.end(signal.SIGKILL)
    client.until("^SIM:BTC-USD disconnected")
    client.until("^reconnecting 1006")
    program(*serve, url[2])
    client.until("^SIM:BTC-USD live")
    client.until("^SIM:ETH-USD live")


@needs_node
def test_the_client_in_javascript_does_all_that_the_contract_asks(program: Run) -> None:
    tests = program("--test", "--test-reporter=tap", "tests/e2e/mdstream.test.mjs", command=NODE)
    assert tests.end() == 0, tests.said
    assert "# fail 0" in tests.lines and "# pass 0" not in tests.lines


# ---- publishers


async def announced(client: Client, instrument: str) -> Book:
    """Its book, as soon as a publisher has announced it."""
    while True:
        try:
            return await client.book(instrument)
        except SubscriptionRefused as refused:
            assert refused.code in ("unknown_instrument", "unavailable"), refused
            await asyncio.sleep(0.05)


async def follow(url: str, instrument: str, publisher: Program) -> None:
    """The publisher publishes a book that moves and trades, and says that it leaves."""
    async with asyncio.timeout(DEADLINE_S), connect(url) as client:
        book = await announced(client, instrument)
        trades = await client.trades(instrument)
        stale = until(book.on_state, lambda state: state is SubscriptionState.STALE)
        await until(book.on_update, lambda update: update.kind == "delta" and len(update.bids) == 1)
        assert str(book.best_bid[0]) == "64123.10"
        assert [*map(str, book.best_ask)] == ["64123.20", "1.25000000"]
        trade = await anext(aiter(trades))
        assert (str(trade.price), trade.side) == ("64123.20", "buy")
        publisher.signal(signal.SIGINT)
        await stale


def test_a_publisher_in_python(program: Run, service: Service) -> None:
    publisher = program("examples/publish.py", service.nats, command=PYTHON)
    asyncio.run(follow(service.url, "DEMO:BTC-USD", publisher))


@pytest.fixture(scope="module")
def node_publisher(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The program, where its packages are."""
    if NPM is None:
        pytest.skip("needs npm")
    folder = tmp_path_factory.mktemp("node")
    packages = ("install", "--no-audit", "--no-fund", "--prefix", str(folder), "nats", "@msgpack/msgpack")
    with Program(*packages, temporary=folder, command=(NPM,)) as install:
        if install.end() != 0:
            pytest.skip(f"the packages could not be fetched: {install.errors}")
    return str(shutil.copy(EXAMPLES / "publish.mjs", folder))


@needs_node
def test_a_publisher_in_node(program: Run, service: Service, node_publisher: str) -> None:
    publisher = program(node_publisher, service.nats, command=NODE)
    asyncio.run(follow(service.url, "NODE:BTC-USD", publisher))
    assert publisher.end() == 0, publisher.errors


async def heard_book(url: str) -> Bus:
    """A connection that has heard an update of the publisher in Node."""
    bus, heard = await connect_bus(url), asyncio.Event()
    await bus.subscribe("md.NODE.BTC-USD.book", lambda *_: heard.set())
    await heard.wait()
    return bus


@needs_node
@pytest.mark.parametrize("jetstream", [True, False], ids=["no streams", "no JetStream"])
def test_a_publisher_in_node_needs_no_gateway(program: Run, node_publisher: str, jetstream: bool) -> None:
    """It creates the streams itself; without JetStream it says so, and live data goes out all the same."""

    async def scenario() -> None:
        async with asyncio.timeout(DEADLINE_S), await EmbeddedNats.start(jetstream=jetstream) as server:
            publisher = program(node_publisher, server.url, command=NODE)
            async with await heard_book(server.url) as bus:
                stored = await bus.last(MD_STATE, "md.NODE.BTC-USD.ref") if jetstream else None
            assert publisher.end(signal.SIGINT) == 0, publisher.errors
            assert (stored is not None) == jetstream
            assert ("JetStream does not store md.NODE.BTC-USD.*" in publisher.errors) != jetstream

    asyncio.run(scenario())
