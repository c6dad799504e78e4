"""API keys that ``mdstream token`` makes; its tokens are in the tests of the gateway."""

from __future__ import annotations

import pytest

from mdstream.auth.api_keys import read_api_keys
from mdstream.auth.client_key import ClientKey
from mdstream.auth.topic_grants import Verb
from mdstream.cli.main import main


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("algorithm", ["EdDSA", "HS256"])
def test_a_new_key_has_two_halves_that_only_its_owner_may_read(folder, capsys, algorithm):
    name = 'b"o\\t €😀'
    assert main(["token", "--new-api-key", name, "--algorithm", algorithm, "--subject", "é"]) == 0
    (key,) = read_api_keys(capsys.readouterr().out.encode()).values()
    path = folder / f"{name}.apikey"
    assert (key.id, key.subject, ClientKey.read(path).id) == (name, "é", name)
    assert path.stat().st_mode & 0o777 == 0o600
    assert key.check(ClientKey.read(path).sign(b"text"), b"text")


def test_topics_are_grants_of_their_own(capsys):
    words = ["--topics", "desk.*, news", "--publish", "user.*", "--write", "desk.a", "--instruments", "SIM:*"]
    assert main(["token", "--new-api-key", "bot", *words]) == 0
    (key,) = read_api_keys(capsys.readouterr().out.encode()).values()
    may = key.entitlements.may
    assert may(Verb.READ, "events", "desk.a", "bob") and may(Verb.READ, "map", "news", "bob")
    assert may(Verb.PUBLISH, "events", "user.carol", "bob")
    assert may(Verb.WRITE, "map", "desk.a", "bob") and not may(Verb.WRITE, "map", "desk.b", "bob")
    assert not may(Verb.PUBLISH, "events", "desk.a", "bob") and not may(
        Verb.READ, "events", "user.carol", "bob"
    )
    assert key.entitlements.check("book", "SIM:A", 0, 0) is None


@pytest.mark.parametrize(
    ("words", "code", "why"),
    [
        (["--new-api-key", "a/b"], 2, "must have no /"),
        (["--new-api-key", "a", "--algorithm", "RS256"], 2, "EdDSA or HS256, not RS256"),
        (["--new-api-key", "a", "--topics", "a..b"], 2, "must be a topic"),
        (["--new-api-key", "a", "--md", "{}"], 2, "the claim md cannot be used"),
        (["--new-api-key", "there"], 1, "there.apikey exists already"),
    ],
)
def test_what_cannot_be_made_says_why_and_leaves_no_file(folder, capsys, words, code, why):
    (folder / "there.apikey").write_text("x")
    assert main(["token", *words]) == code
    assert why in capsys.readouterr().err
    assert [path.name for path in folder.iterdir()] == ["there.apikey"]
