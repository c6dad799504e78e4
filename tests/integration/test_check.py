"""``mdstream check`` against a real nats-server: right writers in Python, Node and Go, and one broken writer for each rule."""

from __future__ import annotations

import asyncio
import json
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from mdstream import feed
from mdstream.bus import Bus, EmbeddedNats, connect
from support.program import ROOT, Program
from support.raw_writer import FAULTS, STEP_S, RawWriter

LISTEN_S = 17.0
"""Longer than a ``status`` may take, so that one that is late shows."""
WRITERS = ROOT / "tests" / "writers"
NODE, NPM, GO = shutil.which("node"), shutil.which("npm"), shutil.which("go")
OTHERS = {"node": "NODE:BRK.B", "go": "GO:BTC/USD"}
BUILD_S = 300.0

Report = dict[str, Any]


def named(number: int) -> str:
    return f"md.TEST.FAULT-{number}"


MISPLACED = {
    "md.test.LOWER": "TEST:LOWER",
    "md.TEST.OVER%2FENCODED": "TEST:OVER/ENCODED",
    "md.TEST.DOT.TED": "TEST:DOT.TED",
}


Command = tuple[str, ...]


@pytest.fixture(scope="module")
def others(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Command | str]:
    """The writers in other languages; a text says why one cannot run here. Their packages come from the registries."""
    folder = tmp_path_factory.mktemp("writers")
    return {"node": node_writer(folder / "node"), "go": go_writer(folder / "go")}


def node_writer(folder: Path) -> Command | str:
    if NODE is None or NPM is None:
        return "needs node and npm"
    shutil.copytree(WRITERS / "node", folder, ignore=shutil.ignore_patterns("node_modules"))
    install = (NPM, "install", "--no-audit", "--no-fund", "--prefix", str(folder))
    return not_fetched(install, folder) or (NODE, str(folder / "writer.mjs"))


def go_writer(folder: Path) -> Command | str:
    if GO is None:
        return "needs go"
    folder.mkdir()
    if why := not_fetched((GO, "mod", "download", "-C", str(WRITERS / "go")), folder):
        return why
    build = (GO, "build", "-C", str(WRITERS / "go"), "-o", str(folder / "writer"), ".")
    with Program(temporary=folder, command=build) as program:
        assert program.end(deadline_s=BUILD_S) == 0, program.errors
    return (str(folder / "writer"),)


def not_fetched(command: Command, folder: Path) -> str:
    """Has packages fetched; says why that failed, if it did."""
    with Program(temporary=folder, command=command) as program:
        try:
            code = program.end(deadline_s=BUILD_S)
        except subprocess.TimeoutExpired:
            return f"the packages could not be fetched: `{' '.join(command)}` took longer than {BUILD_S:g} s"
        return f"the packages could not be fetched: `{' '.join(command)}`: {program.errors}" if code else ""


@pytest.fixture(scope="module", autouse=True)
def listening(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Program, Future[None]] | None]:
    """``check --all`` and all writers together, which began after it. It mostly waits: the tests of the command run meanwhile."""
    items = [item for item in request.session.items if item.path == request.path]
    if not any("report" in item.fixturenames for item in items):  # type: ignore[attr-defined]
        yield None
        return
    others, temporary = request.getfixturevalue("others"), tmp_path_factory.mktemp("check")
    words = ("--all", "--json", "--for", str(LISTEN_S), "--log-level", "debug")
    nats = asyncio.run(EmbeddedNats.start())
    try:
        with ThreadPoolExecutor(1) as thread, ExitStack() as running:
            arguments = ("mdstream.cli", "check", *words, "--nats", nats.url)
            check = running.enter_context(Program(*arguments, temporary=temporary))
            check.until_error("listening")
            for name, writer in others.items():
                if not isinstance(writer, str):
                    running.enter_context(
                        Program(nats.url, OTHERS[name], temporary=temporary, command=writer)
                    )
            yield check, thread.submit(asyncio.run, publish_all(nats.url, check))
    finally:
        asyncio.run(nats.stop())


@pytest.fixture(scope="module")
def report(listening: tuple[Program, Future[None]]) -> Report:
    """What ``check --all`` says of all writers."""
    check, publishing = listening
    publishing.result()
    assert check.end() == 1, check.errors
    answer: Report = json.loads(check.said)
    return answer | {"by_name": {each["instrument"]: each for each in answer["instruments"]}}


async def publish_all(url: str, check: Program) -> None:
    """Publishes the right writer, the broken ones and those on wrong subjects until the check has ended."""
    writers = [RawWriter("md.TEST.RIGHT"), *map(RawWriter, MISPLACED)]
    writers += [RawWriter(named(number), fault) for number, fault in enumerate(FAULTS)]
    async with await connect(url) as bus:
        await bus.ensure_streams()
        begun_s, steps = time.monotonic(), 0
        while check.process.poll() is None:
            await step(bus, writers)
            steps += 1
            await asyncio.sleep(max(begun_s + steps * STEP_S - time.monotonic(), 0))


async def step(bus: Bus, writers: list[RawWriter]) -> None:
    for writer in writers:
        for name, payload in writer.step(time.time_ns() // 1000):
            await bus.publish(name, payload)


# ---- the command


@pytest.fixture
def nats() -> Iterator[EmbeddedNats]:
    server = asyncio.run(EmbeddedNats.start())
    yield server
    asyncio.run(server.stop())


def check(temporary: Path, *arguments: str) -> tuple[int, Program]:
    with Program("mdstream.cli", "check", *arguments, temporary=temporary) as program:
        return program.end(), program


def test_a_writer_of_our_sdk_passes(nats: EmbeddedNats, tmp_path: Path) -> None:
    async def publish() -> tuple[int, Program]:
        async with feed.connect(nats.url, venue="SDK") as publisher:
            btc = await publisher.instrument("BTC-USD", price_exp=-2, size_exp=-8)
            checking = asyncio.create_task(
                asyncio.to_thread(check, tmp_path, "SDK:BTC-USD", "--for", "7s", "--nats", nats.url)
            )
            while not checking.done():
                btc.update(bids=[("64123.10", f"0.{btc.seq % 9 + 1}")], asks=[("64123.20", "1")])
                btc.trade("64123.20", "0.1", "buy")
                await asyncio.sleep(0.02)
            return checking.result()

    code, program = asyncio.run(publish())
    assert code == 0, program.said + program.errors
    assert program.lines[0] == "SDK:BTC-USD  right"


def test_an_instrument_that_nobody_publishes_is_hinted_at(nats: EmbeddedNats, tmp_path: Path) -> None:
    async def publish() -> None:
        async with await connect(nats.url) as bus:
            await bus.ensure_streams()
            await step(bus, [RawWriter("md.TEST.BTC-USD")])

    asyncio.run(publish())
    code, program = check(tmp_path, "TEST:btc/usd", "--for", "100ms", "--nats", nats.url)
    assert code == 1
    assert "nearly the same on the bus: TEST:BTC-USD" in program.said


def test_a_bus_without_streams_is_said(nats: EmbeddedNats, tmp_path: Path) -> None:
    code, program = check(tmp_path, "--all", "--for", "100ms", "--nats", nats.url)
    assert code == 1
    assert "the stream MD_STATE does not exist" in program.said and "nothing is published" in program.said


def test_it_ends_at_ctrl_c_with_a_verdict(nats: EmbeddedNats, tmp_path: Path) -> None:
    command = ("mdstream.cli", "check", "--all", "--for", "1h", "--nats", nats.url, "--log-level", "debug")
    with Program(*command, temporary=tmp_path) as program:
        program.until_error("listening")
        assert program.end(signal.SIGINT) == 1
        assert "wrong: 0 instruments" in program.said


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "name the instruments to check"),
        (("TEST:A", "--all"), "name the instruments to check"),
        (("TEST:A", "--nats", "nats://127.0.0.1:1"), "could not be reached"),
    ],
)
def test_wrong_usage_and_no_nats_are_exit_2(tmp_path: Path, arguments: tuple[str, ...], said: str) -> None:
    code, program = check(tmp_path, *arguments)
    assert (code, program.said) == (2, "")
    assert said in program.errors and len(program.errors.splitlines()) == 1


# ---- all writers together


def broken(report: Report, instrument: str) -> set[str]:
    return {finding["rule"] for finding in report["by_name"][instrument]["findings"]}


def test_of_a_right_writer_it_says_nothing(report: Report) -> None:
    right = report["by_name"]["TEST:RIGHT"]
    assert (right["verdict"], right["findings"]) == ("right", [])
    assert right["snaps_compared"] >= 3 and right["book_seq"] > 100


@pytest.mark.parametrize("fault", FAULTS)
def test_it_names_each_fault_and_no_other(report: Report, fault: str) -> None:
    instrument = f"TEST:FAULT-{list(FAULTS).index(fault)}"
    assert broken(report, instrument) == {FAULTS[fault][0]}, report["by_name"][instrument]
    assert report["by_name"][instrument]["verdict"] == "wrong"


@pytest.mark.parametrize("prefix", MISPLACED)
def test_it_finds_the_instrument_of_a_wrong_subject(report: Report, prefix: str) -> None:
    instrument = report["by_name"][MISPLACED[prefix]]
    assert broken(report, MISPLACED[prefix]) == {"subject"}
    assert {finding["subject"].rpartition(".")[0] for finding in instrument["findings"]} == {prefix}


@pytest.mark.parametrize("language", OTHERS)
def test_a_right_writer_in_another_language_passes(
    report: Report, others: dict[str, Command | str], language: str
) -> None:
    writer = others[language]
    if isinstance(writer, str):
        pytest.skip(writer)
    other = report["by_name"][OTHERS[language]]
    assert (other["verdict"], other["findings"]) == ("right", [])
    assert other["snaps_compared"] >= 2 and other["trade_seq"] > 10


def test_the_bus_itself_is_right(report: Report) -> None:
    assert report["bus"] == [] and report["verdict"] == "wrong"
