from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mdstream.bench import profiles
from mdstream.bench.profiles import BUILT_IN, DEFAULT, changed, choose, load
from mdstream.errors import ConfigError


def test_what_is_built_in_is_valid_and_explained_in_a_line() -> None:
    for name, profile in BUILT_IN.items():
        assert changed(profile, {}) == profile
        assert profile.name == name
        assert 20 < len(profile.summary) < 120 and "\n" not in profile.summary
    assert set(DEFAULT) <= BUILT_IN.keys()
    assert {profile.kind for profile in BUILT_IN.values()} == {
        "stream",
        "idle",
        "storm",
        "slow",
        "reconnect",
        "ingest",
    }


def test_flags_change_values_and_nothing_else() -> None:
    (profile,) = choose(["fan-out"], BUILT_IN, {"connections": 20, "formats": ("json",)})
    assert (profile.connections, profile.formats) == (20, ("json",))
    assert changed(profile, {"connections": 500, "formats": profiles.FORMATS}) == BUILT_IN["fan-out"]


def test_fewer_symbols_than_a_connection_wanted() -> None:
    assert changed(BUILT_IN["symbols"], {"symbols": 4}).per_connection == 4
    assert changed(BUILT_IN["symbols"], {"symbols": 400}).per_connection == 10


def test_quick_is_short() -> None:
    quick = choose(BUILT_IN, BUILT_IN, {}, quick=True)
    assert all(profile.seconds <= 1 and profile.connections <= 1000 for profile in quick)
    assert all(len(profile.formats) == 1 for profile in quick)


@pytest.mark.parametrize(
    ("name", "values", "message"),
    [
        ("fan-out", {"connections": 0}, "profile fan-out: connections: must be at least 1"),
        ("fan-out", {"rate": -1.0}, "profile fan-out: rate: must be at least 0"),
        ("fan-out", {"rate": 0.0}, "profile fan-out: rate must be above 0"),
        ("fan-out", {"depth": 3}, "profile fan-out: depth is 3; a gateway serves 0, 1, 5, 10, 20, 50, 100"),
        (
            "fan-out",
            {"interval_ms": 7},
            "profile fan-out: interval_ms is 7; a gateway serves 0, 20, 50, 100, 250, 500, 1000",
        ),
        (
            "fan-out",
            {"per_connection": 2},
            "profile fan-out: a connection wants 2 symbols, but there are 1",
        ),
        (
            "fan-out",
            {"connections": 2, "processes": 3},
            "profile fan-out: processes is 3, but there are only 2 connections to spread",
        ),
        ("mixed", {"depth": 5}, "profile mixed is a mix of several kinds of connections, which have symbols"),
        ("mixed", {"symbols": 10}, "profile mixed: a connection wants 20 symbols, but there are 10"),
        ("fanout", {}, "there is no profile 'fanout'; did you mean fan-out?"),
        ("xyz", {}, "there is no profile 'xyz'; `mdstream bench --list` shows all"),
    ],
)
def test_what_cannot_be_is_named(name: str, values: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as error:
        choose([name], BUILT_IN, values)
    assert str(error.value).startswith(message)


def test_a_file_adds_profiles_and_changes_those_that_are_there(tmp_path: Path) -> None:
    file = tmp_path / "profiles.toml"
    file.write_text(
        """
        [ours]
        base = "fan-out"
        summary = "as ours"
        connections = 40
        [theirs]
        base = "ours"
        depth = 20
        [idle]
        connections = 7
        [new]
        symbols = 3
        [blend]
        symbols = 9
        mix = [{share = 0.5, symbols = 1}, {share = 0.5, symbols = 9, depth = 5}]
        """
    )
    known = load(file)
    assert known["theirs"].connections == 40
    assert known["theirs"].depth == 20
    assert (known["idle"].connections, known["idle"].kind) == (7, "idle")
    assert (known["new"].symbols, known["new"].summary) == (3, "new")
    assert [group.depth for group in known["blend"].groups] == [0, 5]
    assert known.keys() == BUILT_IN.keys() | {"ours", "theirs", "new", "blend"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[a]\nsymbol = 3", "profile a: unknown field `symbol`"),
        ("[a]\nrate = 'fast'", "profile a: rate: must be a number, not a string"),
        ("[a]\nbase = 'fanout'", "profile a: base is 'fanout', which is no profile; did you mean fan-out?"),
        ("a = 3", "profile a must be a table, [a]"),
        ("[a]\nmix = [{share = 0.5, symbols = 1}]", "profile a: the shares of the mix must add up to 1"),
        ("[a]\nformats = []", "profile a: formats is empty"),
        ("[a", " is not valid TOML: "),
    ],
)
def test_a_file_that_is_wrong_is_told_where(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "p.toml"
    file.write_text(text)
    with pytest.raises(ConfigError) as error:
        load(file)
    assert str(error.value).startswith(str(file))
    assert message in str(error.value)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.toml cannot be read: No such file"):
        load(tmp_path / "none.toml")
