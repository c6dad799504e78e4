"""``mdstream bench`` as an operator runs it: small, but all of it; what it finds, how it ends, and that nothing is left of it."""

from __future__ import annotations

import asyncio
import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from mdstream.bench import results
from mdstream.bench.results import Pass, Result
from mdstream.bus import MD_STATE, EmbeddedNats, connect
from support.certificates import certificate, needs_openssl
from support.program import DEADLINE_S, Program, alive

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the bench reads /proc")

Bench = Callable[..., Program]
SMALL = ("--connections", "20", "--seconds", "0.6", "--format", "msgpack")
LONG_S = 90.0
"""On a busy machine a process takes its time to start, and each measurement starts five."""


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    """``bench(*arguments)``; its temporary files go into a directory of their own."""
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    programs: list[Program] = []

    def start(*arguments: str) -> Program:
        programs.append(Program("mdstream.cli", "bench", *arguments, temporary=temporary))
        return programs[-1]

    yield start
    for program in programs:
        with program:
            pass
    assert list(temporary.iterdir()) == [], "nothing is left behind"


def ended(program: Program, file: Path) -> Result:
    """What it found, when it has ended well."""
    assert program.end(deadline_s=LONG_S) == 0, f"{program.said}\n{program.errors}"
    result = results.read(file)
    assert result.passed
    return result


@pytest.mark.parametrize("repeat", [1, pytest.param(2, marks=pytest.mark.complete)])
def test_a_small_one_is_exact_and_tells_everything(bench: Bench, tmp_path: Path, repeat: int) -> None:
    file, page = tmp_path / "r.json", tmp_path / "r.html"
    words = ("--profile", "fan-out", *SMALL, "--floor-seconds", "0.4", "--repeat", str(repeat))
    program = bench(*words, "--json", str(file), "--report", str(page))
    (run,) = ended(program, file).runs
    assert len(run.passes) == repeat
    one = run.shown
    assert one.connections == one.subscriptions == 20
    assert one.updates >= one.messages > 0
    assert one.bytes > one.messages
    assert one.cpu_s is not None and 0 < one.cpu_s < one.window_s * 1.1
    assert one.cpu_clock == "nanoseconds"
    assert one.ratio is not None and one.floor is not None and one.floor.latency is not None
    assert one.latency is not None and one.latency.count == one.messages
    assert one.memory is not None and one.memory.connected_bytes >= one.memory.before_bytes > 1_000_000
    assert one.writes is not None and one.writes > 0
    assert one.written is not None and one.written.count > 0
    assert {check.name for check in one.checks} == {"connected", "exact", "complete", "kept", "books"}
    assert "fan-out msgpack: " in program.errors, "progress, on stderr"
    assert "exact" in program.said and "fan-out" in program.said
    assert "<svg" in page.read_text()


def of_profiles(bench: Bench, tmp_path: Path, format: str, *names: str) -> dict[str, Pass]:
    """The one pass of each, small."""
    chosen = [word for name in names for word in ("--profile", name)]
    small = ("--connections", "20", "--symbols", "4", "--rate", "100", "--burst", "20", "--seconds", "1.5")
    file = tmp_path / "r.json"
    program = bench(
        *chosen, *small, "--format", format, "--floor-seconds", "0", "--json", str(file), "--quiet"
    )
    found = {run.profile.name: run.shown for run in ended(program, file).runs}
    assert list(found) == list(names)
    assert program.errors == ""
    return found


# What the connections do in each format is held by tests/integration/bench; here each kind is played once.


@pytest.mark.complete
def test_symbols_storms_and_slow_readers_are_exact(bench: Bench, tmp_path: Path) -> None:
    found = of_profiles(bench, tmp_path, "msgpack", "symbols", "storm", "slow-readers")
    assert found["storm"].connecting is not None and found["storm"].connecting.count == 20
    assert len(found["slow-readers"].groups) == 2


@pytest.mark.complete
def test_bursts_idling_and_reconnects_are_exact(bench: Bench, tmp_path: Path) -> None:
    found = of_profiles(bench, tmp_path, "json", "burst", "idle", "reconnect")
    assert found["idle"].updates == 0 and found["idle"].memory is not None
    back = found["reconnect"]
    assert back.recovery is not None and back.recovery.count == 20
    assert back.counts["total_resumed"] == 80


@pytest.mark.complete
def test_ingest_and_mixed(bench: Bench, tmp_path: Path) -> None:
    file = tmp_path / "r.json"
    words = (
        "--profile",
        "ingest",
        "--profile",
        "mixed",
        "--symbols",
        "50",
        "--rate",
        "2000",
        "--seconds",
        "1",
        "--floor-seconds",
        "0",
    )
    program = bench(*words, "--format", "json", "--json", str(file))
    ingest, mixed = (run.shown for run in ended(program, file).runs)
    assert ingest.published_per_s > 0 and ingest.updates > ingest.messages
    assert len(mixed.groups) == 3 and all(mixed.groups)


@pytest.mark.complete
def test_a_sweep_over_several_processes(bench: Bench, tmp_path: Path) -> None:
    file, page = tmp_path / "r.json", tmp_path / "r.md"
    words = (
        "--profile",
        "fan-out",
        "--seconds",
        "0.5",
        "--format",
        "json",
        "--processes",
        "2",
        "--floor-seconds",
        "0",
    )
    program = bench(*words, "--sweep", "connections=4,9", "--json", str(file), "--report", str(page))
    runs = ended(program, file).runs
    assert [run.shown.connections for run in runs] == [4, 9]
    assert [run.shown.subscriptions for run in runs] == [4, 9]
    assert (tmp_path / "r-cpu-by-connections.svg").is_file()


def test_clients_bring_tokens_to_a_gateway_that_asks_for_them(bench: Bench, tmp_path: Path) -> None:
    file = tmp_path / "r.json"
    words = ("--profile", "storm", *SMALL, "--floor-seconds", "0", "--json", str(file))
    (run,) = ended(bench(*words, "--authenticate"), file).runs
    assert run.shown.connections == 20
    refused = bench(*words, "--token", "a.b.c", f"--server-args=--auth-secret {'s' * 32}")
    assert refused.end(deadline_s=LONG_S) == 2 and "401" in refused.errors


@pytest.mark.complete
def test_tls_tokens_of_their_own_workers_and_a_storm_at_once(bench: Bench, tmp_path: Path) -> None:
    file, page = tmp_path / "r.json", tmp_path / "r.md"
    words = ("--profile", "symbols", *SMALL, "--symbols", "4", "--rate", "100", "--floor-seconds", "0")
    whole = ("--tls", "--authenticate", "fresh", "--workers", "2", "--storm", "10")
    result = ended(bench(*words, *whole, "--json", str(file), "--report", str(page)), file)
    (one,) = (run.shown for run in result.runs)
    assert one.counts["storm_cut"] == 10 and one.storm is not None and one.storm.count == 10
    assert (result.options["authenticate"], result.options["workers"]) == ("fresh", 2)
    assert "## Reconnects" in page.read_text()


@pytest.mark.complete
def test_every_channel_is_exact(bench: Bench, tmp_path: Path) -> None:
    file = tmp_path / "r.json"
    small = (*SMALL, "--symbols", "20", "--rate", "400", "--floor-seconds", "0.2", "--json", str(file))
    trades, channels = (
        run.shown for run in ended(bench("--profile", "trades", "--profile", "channels", *small), file).runs
    )
    assert trades.floor is None, "it relays books only"
    assert trades.counts["trades"] == trades.updates > 0 == trades.counts["deltas"]
    assert all(channels.counts[name] > 0 for name in ("trades", "tickers", "deltas"))
    assert len(channels.groups) == 4 and all(channels.groups)


@needs_openssl
def test_a_running_gateway_whose_certificate_must_be_known(
    bench: Bench, tmp_path: Path, nats_server: EmbeddedNats
) -> None:
    cert, key = certificate(tmp_path, "gateway")
    serve = ("serve", "--nats", nats_server.url, "--port", "0", "--admin-port", "0")
    with Program(
        "mdstream.cli", *serve, "--tls-cert", str(cert), "--tls-key", str(key), temporary=tmp_path
    ) as serving:
        url = serving.until_error(r"serving clients at (wss:\S+),")[1].replace("/v1/stream", "")
        words = ("--profile", "fan-out", *SMALL, "--url", url, "--nats", nats_server.url)
        file = tmp_path / "r.json"
        (run,) = ended(bench(*words, "--ca", str(cert), "--json", str(file)), file).runs
        assert run.shown.updates > 0
        unknown = bench(*words, "--quiet")
        assert unknown.end(deadline_s=LONG_S) == 2
        assert (
            "self-signed certificate; does it speak TLS, and has --ca what its certificate is signed with?"
            in unknown.errors
        )


@pytest.mark.complete
def test_against_a_gateway_that_runs(bench: Bench, tmp_path: Path, nats_server: EmbeddedNats) -> None:
    free = ("--port", "0", "--admin-port", "0")
    serving = Program("mdstream.cli", "serve", "--nats", nats_server.url, *free, temporary=tmp_path)
    with serving:
        found = serving.until_error(r"serving clients at (\S+), probes and metrics at (\S+)")
        url, admin = found[1], found[2]
        base = ("--profile", "fan-out", *SMALL, "--url", url, "--nats", nats_server.url)
        for extra, clock in (
            (("--admin", admin), "10 ms"),
            (("--server-pid", str(serving.process.pid)), "nanoseconds"),
            ((), ""),
        ):
            file = tmp_path / "r.json"
            (run,) = ended(bench(*base, *extra, "--json", str(file)), file).runs
            assert run.shown.cpu_clock == clock
            assert (run.shown.cpu_s is None) == (clock == "")
            assert run.shown.floor is None
    assert asyncio.run(stored(nats_server.url)) == {}, "its venue is gone from a NATS that is not ours"


async def stored(url: str) -> dict[str, int]:
    """The subjects that ``MD_STATE`` holds, with how many messages."""
    async with await connect(url) as bus:
        info = await bus.client.jetstream().stream_info(MD_STATE, subjects_filter=">")
        return info.state.subjects or {}


# ---- what cannot be done


def test_nats_that_is_not_there(bench: Bench) -> None:
    program = bench(
        "--profile", "fan-out", *SMALL, "--nats", "nats://127.0.0.1:1", "--quiet", "--floor-seconds", "0"
    )
    assert program.end(deadline_s=LONG_S) == 2
    assert program.errors.startswith("mdstream: NATS at nats://127.0.0.1:1 could not be reached within 5 s")
    assert "Traceback" not in program.errors


def test_a_gateway_that_is_not_there(bench: Bench, nats_server: EmbeddedNats) -> None:
    words = ("--url", "ws://127.0.0.1:1", "--nats", nats_server.url, "--quiet")
    program = bench("--profile", "fan-out", *SMALL, *words)
    assert program.end(deadline_s=LONG_S) == 2
    assert program.errors.startswith("mdstream: ") and "127.0.0.1:1" in program.errors
    assert "Traceback" not in program.errors


def test_a_port_that_is_taken(bench: Bench) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        words = ("--port", str(port), "--floor-seconds", "0", "--quiet")
        program = bench("--profile", "fan-out", *SMALL, *words)
        assert program.end(deadline_s=LONG_S) == 2
    assert f"cannot listen on 127.0.0.1:{port} for clients: address already in use" in program.errors


def test_a_gateway_that_refuses_its_options(bench: Bench) -> None:
    program = bench(
        "--profile", "fan-out", *SMALL, "--floor-seconds", "0", "--quiet", "--server-args=--depths 5"
    )
    assert program.end(deadline_s=LONG_S) == 2
    assert program.errors.startswith("mdstream: "), "full books are not served"


# ---- signals


def measuring(program: Program) -> dict[int, str]:
    """Its processes, once a measurement is under way."""
    program.until_error("fan-out msgpack: measuring")
    while True:
        children = program.children()
        if any("bench.load" in command for command in children.values()):
            return children
        with suppress(subprocess.TimeoutExpired):
            program.process.wait(0.05)
            pytest.fail(f"it ended:\n{program.errors}")


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_it_and_all_that_it_started(
    bench: Bench, tmp_path: Path, number: signal.Signals, status: int
) -> None:
    file = tmp_path / "r.json"
    quick = tmp_path / "p.toml"
    quick.write_text("[storm]\nseconds = 0.1\nformats = ['msgpack']\n[fan-out]\nseconds = 60\n")
    words = ("--profile", "storm", "--profile", "fan-out", "--profiles", str(quick), "--connections", "20")
    program = bench(*words, "--floor-seconds", "0", "--json", str(file))
    children = measuring(program)
    assert any("nats-server" in command for command in children.values())
    assert program.end(number, deadline_s=LONG_S) == status
    assert not any(map(alive, children))
    assert "Traceback" not in program.errors
    assert [run.profile.name for run in results.read(file).runs] == ["storm"], "what was finished is kept"
    assert "storm" in program.said


def test_nothing_outlives_it_when_it_is_killed(tmp_path: Path) -> None:
    words = ("--profile", "fan-out", "--seconds", "60", "--connections", "20", "--floor-seconds", "0")
    with Program("mdstream.cli", "bench", *words, temporary=tmp_path) as program:
        children = {os.pidfd_open(pid): command for pid, command in measuring(program).items()}
        program.end(signal.SIGKILL)
        for child, command in children.items():
            gone, _, _ = select.select([child], [], [], DEADLINE_S)
            assert gone, command
            os.close(child)
