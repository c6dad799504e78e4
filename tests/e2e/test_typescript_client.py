"""The TypeScript client in Node and in Chromium, against real gateways and a real nats-server, beside the Python client."""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import quote

import pytest

from mdstream.client import Book, connect
from support.chromium import CHROMIUM
from support.typescript import NEEDS, NODE, PACKAGE, build_package

NAME = "SIM:BTC-USD"
# As the Python client names the fields, and as the TypeScript client does.
VIEWS: list[tuple[dict[str, int], dict[str, int]]] = [
    ({}, {}),
    ({"depth": 20}, {"depth": 20}),
    ({"depth": 5, "group": 50}, {"depth": 5, "group": 50}),
    ({"depth": 10, "interval_ms": 50}, {"depth": 10, "intervalMs": 50}),
]
PAGES_MAY = {"origin_allow": ("http://127.0.0.1:*",)}
QUICK = {"policy": {"backoffBaseMs": 10, "backoffCapMs": 50}}

needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")


pytestmark = NEEDS


@pytest.fixture(scope="module", autouse=True)
def built() -> None:
    build_package()


class Follower:
    """A program that follows books and says a line of JSON for each change."""

    def __init__(self, process: Process) -> None:
        self.process = process
        self.shown: dict[tuple[int, int], tuple[list[int], list[int]]] = {}
        """What a view held at a number while it was trusted."""
        self.seqs: dict[int, int] = {}
        self.kinds: list[str] = []
        self.states: list[str] = []
        """Those of the connection."""
        self.told: list[str] = []
        """Those of the books."""
        self.wrong: list[object] = []
        self.stats: dict[str, Any] | None = None
        self.lines = 0
        self._moved = asyncio.Event()
        self._reading = asyncio.ensure_future(self._read())

    async def _read(self) -> None:
        assert self.process.stdout is not None
        while line := await self.process.stdout.readline():
            self.lines += 1
            self._take(line.decode().strip())
            self._moved.set()
        self._moved.set()

    def _take(self, line: str) -> None:
        if not line.startswith("{"):
            return  # what Chromium says of itself
        said = json.loads(line)
        if "kind" in said:
            self._take_change(said)
        elif "told" in said:
            self.told.append(said["told"])
        elif "stats" in said:
            self.stats = said
        elif "state" in said:
            self.states.append(said["state"])
        elif {"warning", "error", "ended"} & said.keys():
            self.wrong.append(said)

    def _take_change(self, said: dict[str, Any]) -> None:
        self.kinds.append(said["kind"])
        here = said["view"], said["seq"]
        held = said["bids"], said["asks"]
        if self.shown.setdefault(here, held) != held:
            self.wrong.append(("two tabs or lines differ", here))
        self.seqs[said["view"]] = said["seq"]

    def stop(self) -> None:
        self._reading.cancel()

    async def until(self, what: Any) -> None:
        while not what():
            assert not self._reading.done(), "the program ended before"
            self._moved.clear()
            await self._moved.wait()

    async def reach(self, seq: int) -> None:
        await self.until(lambda: len(self.seqs) == len(VIEWS) and all(at >= seq for at in self.seqs.values()))

    async def write(self, line: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(line.encode() + b"\n")
        await self.process.stdin.drain()


@asynccontextmanager
async def _program(*arguments: str) -> AsyncIterator[Process]:
    environment = {**os.environ, "CHROMIUM": CHROMIUM or ""}
    process = await asyncio.create_subprocess_exec(
        *NODE, *arguments, cwd=PACKAGE, env=environment, stdin=PIPE, stdout=PIPE, limit=1 << 24
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.terminate()  # not killed: it ends its Chromium
        await process.communicate()


@asynccontextmanager
async def _follower(where: str, **wanted: Any) -> AsyncIterator[Follower]:
    """``where`` is ``node``, or ``page`` with how many tabs: ``page 3``."""
    wanted["views"] = [[NAME, options] for _, options in VIEWS]
    text = json.dumps({**QUICK, **wanted})
    kind, _, tabs = where.partition(" ")
    arguments = (
        ("test/e2e/node.mjs", text)
        if kind == "node"
        else ("test/e2e/browser.mjs", f"test/e2e/page.html#{quote(text)}", tabs or "1")
    )
    async with _program(*arguments) as process:
        follower = Follower(process)
        try:
            yield follower
        finally:
            follower.stop()


class Truth:
    """What the Python client's books held at each number."""

    def __init__(self) -> None:
        self.shown: dict[tuple[int, int], tuple[list[int], list[int]]] = {}
        self._books: list[Book] = []

    async def follow(self, client: Any) -> None:
        for view, (options, _) in enumerate(VIEWS):
            book = await client.book(NAME, **options)
            self._note(view, book)
            book.on_update(lambda _, view=view, book=book: self._note(view, book))
            self._books.append(book)

    def _note(self, view: int, book: Book) -> None:
        self.shown[view, book.seq] = book.bids.flatten().tolist(), book.asks.flatten().tolist()

    def compare(self, other: Follower) -> int:
        """How many books of the same number there were; all of them are equal."""
        common = self.shown.keys() & other.shown.keys()
        differ = [where for where in common if tuple(other.shown[where]) != tuple(self.shown[where])]
        assert differ == [], "view and number"
        assert {view for view, _ in common} == set(range(len(VIEWS)))
        return len(common)


@pytest.mark.parametrize("format", ["json", "msgpack"])
@pytest.mark.parametrize(
    "where",
    ["node", pytest.param("page", marks=needs_chromium), pytest.param("page 3", marks=needs_chromium)],
)
def test_its_books_are_the_python_clients_over_the_death_of_a_gateway(
    where, format, run, nats_server, gateway, market
) -> None:
    """``page 3``: three tabs that share one connection."""

    async def scenario() -> None:
        url = nats_server.url
        truth = Truth()
        async with (
            market(url) as sim,
            gateway(url, **PAGES_MAY) as here,
            gateway(url, **PAGES_MAY) as there,
            connect(there.url) as python,
        ):
            await truth.follow(python)
            shared = {"shared": True} if where == "page 3" else {}
            async with _follower(where, urls=[here.url, there.url], format=format, **shared) as other:
                await other.reach(await sim.touch())
                for _ in range(20):
                    await sim.play(10)
                await other.reach(await sim.touch())
                before = other.kinds.count("snapshot")
                await here.stop(at_once=True)
                for _ in range(10):
                    await sim.play(10)
                await other.until(lambda: other.states.count("open") >= 2)
                await other.reach(await sim.touch())
                assert other.kinds.count("snapshot") == before, "it did not resume"
                await other.write('{"eval": "stats()"}')
                await other.until(lambda: other.stats is not None)
                assert other.stats is not None
                assert other.stats["stats"]["crcErrors"] == other.stats["lost"] == 0
                assert other.stats["stats"]["reconnects"] == 1
            assert truth.compare(other) > 20
            assert other.wrong == []

    run(scenario())


def test_two_lines_do_not_notice_the_death_of_one(run, nats_server, gateway, market) -> None:
    async def scenario() -> None:
        url = nats_server.url
        truth = Truth()
        async with (
            market(url) as sim,
            gateway(url) as here,
            gateway(url) as there,
            connect(there.url) as python,
        ):
            await truth.follow(python)
            urls = [here.url, there.url]
            async with _follower("node", urls=urls, lines=2, format="msgpack") as other:
                await other.reach(await sim.touch())
                await sim.play(100)
                await other.reach(await sim.touch())
                told = len(other.told)
                await here.stop(at_once=True)
                await sim.play(100)
                await other.reach(await sim.touch())
                assert other.told[told:] == [], "a book was not live all the time"
                assert other.kinds.count("snapshot") == len(VIEWS)
            assert truth.compare(other) > 20
            assert other.wrong == []

    run(scenario())


@pytest.mark.parametrize("format", ["json", "msgpack"])
def test_its_board_is_the_python_clients(format, run, nats_server, gateway, market) -> None:
    async def scenario() -> None:
        url = nats_server.url
        async with (
            market(url) as sim,
            gateway(url) as here,
            connect(here.url) as python,
            _program("test/e2e/board.mjs", here.url, format) as process,
        ):
            truth: dict[int, list[list[Any]]] = {}
            board = await python.board("*", interval_ms=100)

            def note(_: object = None) -> None:
                truth[board.seq] = sorted(_board_row(row) for row in board.rows.values())

            note()
            board.on_update(note)
            shown: dict[int, list[list[Any]]] = {}

            async def read() -> None:
                assert process.stdout is not None
                while line := await process.stdout.readline():
                    said = json.loads(line)
                    assert said["state"] == "live"
                    shown[said["seq"]] = said["rows"]

            reading = asyncio.ensure_future(read())
            while len(shown.keys() & truth.keys()) < 5 and not reading.done():
                await sim.play(4)
                await asyncio.sleep(0)
            reading.cancel()
            common = shown.keys() & truth.keys()
            assert len(common) >= 5
            assert {seq: shown[seq] for seq in common} == {seq: truth[seq] for seq in common}

    run(scenario())


def _board_row(row: Any) -> list[Any]:
    prices = [None if each is None else f"{each:f}" for each in (row.bid, row.ask, row.last)]
    return [row.instrument, row.state, *prices]


@needs_chromium
def test_a_page_that_was_offline_goes_on(run, nats_server, gateway, market) -> None:
    async def scenario() -> None:
        url = nats_server.url
        async with market(url) as sim, gateway(url, **PAGES_MAY) as here:
            async with _follower("page", urls=here.url, format="msgpack") as other:
                await other.reach(await sim.touch())
                await other.write('{"offline": true}')
                await other.write('{"eval": "client.probe()"}')
                await sim.play(20)
                await other.write('{"offline": false}')
                await other.reach(await sim.touch())
            assert other.wrong == []

    run(scenario())


def test_the_example_for_node_and_that_of_the_readme_run(run, nats_server, gateway, market, tmp_path) -> None:
    readme = (PACKAGE / "README.md").read_text()
    code = re.findall(r"```js\n(.*?)```", readme, re.DOTALL)[0]

    async def scenario() -> None:
        url = nats_server.url
        async with market(url) as sim, gateway(url) as here:
            printed = PACKAGE / "dist" / "readme.mjs"
            printed.write_text(code.replace("ws://127.0.0.1:8080/v1/stream", here.url))
            for arguments in (("examples/node.mjs", here.url, NAME), (str(printed),)):
                async with _program(*arguments) as process:
                    assert process.stdout is not None
                    assert (await process.stdout.readline()).strip() == b"live"
                    assert len((await process.stdout.readline()).split()) >= 3
                    await sim.touch()
                    seq = str(await sim.touch()).encode()
                    while not (await process.stdout.readline()).startswith(seq):
                        pass
            printed.unlink()

    run(scenario())


DEFAULT_URL = "ws://127.0.0.1:8080/v1/stream"
README = (PACKAGE.parents[1] / "README.md").read_text()


def _printed(language: str, url: str) -> str:
    """The only block of this language in the root's README, for a gateway at this URL."""
    (code,) = re.findall(rf"^```{language}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
    assert code.count(DEFAULT_URL) == 1
    return code.replace(DEFAULT_URL, url)


@pytest.fixture
def place() -> Iterator[Path]:
    """A folder of the test's own where the names of the package mean this package, and which pages can ask for."""
    with TemporaryDirectory(dir=PACKAGE / "dist") as folder:
        yield Path(folder)


def _written(path: Path, text: str) -> str:
    """Its path from the package."""
    path.write_text(text)
    return str(path.relative_to(PACKAGE))


def _as_page(code: str) -> str:
    """With a map for the names of the package, which a page without a build needs."""
    imports = {"@mdstream/client": "../index.js", "@mdstream/client/board": "../board.js"}
    page = f'<!doctype html><script type="importmap">{json.dumps({"imports": imports})}</script>'
    return f'{page}<script type="module">\n{code}</script>'


@pytest.mark.parametrize("where", ["node", pytest.param("page", marks=needs_chromium)])
def test_the_ten_lines_of_the_readme_run(where, place, run, nats_server, gateway, market) -> None:
    awaited = {
        "a state": r"^live ?$",
        "a book": r"^\d+ live \d+\.\d\d \d+\.\d\d$",
        "a row of the board": rf"^{NAME} live \d+\.\d\d$",
    }

    async def scenario() -> None:
        url = nats_server.url
        async with market(url) as sim, gateway(url, **PAGES_MAY) as here:
            await sim.play(40)
            code = _printed("js", here.url)
            arguments = (
                (_written(place / "ten-lines.mjs", code),)
                if where == "node"
                else ("test/e2e/browser.mjs", _written(place / "ten-lines.html", _as_page(code)))
            )
            async with _program(*arguments) as process:
                assert process.stdout is not None
                missing = dict(awaited)
                while missing:
                    said = (await process.stdout.readline()).decode().rstrip("\n")
                    assert said, f"it ended without {missing}"
                    missing = {name: line for name, line in missing.items() if not re.match(line, said)}
                    await sim.touch()

    run(scenario())


def _bundle(code: str) -> str:
    """Of TSX; what it prints is for a page."""
    options = ["--bundle", "--format=esm", "--jsx=automatic", "--loader=tsx", "--log-level=error"]
    esbuild = PACKAGE / "node_modules" / ".bin" / "esbuild"
    made = subprocess.run(
        [esbuild, *options], cwd=PACKAGE, input=code, capture_output=True, text=True, check=True
    )
    return made.stdout


@needs_chromium
def test_the_component_of_the_readme_runs(place, run, nats_server, gateway, market) -> None:
    async def scenario() -> None:
        url = nats_server.url
        async with market(url) as sim, gateway(url, **PAGES_MAY) as here:
            _written(place / "component.js", _bundle(_printed("tsx", here.url)))
            page = '<!doctype html><div id="root"></div><script type="module" src="component.js"></script>'
            best = [f"{side[0] / 100:.2f}" for side in sim.view(depth=1)]
            async with _program("test/e2e/browser.mjs", _written(place / "component.html", page)) as process:
                await _shows(process, " ".join((NAME, *best)))
                await here.stop(at_once=True)
                await _shows(process, f"{NAME} is disconnected")

    run(scenario())


async def _shows(process: Process, *texts: str) -> None:
    """Waits until the page shows all of them."""
    assert process.stdin is not None
    assert process.stdout is not None
    said = ""
    for _ in range(100):
        process.stdin.write(b'{"eval": "document.body.innerText"}\n')
        said = ""
        while '"value"' not in said:
            said = (await process.stdout.readline()).decode()
        if all(text in said for text in texts):
            return
        await asyncio.sleep(0.05)
    raise AssertionError(said)


@needs_chromium
@pytest.mark.parametrize("path", ["examples/page.html", "examples/react/index.html"])
def test_the_examples_for_pages_run(path, run, nats_server, gateway, market) -> None:
    build = (
        "node_modules/.bin/esbuild examples/react/main.tsx --bundle --format=esm --jsx=automatic "
        "--outfile=examples/react/main.js --log-level=error"
    )
    assert (
        "npx " + build.removeprefix("node_modules/.bin/").removesuffix(" --log-level=error")
        in (PACKAGE / "examples/react/index.html").read_text()
    )
    subprocess.run(build.split(), cwd=PACKAGE, check=True)

    async def scenario() -> None:
        url = nats_server.url
        async with market(url) as sim, gateway(url, **PAGES_MAY) as here:
            best = sim.view(depth=1)[0]
            price = f"{best[0] / 100:.2f}"
            async with _program(
                "test/e2e/browser.mjs", f"{path}#url={here.url}&instrument={NAME}"
            ) as process:
                await _shows(process, "live", price)

    run(scenario())
