"""Who a client is, as proxies say, as clients say in their name, and as strangers say who are no proxies.

On the gateway of these rows an address may have one connection. ``TAKEN`` has one, by way of a proxy; so has the stranger ``FULL``. So 429
says that a request counted as one of these, and 101 that it did not.
"""

from __future__ import annotations

import itertools
import socket
import struct

from attack.rows import RequestRow, Row
from attack.wire import request

TAKEN, TAKEN_6 = "198.51.100.1", "2001:db8:0:1::1"
FULL, FREE = "127.0.1.1", "127.0.1.2"
EXEMPT = "127.0.0.1"
"""Of the honest clients: it has no limits."""
PROXIES = "127.0.9.0/24"
OTHER_PROXY = "127.0.9.250"
SETTINGS = (
    "--proxies-trusted", PROXIES, "--limits-exempt", f"{EXEMPT}/32", "--limits-address-connections", "1", "--handshake-ms", "1000",
)  # fmt: skip
SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
LOCAL, PROXY = 0x20, 0x21
TCP4, UDP4, TCP6, UNIX = 0x11, 0x12, 0x21, 0x31
_proxies = (f"127.0.9.{number}" for number in itertools.count(1))
_clients = (f"203.0.113.{number}" for number in itertools.count(1))


def stranger(name: str, raw: bytes, *status: int) -> RequestRow:
    """From an address that is no proxy's, and has its one connection."""
    return RequestRow(name=name, raw=raw, status=status or (429,), source=FULL)


def proxied(name: str, raw: bytes, *status: int) -> RequestRow:
    """From a proxy that sends nothing else."""
    return RequestRow(name=name, raw=raw, status=status, source=next(_proxies))


def lines(header: str, *values: str) -> bytes:
    """An upgrade request with the header once for each value."""
    more = "".join(f"{header}: {value}\r\n" for value in values)
    return request().removesuffix(b"\r\n") + f"{more}\r\n".encode("latin-1")


def xff(*values: str) -> bytes:
    return lines("X-Forwarded-For", *values)


def forwarded(*values: str) -> bytes:
    return lines("Forwarded", *values)


# ---- X-Forwarded-For

FROM_STRANGERS = [
    stranger(f"a stranger says {header}: {address}", lines(header, address))
    for header in ("X-Forwarded-For", "Forwarded", "X-Real-IP", "True-Client-IP", "CF-Connecting-IP", "X-Client-IP")
    for address in (EXEMPT, "192.0.2.1")
]  # fmt: skip

X_FORWARDED_FOR: list[Row] = [
    *FROM_STRANGERS,
    stranger("a stranger says that it is a proxy", xff(f"192.0.2.2, {OTHER_PROXY}")),
    stranger("a stranger says it in three headers", xff("192.0.2.3", "192.0.2.4", EXEMPT)),
    # the client wrote what stands on the left
    proxied("the client", xff(TAKEN), 429),
    proxied("an address that the client put before its own", xff(f"192.0.2.5, {TAKEN}"), 429),
    proxied("the address without limits before its own", xff(f"{EXEMPT}, {TAKEN}"), 429),
    proxied("the proxy's own address before its own", xff(f"{OTHER_PROXY}, {TAKEN}"), 429),
    proxied("nonsense before its own", xff(f"<script>, {TAKEN}"), 429),
    proxied("15 kB of commas before its own", xff("," * 15_000 + TAKEN), 429),
    proxied("15 kB of commas before a free one", xff("," * 15_000 + next(_clients)), 429),
    proxied("1,000 addresses before its own", xff("192.0.2.6," * 1_000 + TAKEN), 429),
    proxied("a header of its own before that of the proxy", xff("192.0.2.7", TAKEN), 429),
    proxied("two proxies", xff(f"192.0.2.8, {TAKEN}, {OTHER_PROXY}"), 429),
    proxied("two proxies, each with a header", xff("192.0.2.9", TAKEN, OTHER_PROXY), 429),
    proxied("with a port", xff(f"{TAKEN}:4711"), 429),
    proxied("mapped into IPv6", xff(f"::ffff:{TAKEN}"), 429),
    proxied("mapped into IPv6, in brackets, with a port", xff(f"[::ffff:{TAKEN}]:80"), 429),
    proxied("another address of the same IPv6 site", xff("2001:db8:0:1:ffff:ffff:ffff:ffff"), 429),
    proxied("blanks and tabs around it", xff(f"  192.0.2.10 ,\t {TAKEN} \t "), 429),
    # the right-most one is another
    proxied("the taken one on the left", xff(f"{TAKEN}, {next(_clients)}"), 101),
    proxied("the taken one in a header before", xff(TAKEN, next(_clients)), 101),
    # what is no address ends the search: the proxy counts
    *(
        proxied(f"{what} on the right", xff(f"{TAKEN}, {hop}"), 101)
        for what, hop in (
            ("unknown", "unknown"), ("an octal address", "0198.51.100.1"), ("a number", "3325256705"), ("a short address", "198.51"),
            ("a name", "localhost"), ("a zone", "fe80::1%eth0"), ("a network", f"{TAKEN}/32"), ("a port beyond all", f"{TAKEN}:123456"),
            ("an open bracket", "[2001:db8:0:1::1"), ("brackets around IPv4 and more", f"[{TAKEN}]x"), ("15 kB", "9" * 14_000),
        )
    ),
    proxied("100 proxies of ours on the right", xff(f"{TAKEN}, " + ", ".join([OTHER_PROXY] * 100)), 101),
    proxied("no address at all", request(), 101),
    proxied("an empty header", xff(""), 101),
    proxied("another spelling of the header", lines("X_Forwarded_For", TAKEN), 101),
    proxied("a header that ends alike", lines("Not-X-Forwarded-For", TAKEN), 101),
    proxied("the header of RFC 7239 instead", forwarded(f"for={TAKEN}"), 101),
    proxied("a blank before the colon", request().removesuffix(b"\r\n") + f"X-Forwarded-For : {TAKEN}\r\n\r\n".encode(), 400, 429),
    proxied("a folded header", request().removesuffix(b"\r\n") + f"X-Forwarded-For: 192.0.2.11,\r\n {TAKEN}\r\n\r\n".encode(), 400),
]  # fmt: skip

# ---- Forwarded

OPEN_QUOTE = '"\\' * 7_000
RFC_7239: list[Row] = [
    stranger("a stranger says Forwarded", forwarded(f"for={EXEMPT}")),
    proxied("the client", forwarded(f"for={TAKEN}"), 429),
    proxied("an address that the client put before its own", forwarded(f"for=192.0.2.20, for={TAKEN}"), 429),
    proxied("an element within quotes", forwarded(f'for={TAKEN};host="x, for=192.0.2.21"'), 429),
    proxied("a pair within quotes", forwarded(f'host="x;for=192.0.2.22";for={TAKEN}'), 429),
    proxied(
        "a pair of the client's within the quotes of the proxy",
        forwarded(f'host="x;for=192.0.2.24;y";for={TAKEN}'),
        429,
    ),
    proxied("a quote that is open before its own", forwarded(f'for=192.0.2.23;host=", for={TAKEN}'), 429),
    proxied("a quote that a backslash keeps open", forwarded(f'host="\\", for={TAKEN}'), 429),
    proxied("7,000 quotes that backslashes keep open", forwarded(f"{OPEN_QUOTE}, for={TAKEN}"), 429),
    proxied("a header with an open quote before that of the proxy", forwarded('for="', f"for={TAKEN}"), 429),
    proxied("quotes and a port", forwarded(f'for="{TAKEN}:80"'), 429),
    proxied("another address of the same IPv6 site", forwarded('for="[2001:db8:0:1::99]:443"'), 429),
    proxied("14,000 blanks before nothing", forwarded("for=" + " " * 14_000 + 'x""'), 101),
    proxied("14,000 commas before a free one", forwarded("," * 14_000 + f"for={next(_clients)}"), 429),
    proxied("2,000 headers and a free one", forwarded(*[""] * 1_000, f"for={next(_clients)}"), 429),
    proxied("14,000 semicolons", forwarded(";" * 14_000 + f"for={TAKEN}"), 429),
    proxied("2,800 pairs without a value", forwarded("for=;" * 2_800 + f"for={next(_clients)}"), 101),
    proxied("an address that is hidden", forwarded(f"for={TAKEN}, for=_hidden"), 101),
    proxied("the taken one on the left", forwarded(f"for={TAKEN}, for={next(_clients)}"), 101),
    proxied("X-Forwarded-For instead", xff(TAKEN), 101),
]

# ---- PROXY protocol


def head(command: int, family: int, rest: bytes, length: int | None = None) -> bytes:
    return SIGNATURE + struct.pack("!BBH", command, family, len(rest) if length is None else length) + rest


def v4(client: str = TAKEN) -> bytes:
    return socket.inet_aton(client) + socket.inet_aton("192.0.2.99") + struct.pack("!HH", 4711, 80)


def v6(client: str) -> bytes:
    return socket.inet_pton(socket.AF_INET6, client) + bytes(16) + struct.pack("!HH", 4711, 80)


DROPPED = (0,)
PROXY_V2: list[Row] = [
    *FROM_STRANGERS,
    RequestRow(name="a PROXY header of a stranger", raw=head(PROXY, TCP4, v4("192.0.2.30")) + request(), status=(400,), source=FREE),
    RequestRow(name="a PROXY header of a stranger that says LOCAL", raw=head(LOCAL, 0, b"") + request(), status=(400,), source=FREE),
    proxied("the client", head(PROXY, TCP4, v4()) + request(), 429),
    proxied("the client, with extensions", head(PROXY, TCP4, v4() + b"\x01\0\x02h2\x04\0\0") + request(), 429),
    proxied("the client, mapped into IPv6", head(PROXY, TCP6, v6(f"::ffff:{TAKEN}")) + request(), 429),
    proxied("another address of the same IPv6 site", head(PROXY, TCP6, v6("2001:db8:0:1::77")) + request(), 429),
    proxied("what the client says in X-Forwarded-For", head(PROXY, TCP4, v4(next(_clients))) + xff(TAKEN), 101),
    proxied("what the client says of its exemption", head(PROXY, TCP4, v4()) + xff(EXEMPT), 429),
    proxied("LOCAL with the address of a client", head(LOCAL, TCP4, v4()) + request(), 101),
    proxied("an unspecified family", head(PROXY, 0, v4()) + request(), 101),
    proxied("two PROXY headers", head(PROXY, TCP4, v4(next(_clients))) + head(PROXY, TCP4, v4()) + request(), 400),
    proxied("no PROXY header", request(), *DROPPED),
    proxied("a PROXY header in text", b"PROXY TCP4 192.0.2.31 192.0.2.32 1 2\r\n" + request(), *DROPPED),
    proxied("version 1 in binary", head(0x11, TCP4, v4()) + request(), *DROPPED),
    proxied("version 3", head(0x31, TCP4, v4()) + request(), *DROPPED),
    proxied("an unknown command", head(0x22, TCP4, v4()) + request(), *DROPPED),
    proxied("a datagram", head(PROXY, UDP4, v4()) + request(), *DROPPED),
    proxied("a Unix socket", head(PROXY, UNIX, bytes(216)) + request(), *DROPPED),
    proxied("an unknown family", head(PROXY, 0xFF, v4()) + request(), *DROPPED),
    proxied("an address cut short", head(PROXY, TCP4, v4()[:-1]) + request(), *DROPPED),
    proxied("an IPv4 address as IPv6", head(PROXY, TCP6, v4()) + request(), *DROPPED),
    proxied("an extension cut short", head(PROXY, TCP4, v4() + b"\x01\0\xffh2") + request(), *DROPPED),
    proxied("an extension of one byte", head(PROXY, TCP4, v4() + b"\x01") + request(), *DROPPED),
    proxied("65,535 bytes announced", head(PROXY, TCP4, v4(), length=65_535) + request(), *DROPPED),
    proxied("3,000 bytes of extensions", head(PROXY, TCP4, v4() + b"\x01\x0b\xb8" + bytes(3_000)) + request(), *DROPPED),
    proxied("no bytes where an address must be", head(PROXY, TCP4, b"") + request(), *DROPPED),
    proxied("a signature with one bit changed", b"\r\n\r\n\0\r\nQUIT\x0b" + head(PROXY, TCP4, v4())[12:] + request(), *DROPPED),
    proxied("zeros", bytes(64), *DROPPED),
    proxied("a TLS hello", bytes.fromhex("16030100c8010000c40303") + bytes(64), *DROPPED),
    RequestRow(name="half a PROXY header, then the end", raw=SIGNATURE + b"\x21", status=DROPPED, finish=True, source=next(_proxies)),
    RequestRow(name="half a PROXY header, then nothing", raw=head(PROXY, TCP4, v4())[:20], status=DROPPED, source=next(_proxies)),
    RequestRow(name="a PROXY header alone", raw=head(PROXY, TCP4, v4("192.0.2.33")), status=DROPPED, finish=True, source=next(_proxies)),
]  # fmt: skip

PROTOCOLS: dict[str, list[Row]] = {
    "x-forwarded-for": X_FORWARDED_FOR,
    "forwarded": RFC_7239,
    "proxy-v2": PROXY_V2,
}
"""By the setting ``proxies_protocol``."""


def introduced(protocol: str, client: str) -> bytes:
    """The upgrade request of a client, as an honest proxy sends it."""
    if protocol == "proxy-v2":
        return head(PROXY, TCP6, v6(client) if ":" in client else v6(f"::ffff:{client}")) + request()
    if protocol == "forwarded":
        return forwarded(f'for="[{client}]"' if ":" in client else f"for={client}")
    return xff(client)
