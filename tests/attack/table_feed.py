"""Payloads of a publisher that was broken into, on the subjects of an instrument that honest clients watch."""

from __future__ import annotations

from typing import Any

import msgpack

from attack.rows import BusRow, ForgedRow, Row
from mdstream.bus.subjects import encode_token

HOUR_US = 3_600_000_000
EPOCH = 1_600_000_000_000_000
"""Smaller than that of any writer of today."""
FAR = 2**53 - 1
BOOK, SNAP, TRADE, REF, STATUS = (f"md.SIM.A.{s}" for s in ("book", "snap", "trade", "ref", "status"))


def row(name: str, subject: str, *values: Any, refused: bool = True) -> BusRow:
    payloads = tuple(v if isinstance(v, bytes) else msgpack.packb(v) for v in values)
    return BusRow(name=name, subject=subject, payloads=payloads, refused=refused)


def nested(depth: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(depth):
        value = [value]
    return value


LINE = "\n2026-11-29T00:00:00.000Z error gateway.node: FORGED"
HOSTILE = (
    ("a forged log line", LINE), ("a forged log line behind a carriage return", "\r" + LINE[1:]),
    ("a forged log line behind a line separator", "\u2028" + LINE[1:]),
    ("a forged log line behind a next line", "\x85" + LINE[1:]), ("a forged log line behind a form feed", "\x0c" + LINE[1:]),
    ("a cleared screen", "\x1b[2J"), ("a title of the terminal", "\x1b]0;FORGED\x07"), ("an answer of the terminal", "\x1b[6n"),
    ("a C1 control", "\x9b2J"), ("a bell", "\x07"), ("a backspace", "good\x08\x08\x08\x08evil"), ("a NUL", "a\0b"),
    ("text from right to left", "\u202eABC"), ("an isolate that does not end", "\u2066ABC"), ("a zero-width joiner", "A\u200dB"),
    ("a tag character", "A\U000e0041"), ("a byte order mark", "\ufeffA"), ("a private character", "\ue000"), ("no character", "\uffff"),
    ("HTML", "<script>alert(1)</script>"), ("a format", "%s%n{0}{self}"), ("a link of a terminal", "\x1b]8;;http://evil.example\x07x"),
    ("a value of the log", 'x" subject=admin level="error'),
)  # fmt: skip
"""Texts that deceive whoever reads them in a log or on a terminal."""


def forged(where: str, text: str) -> dict[str, Any]:
    """Which of the values holds the text."""
    return (
        {"ref": {"name": text}}
        if where == "name"
        else {"ref": {text: text}}
        if where == "key"
        else {"ref": {}, where: text}
    )


FORGED = [
    *(
        ForgedRow(name=f"{what} as {where}, {format}", symbol=f"F{number}{where[0].upper()}J", format=format, **forged(where, text))
        for number, (what, text) in enumerate(HOSTILE)
        for where, format in (("name", "json"), ("reason", "msgpack"))
    ),
    *(
        ForgedRow(name=f"{what} as {where}", symbol=f"F{number}{where[0].upper()}", **forged(where, text))
        for number, (what, text) in enumerate(HOSTILE[:7])
        for where in ("key", "trade_id")
    ),
    *(
        ForgedRow(name=f"{what} in a symbol", symbol=encode_token(f"X{text}", "symbol"), ref={}, shown=False)
        for what, text in HOSTILE
        if not text.isprintable()
    ),
]  # fmt: skip

ROWS: list[Row] = [
    # bytes
    row("nothing", BOOK, b""),
    row("JSON", BOOK, b'[1,1,1,1,1,[],[]]'),
    row("the unused byte", BOOK, b"\xc1"),
    row("random bytes", BOOK, bytes(range(256)) * 20),
    row("an array cut short", BOOK, b"\x97\x01\x01"),
    row("an array of 2^32 - 1", BOOK, b"\xdd\xff\xff\xff\xff"),
    row("levels announced and not there", BOOK, msgpack.packb([1, EPOCH, 1, 1, 1])[:-1] + b"\xdd\x7f\xff\xff\xff"),
    row("10,000 open arrays", BOOK, b"\x91" * 10_000),
    row("a valid value and then junk", BOOK, msgpack.packb([1, EPOCH, 1, 1, 1, [], []]) + b"\xc1"),
    # types and ranges
    row("the tag of a trade", BOOK, [3, EPOCH, 1, 1, 1, 1, 1, 1]),
    row("a field too many", BOOK, [1, EPOCH, 1, 1, 1, [], [], 0]),
    row("ticks of 2^53", BOOK, [1, EPOCH, 1, 1, 1, [2**53, 1], []]),
    row("lots of -1", BOOK, [1, EPOCH, 1, 1, 1, [5, -1], []]),
    row("an odd number of numbers", BOOK, [1, EPOCH, 1, 1, 1, [5], []]),
    row("a price as text", BOOK, [1, EPOCH, 1, 1, 1, ["5", 1], []]),
    row("a price as a float", BOOK, [1, EPOCH, 1, 1, 1, [5.0, 1], []]),
    row("first after last", BOOK, [1, EPOCH, 9, 1, 1, [], []]),
    row("number 0", BOOK, [1, EPOCH, 0, 0, 1, [], []]),
    row("an epoch of 0", BOOK, [1, 0, 1, 1, 1, [], []]),
    row("an epoch of 2^53 - 1", BOOK, [1, FAR, 1, 1, 1, [5, 1], []]),
    row("an epoch of 2^64 - 1", BOOK, [1, 2**64 - 1, 1, 1, 1, [], []]),
    row("an old epoch", BOOK, [1, EPOCH, 1, 1, 1, [5, 1], []], refused=False),
    row("a million levels", BOOK, [1, EPOCH, 1, 1, 1, [n for i in range(80_000) for n in (i, 1)], []], refused=False),
    # snapshots
    row("a snap with size 0", SNAP, [2, EPOCH, 1, 1, [5, 0], []]),
    row("a snap of an epoch to come", SNAP, [2, FAR, 1, 1, [5, 1], []]),
    row("a snap of an old epoch", SNAP, [2, EPOCH, 1, 1, [5, 1], []], refused=False),
    row("a snap that is a map", SNAP, {"epoch": 1}),
    # trades
    row("a trade id of 200 bytes", TRADE, [3, EPOCH, 1, 1, 5, 1, 1, "x" * 200]),
    row("a trade id that is binary", TRADE, [3, EPOCH, 1, 1, 5, 1, 1, b"x"]),
    row("side 3", TRADE, [3, EPOCH, 1, 1, 5, 1, 3, 1]),
    row("a negative trade size", TRADE, [3, EPOCH, 1, 1, 5, -1, 1, 1]),
    # references
    row("a ref without an epoch", REF, {"price_exp": -2, "size_exp": -3}),
    row("a ref of an epoch to come", REF, {"epoch": FAR, "price_exp": -2, "size_exp": -3}),
    row("exponents of 10^6", REF, {"epoch": EPOCH, "price_exp": 10**6, "size_exp": 0}),
    row("a tick of 0", REF, {"epoch": EPOCH, "price_exp": -2, "size_exp": -3, "tick": 0}),
    row("a name of 5,000 bytes", REF, {"epoch": EPOCH, "price_exp": -2, "size_exp": -3, "name": "x" * 5_000}),
    row("a ref of 70,000 bytes", REF, {"epoch": EPOCH, "price_exp": -2, "size_exp": -3, "x": "y" * 70_000}),
    row("a ref nested 100 deep", REF, {"epoch": EPOCH, "price_exp": 0, "size_exp": 0, "x": nested(100)}),
    row("NaN in a ref", REF, {"epoch": EPOCH, "price_exp": -2, "size_exp": -3, "x": float("nan")}),
    row("a key twice in a ref", REF, b"\x82\xa5epoch\x01\xa5epoch\x02"),
    # states
    row("an unknown state", STATUS, [5, EPOCH, 1, "open", None]),
    row("a reason of 5,000 bytes", STATUS, [5, EPOCH, 1, "halted", "x" * 5_000]),
    row("heard after its time", STATUS, [5, EPOCH, 1, "trading", None, 1, 1, 9]),
    row("a state of an epoch to come", STATUS, [5, FAR, 1, "halted", "forged"]),
    row(
        "a reason with a forged log line",
        STATUS,
        [5, EPOCH, 1, "halted", "x\n2026-11-29T00:00:00.000Z error gateway.node: FORGED\x1b[2J"],
        refused=False,
    ),
    # subjects
    row("a subject that no instrument has", "md.SIM.A.book.more", b"\xc1", refused=False),
    row("a stream that is none", "md.SIM.A.orders", b"\xc1", refused=False),
    row("a symbol with a forged log line", "md.SIM.%0AFORGED.ref", b"\xc1", refused=False),
    *FORGED,
]  # fmt: skip
