"""What the client's half signs, the gateway's half takes."""

from __future__ import annotations

import base64
import subprocess
import sys
from pathlib import Path

import pytest

from mdstream.auth.api_keys import ApiKeys, read_api_keys
from mdstream.auth.client_key import ClientKey
from mdstream.auth.credentials import Credentials
from mdstream.auth.signing import new_api_key
from mdstream.errors import ConfigError
from support.tokens import NOW_S

PRIVATE, PUBLIC = new_api_key()
SECRET = base64.b64encode(b"s" * 32).decode()


@pytest.mark.parametrize(
    ("own", "theirs"),
    [
        (f"private_key = '{PRIVATE}'", f"public_key = '{PUBLIC}'"),
        (f"secret = '{SECRET}'", f"secret = '{SECRET}'"),
    ],
    ids=["Ed25519", "HMAC"],  # a new key's text would give each test process other names
)
def test_each_request_is_signed_anew_and_taken(tmp_path: Path, own: str, theirs: str) -> None:
    path = tmp_path / "bot.apikey"
    path.write_text(f"id = 'bot'\n{own}\n")
    key = ClientKey.read(path)
    known = read_api_keys(f"[[keys]]\nid = 'bot'\nsubject = 'desk'\n{theirs}".encode())
    gateway = ApiKeys(known, wall_s=lambda: float(NOW_S), now_s=lambda: 0.0)
    for _ in range(3):
        headers = key.headers(host="h:1", target="/v1/stream?x=1", time_ms=NOW_S * 1000)
        request = Credentials(host=b"h:1", target=b"/v1/stream?x=1", header=headers.get)
        assert gateway.verify(request).subject == "desk"


def test_a_new_secret_is_the_same_on_both_sides() -> None:
    signs, verifies = new_api_key("HS256")
    assert signs == verifies and len(base64.b64decode(signs)) == 32
    assert signs not in repr(ClientKey.of("bot", secret=signs))


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("x", "not valid TOML"),
        ("id = 'a'", "either private_key or secret"),
        (f"id = 'a'\nprivate_key = '{PRIVATE}'\nsecret = '{SECRET}'", "either private_key or secret"),
        (f"private_key = '{PRIVATE}'", "id must be"),
        (f"id = 7\nprivate_key = '{PRIVATE}'", "id must be"),
        ("id = 'a'\nprivate_key = 'AAAA'", "32 bytes of an Ed25519 private key"),
        ("id = 'a'\nprivate_key = 7", "32 bytes of an Ed25519 private key"),
        ("id = 'a'\nsecret = 'AAAA'", "at least 32 bytes"),
        (f"id = 'a'\nsubject = 'b'\nsecret = '{SECRET}'", "subject is unknown"),
    ],
    ids=range(9),
)
def test_a_wrong_file_says_what_is_wrong_and_never_the_secret(tmp_path: Path, text: str, why: str) -> None:
    path = tmp_path / "k"
    path.write_text(text)
    with pytest.raises(ConfigError, match=why) as refused:
        ClientKey.read(path)
    assert str(path) in str(refused.value)
    assert PRIVATE not in str(refused.value) and SECRET not in str(refused.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nowhere cannot be read: No such file"):
        ClientKey.read(tmp_path / "nowhere")


def test_a_client_without_a_key_loads_no_cryptography() -> None:
    code = "import sys, mdstream.client; print([m for m in sys.modules if m.split('.')[0] in ('cryptography', 'jwt')])"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert said.stdout == "[]\n"
