"""Upgrade requests that are wrong, unusual, huge, or something else altogether."""

from __future__ import annotations

from attack.rows import RequestRow
from attack.wire import DEFLATE, request

KEY = "dGhlIHNhbXBsZSBub25jZQ=="
TLS_HELLO = bytes.fromhex("16030100c8010000c40303") + bytes(range(189))


def row(name: str, raw: bytes, *status: int, finish: bool = False) -> RequestRow:
    return RequestRow(name=name, raw=raw, status=status, finish=finish)


def with_line(line: bytes) -> bytes:
    """A good request with one more line."""
    return request().removesuffix(b"\r\n") + line + b"\r\n\r\n"


ROWS = [
    # the first line
    row("another path", request("/"), 404),
    row("path traversal", request("/v1/../../etc/passwd"), 404),
    row("encoded path", request("/v1%2fstream"), 404),
    row("double slash", request("//v1/stream"), 404),
    row("path with a NUL", request("/v1/stream\0"), 400),
    row("path beyond ASCII", request("/v1/stream\xff"), 400, 404),
    row("path of 15 kB", request("/" + "a" * 15_000), 404),
    row("query of 15 kB", request("/v1/stream?" + "a" * 15_000), 101),
    row("query of 15,000 parameters", request("/v1/stream?reject" + "&" * 15_000), 101),
    row("absolute form", request("http://evil.example/v1/stream"), 101),
    row("authority form", request("evil.example:80"), 400, 404),
    row("asterisk", request("*"), 400, 404),
    row("lower-case method", request(method="get"), 400, 405),
    row("POST", request(method="POST"), 400, 405),
    row("CONNECT", request(method="CONNECT"), 400, 405),
    row("TRACE", request(method="TRACE"), 400, 405),
    row("a method of 10 kB", request(method="A" * 10_000), 400, 405),
    row("HTTP/1.0", request(version="1.0"), 400),
    row("HTTP/0.9", b"GET /v1/stream\r\n\r\n", 400),
    row("HTTP/2 preface", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
    row("HTTP/9.9", request(version="9.9"), 400),
    row("two blanks in the first line", b"GET  /v1/stream  HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    row("tab in the first line", b"GET\t/v1/stream HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    # what is no HTTP at all
    row("a TLS hello", TLS_HELLO + b"\r\n\r\n", 400),
    row("an SSH banner", b"SSH-2.0-OpenSSH_9.2\r\n\r\n", 400),
    row("only line ends", b"\r\n" * 4, 400),
    row("NULs", b"\0" * 2_000 + b"\r\n\r\n", 400),
    row("random bytes", bytes(range(256)) * 8 + b"\r\n\r\n", 400),
    row("a PROXY v1 line from a stranger", b"PROXY TCP4 10.0.0.1 10.0.0.2 1 2\r\n" + request(), 400),
    row(
        "a PROXY v2 header from a stranger",
        b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\x0a\0\0\1\x0a\0\0\2\0\1\0\2" + request(),
        400,
        0,
    ),
    row("frames without an upgrade", b"\x81\x85\0\0\0\0hello" * 10 + b"\r\n\r\n", 400),
    row("nothing, then the end", b"", 0, finish=True),
    row("half a request, then the end", request()[:60], 0, finish=True),
    row("a head of 16 kB that never ends", b"GET /v1/stream HTTP/1.1\r\n" + b"A: b\r\n" * 3_000, 0, 400, 431),
    row("one header of 20 kB", request(X="y" * 20_000), 0, 400, 431),
    row("2,000 headers", with_line(b"\r\n".join(b"A%d: b" % i for i in range(1_000))), 101, 400, 431),
    # headers
    row("no Host", request(Host=None), 400),
    row("two Hosts", with_line(b"Host: evil.example"), 400),
    row("no Upgrade", request(Upgrade=None), 400),
    row("Upgrade to h2c", request(Upgrade="h2c"), 400),
    row("no Connection", request(Connection=None), 400),
    row("Connection: close", request(Connection="close"), 400),
    row("Connection of 7,000 items", with_line(b"Connection: " + b"a," * 7_000), 400),
    row("no key", request(Sec_WebSocket_Key=None), 400),
    row("two keys", with_line(b"Sec-WebSocket-Key: " + KEY.encode()), 400),
    row("a short key", request(Sec_WebSocket_Key="c2hvcnQ="), 400),
    row("a key of 10 kB", request(Sec_WebSocket_Key="A" * 10_000), 400),
    row("a key that is no base64", request(Sec_WebSocket_Key="!" * 22 + "=="), 400),
    row("version 12", request(Sec_WebSocket_Version="12"), 400),
    row("version 13, 13", request(Sec_WebSocket_Version="13, 13"), 400),
    row("two versions", with_line(b"Sec-WebSocket-Version: 8"), 400),
    row("no version", request(Sec_WebSocket_Version=None), 400),
    row("a folded header", with_line(b"X: a\r\n b"), 400),
    row("a blank before the colon", with_line(b"Host : x"), 400),
    row("a header without a colon", with_line(b"nonsense"), 400),
    row("an empty header name", with_line(b": x"), 400),
    row("a NUL in a header", with_line(b"X: a\0b"), 400),
    row("a bare LF", request().replace(b"\r\n", b"\n"), 0, 400, finish=True),
    row("a bare CR", with_line(b"X: a\rb"), 400),
    row("a body announced", with_line(b"Content-Length: 5"), 400),
    row("a chunked body", with_line(b"Transfer-Encoding: chunked"), 400),
    row(
        "a smuggled second request",
        with_line(b"Content-Length: 0\r\nTransfer-Encoding: chunked") + b"0\r\n\r\n" + request(),
        400,
    ),
    # subprotocols and extensions
    row("unknown subprotocols", request(Sec_WebSocket_Protocol="mdstream.v9.json, x"), 400),
    row("a subprotocol that is no token", request(Sec_WebSocket_Protocol="a b"), 400),
    row("a subprotocol with a line end", request(Sec_WebSocket_Protocol="mdstream.v1.json\r\nX: y"), 101),
    row("5,000 subprotocols", request(Sec_WebSocket_Protocol="," * 5_000 + "x"), 400),
    row("5,000 subprotocols with a token", request(Sec_WebSocket_Protocol="bearer.a" + "," * 5_000), 400),
    row("an extension list that is none", request(Sec_WebSocket_Extensions=";;=;"), 400),
    row("an extension with an open quote", request(Sec_WebSocket_Extensions=f'{DEFLATE}; a="'), 400),
    row("5,000 empty extensions", request(Sec_WebSocket_Extensions="," * 5_000), 400),
    row("7,000 extensions", request(Sec_WebSocket_Extensions="a," * 7_000), 400),
    row("an extension with 7,000 parameters", request(Sec_WebSocket_Extensions="a" + ";a" * 7_000), 400),
    row(
        "a window that is no number",
        request(Sec_WebSocket_Extensions=f"{DEFLATE}; server_max_window_bits=99999999999"),
        101,
    ),
    # origins: a browser page of a stranger
    RequestRow(
        name="a foreign origin",
        raw=request(Origin="https://evil.example"),
        status=(403,),
    ),
    RequestRow(name="the origin null", raw=request(Origin="null"), status=(403,)),
    RequestRow(
        name="an origin that ends alike",
        raw=request(Origin="https://evil-localhost"),
        status=(403,),
    ),
    RequestRow(
        name="an origin with another port",
        raw=request(Origin="http://localhost:1"),
        status=(403,),
    ),
    RequestRow(
        name="two origins",
        raw=request(Origin="http://localhost\r\nOrigin: https://evil.example"),
        status=(400, 403),
    ),
]  # fmt: skip
