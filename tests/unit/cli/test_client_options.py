import argparse
import asyncio
import os
import signal

import pytest

from mdstream.cli.client_options import add_view, duration_s, instrument, run_until_signal


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
