from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from mdstream.errors import ConfigError
from mdstream.gateway.ui import ANSWERS_AT_ONCE, Ui
from mdstream.gateway.upgrades import Upgrades

PAGE = b"<!doctype html><title>page</title>"
SCRIPT = b"console.log('a')" * 100


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "assets").mkdir()
    (tmp_path / "index.html").write_bytes(PAGE)
    (tmp_path / "assets" / "main-1a2b.js").write_bytes(SCRIPT)
    (tmp_path / "assets" / "main-1a2b.js.gz").write_bytes(gzip.compress(SCRIPT, mtime=0))
    (tmp_path / "assets" / "main-1a2b.js.br").write_bytes(b"brotli")
    (tmp_path / "secret.key").write_bytes(b"not served")
    return tmp_path


def request(path: str, *fields: str, method: str = "GET") -> bytes:
    return "\r\n".join([f"{method} {path} HTTP/1.1", "Host: localhost:8080", *fields]).encode()


def asked(ui: Ui, path: str, *fields: str, method: str = "GET") -> tuple[int, dict[str, str], bytes]:
    found = ui.answer(request(path, *fields, method=method))
    assert found is not None
    head, _, body = found[1].partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    assert first.split()[1] == str(found[0])
    return found[0], dict(line.split(": ", 1) for line in lines), body


def test_the_page_is_asked_for_again_and_what_has_a_hash_is_kept(folder: Path) -> None:
    ui = Ui(folder)
    for path in ("/", "/index.html", "/?a=b"):
        status, fields, body = asked(ui, path)
        assert (status, body, fields["Cache-Control"]) == (200, PAGE, "no-cache")
        assert fields["Content-Type"] == "text/html; charset=utf-8"
        assert fields["X-Content-Type-Options"] == "nosniff"
    status, fields, body = asked(ui, "/assets/main-1a2b.js")
    assert (status, body) == (200, SCRIPT)
    assert fields["Cache-Control"] == "public, max-age=31536000, immutable"


def test_it_may_load_and_connect_to_this_gateway_alone(folder: Path) -> None:
    policy = asked(Ui(folder), "/")[1]["Content-Security-Policy"]
    assert "default-src 'self'; connect-src 'self' ws://localhost:8080 wss://localhost:8080;" in policy
    assert "unsafe" not in policy and "*" not in policy
    found = Ui(folder).answer(b"GET / HTTP/1.1\r\nHost: a;script-src evil")
    assert found is not None and b"evil" not in found[1]


@pytest.mark.parametrize(
    ("accepted", "encoding", "body"),
    [
        ("gzip, deflate, br, zstd", "br", b"brotli"),
        ("gzip;q=1.0", "gzip", gzip.compress(SCRIPT, mtime=0)),
        ("identity", None, SCRIPT),
    ],
)
def test_it_is_sent_in_the_best_encoding_that_is_accepted(
    folder: Path, accepted: str, encoding: str | None, body: bytes
) -> None:
    _, fields, got = asked(Ui(folder), "/assets/main-1a2b.js", f"Accept-Encoding: {accepted}")
    assert fields.get("Content-Encoding") == encoding
    assert fields["Vary"] == "Accept-Encoding"
    assert len(got) == int(fields["Content-Length"])
    assert got == body


def test_what_a_browser_has_already_is_not_sent(folder: Path) -> None:
    ui = Ui(folder)
    tag = asked(ui, "/")[1]["ETag"]
    assert asked(ui, "/", f"If-None-Match: W/{tag}, x")[::2] == (304, b"")
    assert asked(ui, "/", 'If-None-Match: "other"')[0] == 200
    status, fields, body = asked(ui, "/", method="HEAD")
    assert (status, body, int(fields["Content-Length"])) == (200, b"", len(PAGE))


def test_there_is_nothing_else(folder: Path) -> None:
    ui = Ui(folder)
    for path in ("/secret.key", "/../etc/passwd", "/assets/", "/assets/main-1a2b.js.br", "/v1/stream"):
        assert ui.answer(request(path)) is None
    assert ui.answer(request("/", method="POST")) is None
    upgrades = Upgrades(compression=False, page=ui.answer)
    assert upgrades.answer(request("/nothing"), None)[1].startswith(b"HTTP/1.1 404 ")
    assert upgrades.answer(request("/"), "draining")[1].startswith(b"HTTP/1.1 200 ")
    assert upgrades.answer(request("/v1/stream"), None)[1].startswith(b"HTTP/1.1 400 ")


def test_an_action_is_for_a_post_alone(folder: Path) -> None:
    ui = Ui(folder)
    heads: list[bytes] = []
    ui.actions[b"/demo/kill"] = lambda head: (heads.append(head), (202, "killed"))[1]
    assert ui.answer(request("/demo/kill")) is None
    assert asked(ui, "/demo/kill", method="POST")[::2] == (202, b"killed\n")
    assert len(heads) == 1


def test_many_at_once_are_asked_to_come_again(folder: Path) -> None:
    now = 0.0
    ui = Ui(folder, now_s=lambda: now)
    assert {asked(ui, "/")[0] for _ in range(ANSWERS_AT_ONCE)} == {200}
    status, fields, _ = asked(ui, "/")
    assert status == 503 and int(fields["Retry-After"]) > 0
    now = 1.0
    assert asked(ui, "/")[0] == 200


def test_without_a_page_it_says_how_to_get_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="make web"):
        Ui(tmp_path)
