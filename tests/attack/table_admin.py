"""Requests to the admin port: probes for files, for other hosts' names, for more than it should say."""

from __future__ import annotations

from attack.rows import RequestRow


def row(name: str, raw: bytes, *status: int, finish: bool = False) -> RequestRow:
    return RequestRow(name=name, raw=raw, status=status, admin=True, finish=finish)


def get(path: str, host: str = "127.0.0.1", *lines: str, method: str = "GET", version: str = "1.1") -> bytes:
    return "\r\n".join([f"{method} {path} HTTP/{version}", f"Host: {host}", *lines, "", ""]).encode()


ROWS = [
    row("a path that is not there", get("/admin"), 404),
    row("path traversal", get("/../../etc/passwd"), 404),
    row("encoded path traversal", get("/%2e%2e/%2e%2e/etc/passwd"), 404),
    row("a path of 10 kB", get("/" + "x" * 10_000), 404),
    row("metrics below another path", get("/x/metrics"), 404),
    row("POST", get("/metrics", method="POST"), 405),
    row("DELETE", get("/metrics", method="DELETE"), 405),
    row("a body", get("/metrics", "127.0.0.1", "Content-Length: 3") + b"abc", 200, 400),
    row("a head of 20 kB", get("/healthz", "127.0.0.1", "X: " + "y" * 20_000), 431),
    row("HTTP/2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
    row("HTTP/0.9", b"GET /metrics\r\n\r\n", 400),
    row("no HTTP", b"\0\xff\0\xff\r\n\r\n", 400),
    row("a TLS hello", b"\x16\x03\x01\x00\xc8\x01\r\n\r\n", 400),
    row("half a request", b"GET /metr", 0, finish=True),
    row("an escape sequence in the path", b"GET /\x1b[2J HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    row("pipelined requests", get("/healthz") * 50, 200),
    row("a WebSocket upgrade", get("/metrics", "127.0.0.1", "Upgrade: websocket", "Connection: Upgrade"), 200, 400),
    # a page of a stranger in the operator's browser, whose name was made to point here
    row("a foreign Host", get("/metrics", "evil.example"), 403, 421, 400),
    row("a foreign Host with our port", get("/metrics", "evil.example:8081"), 403, 421, 400),
    row("a Host that begins alike", get("/metrics", "127.0.0.1.evil.example"), 403, 421, 400),
]  # fmt: skip
