"""What ``mdstream candles`` says of wrong arguments; what it does is tested with a real nats-server."""

from __future__ import annotations

import pytest

from mdstream.candles import CandleOptions, CandleWriter
from mdstream.cli import main


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--keep", "100"], "a day of minutes needs 1500"),
        (["--keep", "x"], "must be a whole number"),
        (["--interval", "soon"], "--interval"),
        (["--nats", "http://x"], "nats://host:4222"),
        (["--nats", "nats://127.0.0.1:1", "--nats-user", "a"], "user and password must be given together"),
    ],
)
def test_what_is_wrong_is_said_with_exit_code_2(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    try:
        code = main(["candles", *arguments])
    except SystemExit as stopped:
        code = stopped.code  # type: ignore[assignment]
    assert code == 2
    assert said in capsys.readouterr().err


def test_a_pattern_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match="it must be"):
        CandleWriter(None, CandleOptions(("SIM",)))  # type: ignore[arg-type]
