"""Requests to the admin port: probes for files, for other hosts' names, for more than it should say."""

from __future__ import annotations

from attack.rows import RequestRow


def row(name: str, raw: bytes, *status: int, finish: bool = False) -> RequestRow:
    return RequestRow(name=name, raw=raw, status=status, admin=True, finish=finish)


def get(path: str, host: str = "localhost", *lines: str, method: str = "GET", version: str = "1.1") -> bytes:
    return "\r\n".join([f"{method} {path} HTTP/{version}", f"Host: {host}", *lines, "", ""]).encode()


FOREIGN = (
    ("a name", "evil.example"), ("a name with our port", "evil.example:8081"),
    ("one that begins alike", "127.0.0.1.evil.example"),
    ("one that begins with localhost", "localhost.evil.example"), ("one that ends alike", "evil-localhost"),
    ("a user before it", "localhost@evil.example"),
    ("our name as the user", "evil.example@localhost"), ("two ports", "localhost:8081:80"),
    ("a port that is a name", "localhost:evil.example"),
    ("no port behind the colon", "localhost:"), ("an address as one number", "2130706433"), ("a short address", "127.1"),
    ("an octal address", "0177.0.0.1"), ("a hexadecimal address", "0x7f.0.0.1"), ("brackets around a name", "[localhost]"),
    ("brackets and more", "[::1].evil.example"), ("an open bracket", "[::1"), ("a path", "localhost/evil.example"),
    ("nothing", ""), ("a star", "*"), ("a comma", "localhost,evil.example"), ("a NUL", "localhost\0"),
    ("capitals beyond ASCII", "loc\u212alhost"),
    ("a name that is not mapped", "xn--localhost-"), ("10,000 labels", "a." * 5_000 + "example"), ("a zone", "fe80::1%lo"),
)  # fmt: skip
"""Browsers send such names as web pages choose them, as far as they can be names at all."""

SMUGGLED = get("/healthz", "localhost", "Content-Length: 0", "Transfer-Encoding: chunked")

ROWS = [
    row("a path that is not there", get("/admin"), 404),
    row("path traversal", get("/../../etc/passwd"), 404),
    row("encoded path traversal", get("/%2e%2e/%2e%2e/etc/passwd"), 404),
    row("a path of 10 kB", get("/" + "x" * 10_000), 404),
    row("metrics below another path", get("/x/metrics"), 404),
    row("a file beside the operator's page", get("/operator/../gateway/node.py"), 404),
    row("the same, encoded", get("/operator/..%2fgateway%2fnode.py"), 404),
    row("a file of the operator's page that is not there", get("/operator/page.py"), 404),
    row("a trace of nobody", get("/v1/trace?session=0123456789abcdef"), 404),
    row("a trace of a path", get("/v1/trace?session=..%2f..%2fetc%2fpasswd"), 400),
    row("a trace of two sessions", get("/v1/trace?session=0123456789abcdef&session=0123456789abcdef"), 400),
    row("a trace of a name of 10 kB", get("/v1/trace?session=" + "a" * 10_000), 400),
    row("all sessions at once", get("/v1/sessions?limit=1000000000000000000000"), 400),
    row("less than no session", get("/v1/sessions?limit=-1"), 400),
    row("sessions of a user that is no text", get("/v1/sessions?user=%ff%00"), 400),
    row("a query of 1,000 values", get("/v1/sessions?" + "&".join(f"a{n}=1" for n in range(1_000))), 400),
    row("POST", get("/metrics", method="POST"), 405),
    row("DELETE", get("/metrics", method="DELETE"), 405),
    row("a body", get("/metrics", "127.0.0.1", "Content-Length: 3") + b"abc", 200),
    row("a head of 20 kB", get("/healthz", "127.0.0.1", "X: " + "y" * 20_000), 431),
    row("HTTP/2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
    row("HTTP/0.9", b"GET /metrics\r\n\r\n", 400),
    row("no HTTP", b"\0\xff\0\xff\r\n\r\n", 400),
    row("a TLS hello", b"\x16\x03\x01\x00\xc8\x01\r\n\r\n", 400),
    row("half a request", b"GET /metr", 0, finish=True),
    row("an escape sequence in the path", b"GET /\x1b[2J HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    row("pipelined requests", get("/healthz") * 50, 200),
    row("a WebSocket upgrade", get("/metrics", "127.0.0.1", "Upgrade: websocket", "Connection: Upgrade"), 200),
    row("half a first line, then the end", b"GET /metrics HT", 0, finish=True),
    row("half a head, then the end", b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n", 0, finish=True),
    row("half an end of the head, then the end", b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r", 0, finish=True),
    row("nothing, then the end", b"", 0, finish=True),
    row("only line ends, then the end", b"\r\n", 0, finish=True),
    row("only line ends", b"\r\n" * 4, 400),
    row("16 kB without an end", b"GET /metrics HTTP/1.1\r\nX: " + b"y" * 16_400, 431),
    row("a first line of 1 MB", b"GET /" + b"x" * 1_000_000, 431, 0),
    row("5,000 headers", get("/metrics", "localhost", *["a:b"] * 5_000), 431),
    row("3,000 headers", get("/metrics", "localhost", *["a:"] * 3_000), 200),
    row("a header of 16 kB of line feeds", get("/metrics", "localhost", "X: " + "\n" * 15_000), 200),
    row("a method of 10 kB", get("/metrics", method="A" * 10_000), 405),
    row("TRACE", get("/metrics", method="TRACE"), 405),
    row("CONNECT", get("localhost:80", method="CONNECT"), 405),
    row("a method in lower case", get("/metrics", method="get"), 405),
    row("HTTP/9.9", get("/metrics", version="9.9"), 400),
    row("a smuggled second request", SMUGGLED + b"0\r\n\r\n" + get("/metrics"), 200),
    row("a path in capitals", get("/METRICS"), 404),
    row("a slash behind the path", get("/metrics/"), 404),
    row("two slashes", get("//metrics"), 404),
    row("a NUL in the path", b"GET /metrics\0 HTTP/1.1\r\nHost: localhost\r\n\r\n", 400),
    row("a path beyond ASCII", b"GET /metrics\xff HTTP/1.1\r\nHost: localhost\r\n\r\n", 404),
    row("a query that is a page", get("/?/metrics"), 200),
    row("a command of a gateway", get("/revoke?subject=alice"), 404),
    # a page of a stranger in the operator's browser, whose name was made to point here
    *(row(f"a foreign Host: {what}", get("/metrics", host), 403) for what, host in FOREIGN),
    row("a foreign Host asks what was refused", get("/refused", "evil.example"), 403),
    row("a foreign Host asks by HEAD", get("/metrics", "evil.example", method="HEAD"), 403),
    row("a foreign Host asks by OPTIONS", get("/metrics", "evil.example", method="OPTIONS"), 403),
    row("two Hosts, the second foreign", get("/metrics", "localhost", "Host: evil.example"), 403),
    row("two Hosts, the first foreign", get("/metrics", "evil.example", "Host: localhost"), 403),
    row("a Host with a blank before the colon", get("/metrics", "localhost", "Host : evil.example"), 403),
    row("a foreign name in the first line", get("http://evil.example/metrics", "localhost"), 403),
    row("a foreign name with a user in the first line", get("http://localhost@evil.example/metrics", "localhost"), 403),
    row("a foreign Host hidden by a line feed", get("/metrics", "evil.example\nX: y"), 403),
    row("a Host of 16,000 blanks in a name", get("/metrics", "a" + " " * 16_000 + "b"), 403),
]  # fmt: skip
