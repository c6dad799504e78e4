import argparse
import asyncio
import os
import signal

import pytest

from mdstream.cli.client_options import (
    add_connection,
    add_view,
    credentials_of,
    duration_s,
    has_screen,
    instrument,
    run_until_signal,
)
from mdstream.errors import ConfigError


@pytest.mark.parametrize(
    ("text", "seconds"), [("10s", 10.0), ("500ms", 0.5), ("1.5m", 90.0), ("2h", 7200.0), ("3", 3.0)]
)
def test_durations(text, seconds):
    assert duration_s(text) == seconds


@pytest.mark.parametrize("text", ["", "0", "0s", "-1s", "10 s", "s", "1d", "nan", "1e3"])
def test_what_is_no_duration_is_named(text):
    with pytest.raises(argparse.ArgumentTypeError, match="is no time"):
        duration_s(text)


def test_instruments_are_checked():
    assert instrument("SIM:BTC-USD") == "SIM:BTC-USD"
    with pytest.raises(argparse.ArgumentTypeError, match="no colon"):
        instrument("BTC-USD")


def test_one_or_several_urls():
    parser = argparse.ArgumentParser()
    add_connection(parser, format="json")

    assert parser.parse_args([]).url == ("ws://127.0.0.1:8080/v1/stream",)
    assert parser.parse_args(["--url", "ws://a/v1/stream, wss://b/v1/stream"]).url == (
        "ws://a/v1/stream",
        "wss://b/v1/stream",
    )


@pytest.mark.parametrize("url", ["127.0.0.1:8080", "http://127.0.0.1:8080/v1/stream", "ws://a,b", ""])
def test_what_is_no_url_is_told_in_one_line(url, capsys):
    parser = argparse.ArgumentParser()
    add_connection(parser, format="json")

    with pytest.raises(ConfigError, match="--url: gateway URL was .*; it must be ws://") as caught:
        parser.parse_args(["--url", url])

    assert "\n" not in str(caught.value)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("terminal", "name", "drawn"),
    [
        (True, "xterm", True),
        (True, "", True),
        (True, "dumb", False),
        (True, "unknown", False),
        (False, "xterm", False),
    ],
)
def test_a_dumb_terminal_is_not_drawn_on(monkeypatch, terminal, name, drawn):
    monkeypatch.setattr("sys.stdout.isatty", lambda: terminal, raising=False)
    monkeypatch.setenv("TERM", name)

    assert has_screen() is drawn


@pytest.mark.parametrize(
    "words", [["--depth", "-1"], ["--group", "0"], ["--interval-ms", "x"], ["--depth", "²"]]
)
def test_views_are_checked(words, capsys):
    parser = argparse.ArgumentParser()
    add_view(parser, depth=20, interval_ms=100)

    with pytest.raises(SystemExit):
        parser.parse_args(words)

    assert "must be a whole number from" in capsys.readouterr().err


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_it_cleanly(number, code):
    cleaned = []

    async def main() -> int:
        try:
            os.kill(os.getpid(), number)
            await asyncio.get_running_loop().create_future()
        finally:
            cleaned.append(True)
        return 0

    assert run_until_signal(main()) == code
    assert cleaned == [True]


def test_the_exit_code_is_the_programs():
    async def main() -> int:
        return 7

    assert run_until_signal(main()) == 7


def read_credentials(*words):
    parser = argparse.ArgumentParser()
    add_connection(parser, format="json")
    return credentials_of(parser.parse_args(words))


def test_who_connects_is_said_by_an_option_or_else_by_the_environment(tmp_path, monkeypatch):
    key, token = tmp_path / "bot.apikey", tmp_path / "token"
    key.write_text(f"id = 'bot'\nsecret = '{'A' * 43}='\n")
    token.write_text("from.a.file\n")
    for name in ("MDSTREAM_TOKEN", "MDSTREAM_API_KEY_FILE"):
        monkeypatch.delenv(name, raising=False)
    assert read_credentials() == {}
    monkeypatch.setenv("MDSTREAM_API_KEY_FILE", str(key))
    assert read_credentials()["api_key"].id == "bot"
    monkeypatch.setenv("MDSTREAM_TOKEN", "from.the.environment")
    assert read_credentials() == {"token": "from.the.environment"}
    assert read_credentials("--api-key-file", str(key))["api_key"].id == "bot"
    assert read_credentials("--token", "x") == {"token": "x"}
    assert read_credentials("--token-file", str(token))["token"]() == "from.a.file"


def test_of_two_credentials_one_is_too_many(tmp_path):
    with pytest.raises(ConfigError, match="--token and --api-key-file: give one of them"):
        read_credentials("--token", "x", "--api-key-file", str(tmp_path / "k"))
    with pytest.raises(ConfigError, match="nothing cannot be read"):
        read_credentials("--api-key-file", str(tmp_path / "nothing"))
