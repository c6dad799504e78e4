"""What the commands of the feed handlers share: options, durations, exit codes; and waiting between tries."""

from __future__ import annotations

import argparse
import asyncio
import math
import subprocess
import sys
from pathlib import Path

import pytest

from mdstream.bus import BusOptions
from mdstream.errors import BusUnavailable, ConfigError, FeedError
from mdstream.feed import LeaseOptions
from mdstream.feeds import _cli
from mdstream.feeds._replay_clock import ReplayClock
from mdstream.feeds._venue import Backoff
from mdstream.gateway.config import GatewayConfig
from mdstream.gateway.settings import settings_of

HANDLERS = ("sim", "binance", "kraken", "record", "replay")


@pytest.mark.process
@pytest.mark.parametrize("name", HANDLERS)
def test_help_names_the_command_its_options_and_the_exit_codes(name: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "mdstream.cli", "feed", name, "--help"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert f"usage: mdstream feed {name} " in done.stdout
    assert "--nats" in done.stdout
    assert "exit codes:" in done.stdout
    assert done.stderr == ""


def parse(*arguments: str) -> BusOptions:
    return _cli.bus_options(arguments_of(*arguments), "x")


def arguments_of(*arguments: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    _cli.configure(parser, "")
    return parser.parse_args(arguments)


def test_several_servers_may_be_named_in_either_way() -> None:
    assert parse("--nats", "nats://a:1,nats://b:2", "--nats", "tls://c:3").urls == (
        "nats://a:1",
        "nats://b:2",
        "tls://c:3",
    )
    assert parse().urls == ("nats://127.0.0.1:4222",)


def test_secrets_come_from_files_not_from_the_command_line(tmp_path: Path) -> None:
    (tmp_path / "password").write_text("secret\n")
    options = parse("--nats-user", "me", "--nats-password-file", str(tmp_path / "password"))
    assert (options.user, options.password) == ("me", "secret")
    with pytest.raises(ConfigError, match="nowhere cannot be read"):
        parse("--nats-token-file", str(tmp_path / "nowhere"))


def test_options_have_the_names_and_variables_of_the_gateway(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    known = set(settings_of(GatewayConfig))
    assert {*_cli._NATS, *_cli._LOG} < known
    (tmp_path / "ca.pem").write_text("x")
    monkeypatch.setenv("MDSTREAM_NATS", "nats://a:1,nats://b:2")
    monkeypatch.setenv("MDSTREAM_NATS_USER", "me")
    monkeypatch.setenv("MDSTREAM_NATS_PASSWORD", "secret")
    monkeypatch.setenv("MDSTREAM_NATS_TLS_CA", str(tmp_path / "ca.pem"))
    options = parse("--nats-user", "you")
    assert options.urls == ("nats://a:1", "nats://b:2")
    assert (options.user, options.password, options.tls_ca) == ("you", "secret", tmp_path / "ca.pem")


def test_the_log_has_the_options_of_the_gateway_too(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MDSTREAM_LOG_FORMAT", "xml")
    assert _cli.run("x", arguments_of(), None) == _cli.EXIT_USAGE  # type: ignore[arg-type]
    assert capsys.readouterr().err == (
        "mdstream feed x: environment variable MDSTREAM_LOG_FORMAT is 'xml'; it must be one of text, json\n"
    )


@pytest.mark.parametrize(
    ("text", "seconds"), [("500ms", 0.5), ("10s", 10), ("1.5m", 90), ("1h", 3600), ("7", 7)]
)
def test_durations(text: str, seconds: float) -> None:
    assert _cli.duration_s(text) == seconds


@pytest.mark.parametrize("text", ["", "s", "-1s", "1d", "10 s", "nan"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="not a duration"):
        _cli.duration_s(text)


def test_speeds() -> None:
    assert (_cli.speed("2"), _cli.speed("0.5"), _cli.speed("max")) == (2, 0.5, math.inf)
    for text in ("0", "-1", "nan", "fast"):
        with pytest.raises(argparse.ArgumentTypeError, match="not a speed"):
            _cli.speed(text)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ConfigError("wrong option"), _cli.EXIT_USAGE),
        (BusUnavailable("no NATS there"), _cli.EXIT_NO_NATS),
        (FeedError("bad file"), _cli.EXIT_FAILED),
        (FileNotFoundError(2, "No such file", "x"), _cli.EXIT_FAILED),
    ],
)
def test_an_error_is_one_line_and_an_exit_code(
    error: Exception, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    async def main(_: argparse.Namespace, __: BusOptions) -> int:
        raise error

    assert _cli.run("x", arguments_of(), main) == code
    assert capsys.readouterr().err.splitlines() == [f"mdstream feed x: {error}"]


def test_backing_off_doubles_its_bound_up_to_a_cap_and_begins_anew() -> None:
    backoff = Backoff(base_s=0.5, cap_s=20, draw=lambda: 1.0)
    assert [backoff.next_s() for _ in range(8)] == [0.5, 1, 2, 4, 8, 16, 20, 20]
    backoff.reset()
    assert backoff.next_s() == 0.5
    assert Backoff(draw=lambda: 0.0).next_s() == 0.0


def test_the_pace_is_that_of_the_recording_divided_by_the_speed(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    waits: list[float] = []

    async def sleep(seconds: float) -> None:
        nonlocal now
        waits.append(round(seconds, 6))
        now += seconds

    monkeypatch.setattr("mdstream.feeds._replay_clock.time.monotonic", lambda: now)
    monkeypatch.setattr("mdstream.feeds._replay_clock.asyncio.sleep", sleep)

    async def scenario() -> None:
        clock = ReplayClock(4)
        for at_ns in (5_000_000_000, 7_000_000_000, None, 6_000_000_000, 9_000_000_000):
            await clock.until(at_ns)
        await ReplayClock(math.inf).until(10**18)

    asyncio.run(scenario())
    assert waits == [0.5, 0.5]


def lease(*arguments: str) -> LeaseOptions | None:
    parser = argparse.ArgumentParser()
    _cli.configure_lease(parser)
    return _cli.lease_options(parser.parse_args(arguments))


def test_without_the_flag_there_is_no_lease() -> None:
    assert lease() is None


def test_a_lease_is_named_by_a_flag_or_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    assert lease("--lease", "main") == LeaseOptions("main", 2.0, "go-on")
    monkeypatch.setenv("MDSTREAM_LEASE", "other")
    assert lease("--lease-ttl", "500ms", "--lease-unknown", "stop") == LeaseOptions("other", 0.5, "stop")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--lease-ttl", "1s"), "need the --lease that they are about"),
        (("--lease", "main", "--lease-ttl", "soon"), "--lease-ttl: 'soon' is not a duration"),
        (("--lease", "a b"), "group 'a b' must be"),
        (("--lease", "main", "--lease-unknown", "wait"), "'wait' is none of go-on, stop"),
    ],
)
def test_a_wrong_lease_is_a_wrong_use(arguments: tuple[str, ...], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        lease(*arguments)
