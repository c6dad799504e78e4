from __future__ import annotations

import argparse

import pytest

from mdstream.cli import map as command
from mdstream.cli.main import main
from mdstream.client import MapEntry


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["desk.a", "put"], "put names no key"),
        (["desk.a", "delete"], "delete names no key"),
        (["desk.a", "get", "--expect", "k=1"], "--expect and --ttl are for put and delete"),
        (["desk.a", "watch", "--ttl", "5s"], "--expect and --ttl are for put and delete"),
    ],
)
def test_wrong_usage_says_why(capsys, words, why):
    assert main(["map", *words]) == 2
    assert why in capsys.readouterr().err


@pytest.mark.parametrize("text", ["k", "=1", ""])
def test_what_is_no_pair_is_refused(text):
    with pytest.raises(Exception, match="is no KEY=VALUE"):
        command._pair(text)


def test_a_value_is_json():
    assert command._pair("k=a=b") == ("k", "a=b")
    assert command._value("k", '{"a":[1]}') == {"a": [1]}
    with pytest.raises(Exception, match="the value of k is no JSON"):
        command._value("k", "text")
    with pytest.raises(Exception, match="is no number"):
        command._rev("-1")


class Shown:
    def __init__(self) -> None:
        self.entries = {"b": MapEntry(12, 118, "alice", 5), "a": MapEntry("x\u202e\x9b", 7, None, 5)}


def test_a_map_is_a_table_that_cannot_deceive(capsys):
    args = argparse.Namespace(keys=[], json=False, topic="desk.a")
    assert command._print(Shown(), args) == 0  # type: ignore[arg-type]
    assert capsys.readouterr().out == 'a  "x\\u202e\\u009b"  7\nb  12  118  alice\n'


def test_chosen_keys_are_values_and_a_missing_one_is_told(capsys):
    args = argparse.Namespace(keys=["b", "never"], json=False, topic="desk.a")
    assert command._print(Shown(), args) == 1  # type: ignore[arg-type]
    said = capsys.readouterr()
    assert said.out == "12\n" and "has no key never" in said.err
    args = argparse.Namespace(keys=["b"], json=True, topic="desk.a")
    assert command._print(Shown(), args) == 0  # type: ignore[arg-type]
    assert capsys.readouterr().out == '{"key":"b","value":12,"rev":118,"by":"alice","ts":5}\n'
