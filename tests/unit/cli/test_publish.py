from __future__ import annotations

import io

import pytest

from mdstream.cli.events import line
from mdstream.cli.main import main
from mdstream.client import Event


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["desk.a", "--type", "x", "--data", "{"], "--data is no JSON"),
        (["desk.a", "--type", "x", "--data", 2_000 * "["], "--data is no JSON"),
        (["desk.a", "--type", "x", "--key", 65 * "k"], "--key must have 1 to 64"),
        (["desk.a", "--type", "x", "--sender", "ops"], "--sender is for --nats"),
        (["desk.a", "--type", "x", "--url", "http://a"], "--url"),
    ],
)
def test_what_cannot_be_published_says_why(capsys, words, why):
    assert main(["publish", *words]) == 2
    assert why in capsys.readouterr().err


@pytest.mark.parametrize(
    "words",
    [
        ["publish", "a b", "--type", "x"],
        ["publish", "desk.a"],
        ["events", "a..b"],
        ["events", "--count", "0"],
    ],
)
def test_wrong_usage(capsys, words):
    with pytest.raises(SystemExit) as ended:
        main(words)
    assert ended.value.code == 2
    assert "usage" in capsys.readouterr().err


def test_data_is_read_from_stdin(monkeypatch, capsys):
    monkeypatch.setattr("sys.stdin", io.StringIO("no JSON"))
    assert main(["publish", "desk.a", "--type", "x", "--data", "-"]) == 2
    assert "--data is no JSON" in capsys.readouterr().err


def test_an_event_is_one_line_that_cannot_deceive():
    event = Event("desk.a", 7, 5, "n\x1b", {"a": "b\nc\u202e"}, None, True, 3)
    assert line(event) == (
        '{"topic":"desk.a","seq":7,"time_us":5,"type":"n\\u001b","data":{"a":"b\\nc\\u202e"},"sender":null,"redelivered":true}'
    )
