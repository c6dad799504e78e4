"""README's code and commands, and the programs in examples/, run as they stand."""

from __future__ import annotations

import asyncio
import re
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from mdstream.bus import MD_STATE, Bus, EmbeddedNats
from mdstream.bus import connect as connect_bus
from mdstream.client import Book, Client, SubscriptionRefused, SubscriptionState, connect
from support.program import DEADLINE_S, ROOT, Program
from support.scripted import until

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

    def start(*arguments: str, **options: tuple[str, ...]) -> Program:
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


# ---- README


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize(("language", "files"), [("python", ["book.py", "publish.py"]), ("js", ["book.mjs"])])
def test_the_code_in_the_readme_is_that_of_the_examples(language: str, files: list[str]) -> None:
    assert blocks(language) == [(EXAMPLES / file).read_text() for file in files]


def commands() -> list[list[str]]:
    """README's ``mdstream …`` lines, without what follows the command in them."""
    lines = re.findall(r"^ {4}mdstream (.+)$", README, re.MULTILINE)
    return [shlex.split(line, comments=True) for line in lines]


@pytest.mark.parametrize("words", commands(), ids=" ".join)
def test_the_commands_in_the_readme_run(program: Run, service: Service, words: list[str]) -> None:
    for_a_while = {
        "serve": ("--nats", service.nats, *FREE),
        "feed": ("--nats", service.nats, "--instruments", "README", "--for", "100ms"),
        "watch": ("--url", service.url, "--for", "100ms"),
    }
    command = ("mdstream.cli", *words)
    running = program(*command, *for_a_while[words[0]])
    if words[0] == "serve":
        running.until_error("connected to NATS")
        running.signal(signal.SIGTERM)
    assert running.end() == 0, running.errors


def test_what_the_readme_links_to_exists() -> None:
    links = re.findall(r"\]\((?!http)([^)#]+)", README)
    assert len(links) > 10
    assert [link for link in links if not (ROOT / link).exists()] == []


# ---- clients


def test_a_client_in_python(program: Run, service: Service) -> None:
    client = program("examples/book.py", service.url, command=PYTHON)
    for _ in range(3):
        client.until(r"^\d+ live \(Decimal\('\d+\.\d\d'\), Decimal\('\S+'\)\) \(Decimal\('\d+")


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
