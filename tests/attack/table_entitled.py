"""Users who ask for more than they may see, and tokens that take away what they had."""

from __future__ import annotations

import time
from typing import Any

from attack import forge
from attack.rows import Row
from attack.rows_users import ChangeRow, EntitledRow, Grant, RenewRow, token

HOUR = 3_600
BOOK: dict[str, Any] = {"op": "subscribe", "channel": "book", "instruments": ["SIM:A"]}
TICKER: dict[str, Any] = {"op": "subscribe", "channel": "ticker", "instruments": ["SIM:A"]}
TRADES: dict[str, Any] = {"op": "subscribe", "channel": "trades", "instruments": ["SIM:A"]}
CANDLES: dict[str, Any] = {"op": "subscribe", "channel": "candles", "instruments": ["SIM:A"], "span": "1m"}
ALL: Grant = {"channels": ["*"], "instruments": ["*"]}
TOP: Grant = {"channels": ["book"], "instruments": ["SIM:*"], "depth": 20}
SLOW: Grant = {"channels": ["book", "ticker"], "instruments": ["SIM:*"], "interval_ms": 250}
ONLY_A: Grant = {"channels": ["*"], "instruments": ["SIM:A"]}
HIDDEN = ("CANARY", "DEEP", "QUIET")
"""What a refusal must not name."""


def of(name: str) -> dict[str, Any]:
    return BOOK | {"instruments": [name], "depth": 5}


def untold(asked: str) -> tuple[str, ...]:
    """What an answer must not name; it repeats what was asked."""
    return tuple(word for word in HIDDEN if word not in asked)


def row(name: str, command: dict[str, Any], *grants: Grant, **more: Any) -> list[EntitledRow]:
    """In both formats."""
    return [
        EntitledRow(name=f"{name}, {format}", command=command, grants=grants, format=format, **more)
        for format in ("json", "msgpack")
    ]


def outside(name: str, instrument: str, *grants: Grant) -> EntitledRow:
    """Whether it exists or not, and however it is spelled, the answer is one and the same."""
    return EntitledRow(
        name=name, command=of(instrument), grants=grants or (ONLY_A,), untold=untold(instrument)
    )


REFUSED: list[Row] = [
    # channels
    *row("no grant at all", BOOK),
    *row("a channel that is not granted", TRADES, TOP, untold=HIDDEN),
    *row("another channel that is not granted", TICKER, TOP, untold=HIDDEN),
    *row("a channel of another grant's instrument", TRADES, ONLY_A | {"channels": ["book"]}, ALL | {"instruments": ["SIM:QUIET"]}),
    # depth
    *row("one level more than allowed", BOOK | {"depth": 50}, TOP),
    *row("the full book", BOOK | {"depth": 0}, TOP),
    *row("the full book, without a depth", BOOK, TOP),
    *row("a full grouped book", BOOK | {"group": 5}, TOP),
    *row("the depth of one grant with the interval of another", BOOK | {"depth": 50}, TOP | {"depth": 50, "interval_ms": 100}, TOP),
    # interval
    *row("a shorter interval", BOOK | {"interval_ms": 100}, SLOW),
    *row("every change", BOOK | {"interval_ms": 0}, SLOW),
    *row("every change, without an interval", TICKER, SLOW),
    *row("trades of a grant with an interval", TRADES, SLOW | {"channels": ["*"]}),
    # candles
    *row("candles that are not granted", CANDLES, TOP),
    *row("candles of another instrument", CANDLES | {"instruments": ["SIM:QUIET"]}, ONLY_A, untold=untold("SIM:QUIET")),
    *row("candles of a grant with a greater interval", CANDLES, SLOW | {"channels": ["candles"]}),
    *row("candles of a grant of late data", CANDLES, ALL | {"delay_ms": 1_000}),
    # lists and boards
    *row("a board of books", BOOK | {"channel": "board"}, TOP),
    *row("a list of another venue", BOOK | {"channel": "instruments", "instruments": ["CANARY:*"]}, ONLY_A, untold=untold("CANARY:*")),
    *row("a board of one's own and of another venue", BOOK | {"channel": "board", "instruments": ["SIM:A", "CANARY:*"]}, ONLY_A),
    *row("a board more often than allowed", BOOK | {"channel": "board", "interval_ms": 100}, SLOW | {"channels": ["board"]}),
    # delay
    *row("live data of a grant with a delay", BOOK, ALL | {"delay_ms": 900_000}),
    # instruments
    outside("an instrument that exists", "SIM:QUIET"),
    outside("the canary", "CANARY:X"),
    outside("an instrument that nobody has announced", "SIM:NONE"),
    outside("an instrument that begins alike", "SIM:AA"),
    outside("an instrument in lower case", "SIM:a"),
    outside("a venue in lower case", "sim:A"),
    outside("a blank behind the name", "SIM:A "),
    outside("a blank before the name", " SIM:A"),
    outside("a NUL behind the name", "SIM:A\0"),
    outside("a line end behind the name", "SIM:A\n"),
    outside("a letter that looks alike", "SIM:\u0410"),
    outside("a full-width letter", "SIM:\uff21"),
    outside("a combining mark behind the name", "SIM:A\u0301"),
    outside("a zero-width space in the name", "SIM:\u200bA"),
    outside("the name percent-encoded", "SIM:%41"),
    outside("two colons", "SIM::A"),
    outside("a pattern as a name", "SIM:*"),
    outside("a pattern as a whole", "*"),
    outside("a pattern of a venue", "*:A"),
    outside("a wildcard of NATS", "SIM:>"),
    outside("a subject of NATS", "md.SIM.A.book"),
    outside("a name without a colon", "SIM"),
    outside("no name", ""),
    outside("60,000 characters", "SIM:" + "A" * 60_000),
    outside("a venue that ends alike", "XSIM:A", ALL | {"instruments": ["SIM:*"]}),
    outside("a venue that begins alike", "SIMX:A", ALL | {"instruments": ["SIM:*"]}),
    outside("beyond the beginning of a pattern", "SIM:DEEP", ALL | {"instruments": ["SIM:D*X"]}),
    outside("beginning and end that overlap", "SIM:AB", ALL | {"instruments": ["SIM:AB*B"]}),
    *row("a foreign one among entitled ones", BOOK | {"instruments": ["SIM:A", "SIM:QUIET"]}, ONLY_A),
    *row("a foreign one that does not exist among entitled ones", BOOK | {"instruments": ["SIM:A", "SIM:NONE"]}, ONLY_A),
    *row("999 foreign ones", BOOK | {"instruments": [f"SIM:X{i}" for i in range(999)]}, ONLY_A),
    *row("a resume of a foreign one", of("SIM:QUIET") | {"resume": {"SIM:QUIET": [1, 1]}}, ONLY_A),
    # hints
    *(
        EntitledRow(
            name=f"a name like that of {what}", command=of(asked), code="unknown_instrument", untold=untold(asked), for_s=1.5,
            grants=(ALL | {"instruments": [asked]},),
        )
        for what, asked in (("a foreign instrument", "SIM:quiet"), ("the canary", "CANARY:s3cret-xqz"))
    ),
]  # fmt: skip

CHANGES: list[Row] = [
    ChangeRow(name=f"{name}, {format}", before=(ALL,), after=after, lost=lost, kept=kept, format=format)
    for name, after, lost, kept in (
        ("an instrument is no longer allowed", (ALL | {"instruments": ["SIM:A"]},), of("SIM:DEEP"), BOOK),
        ("a venue is no longer allowed", (ALL | {"instruments": ["*:A"]},), of("SIM:QUIET"), TICKER),
        ("a channel is no longer allowed", (ONLY_A | {"channels": ["book"]},), TICKER, BOOK),
        ("a depth is no longer allowed", (TOP,), BOOK, BOOK | {"depth": 20}),
        ("an interval is no longer allowed", (SLOW,), BOOK | {"interval_ms": 50}, BOOK | {"interval_ms": 250}),
        ("trades end with an interval", (SLOW | {"channels": ["*"]},), TRADES, BOOK | {"interval_ms": 500}),
        ("a grouped view is no longer allowed", (TOP,), BOOK | {"group": 5}, BOOK | {"group": 5, "depth": 10}),
        ("what is live must be late now", (ONLY_A | {"channels": ["ticker"]}, ALL | {"delay_ms": 60_000}), BOOK, TICKER),
    )
    for format in ("json", "msgpack")
]  # fmt: skip

RENEWALS: list[Row] = [
    RenewRow(name=f"auth with {name}", token=make)
    for name, make in (
        ("a token of another subject", lambda user: token(f"not-{user}", ALL)),
        ("an expired token", lambda user: token(user, ALL, exp=int(time.time()) - HOUR)),
        ("a token of another audience", lambda user: token(user, ALL, aud="another")),
        ("a token by a stranger", lambda user: forge.token(sub=user, signed_by="attacker")),
        ("alg none", lambda user: forge.unsigned(sub=user)),
        ("a wrong claim md", lambda user: forge.token(sub=user, md={"grants": [{}]})),
        ("an API key's id", lambda user: user),
        ("60,000 characters", lambda user: "eyJ" + "A" * 60_000),
        ("no token", lambda user: ""),
    )
]

ROWS = REFUSED + CHANGES + RENEWALS
