"""What a gateway sends: (name, type, fields, price_exp, size_exp) for data, (name, message) for control."""

from __future__ import annotations

from typing import Any

from reference import Object, checksum

EPOCH = 1_753_000_000_000_000
TS = 1_753_000_012_345_678
MOST = 2**53 - 1
UINT32 = 2**32 - 1

DataCase = tuple[str, str, Object, int, int]

# On and next to every border between two MessagePack forms of an integer.
UNSIGNED = [0, 1, 127, 128, 255, 256, 65_535, 65_536, UINT32, UINT32 + 1, MOST]
NEGATIVE = [-1, -32, -33, -128, -129, -32_768, -32_769, -(2**31), -(2**31) - 1, -MOST]


def _delta(**fields: Any) -> Object:
    first: Object = {
        "sub": 7,
        "first": 1001,
        "last": 1001,
        "ts": TS,
        "bids": [],
        "asks": [],
        "crc": 3_735_928_559,
    }
    return first | fields


def _snapshot(**fields: Any) -> Object:
    first: Object = {"sub": 7, "epoch": EPOCH, "seq": 1000, "ts": TS, "bids": [], "asks": [], "crc": 0}
    whole = {**first, "reason": "subscribe"} | fields
    return whole | {"crc": checksum(whole["bids"], whole["asks"])}


def _trades(*entries: list[Any], sub: int = 8) -> Object:
    return {
        "sub": sub,
        "epoch": EPOCH,
        "first": entries[0][0],
        "last": entries[-1][0],
        "trades": list(entries),
    }


def _ticker(**fields: Any) -> Object:
    first: Object = {"sub": 9, "epoch": EPOCH, "seq": 1000, "ts": TS, "bid": None, "ask": None, "last": None}
    return first | fields


def _side(best: int, step: int, count: int) -> list[int]:
    return [number for i in range(count) for number in (best + i * step, 50_000_000 + 12_345 * i)]


def deltas() -> list[DataCase]:
    cases: list[tuple[str, Object, int, int]] = [
        ("one level on each side", _delta(bids=[6_412_310, 51_200_000], asks=[6_412_320, 7_500_000]), -2, -8),
        ("a deleted level has size zero, with all its decimals", _delta(bids=[6_412_310, 0]), -2, -8),
        ("conflated over many numbers", _delta(first=1001, last=1733, asks=[6_412_320, 1]), -2, -8),
        ("nothing but numbers", _delta(), -2, -8),
        ("negative prices", _delta(bids=[-5, 100, -105, 100], asks=[-4, 1, 0, 1, 3, 1]), -2, 0),
        ("exponents of zero", _delta(bids=[0, 7, -3, 7], asks=[12, 0]), 0, 0),
        ("exponents above zero", _delta(bids=[0, 7, -3, 7], asks=[12, 0]), 2, 3),
        (
            "one and seven decimals",
            _delta(bids=[0, 7, -3, 7, 10, 10_000_000], asks=[12_345_678_901, 0]),
            -1,
            -7,
        ),
        ("nine and ten decimals", _delta(bids=[0, 7, -3, MOST], asks=[1_000_000_000, 10**10]), -9, -10),
        ("eighteen decimals", _delta(bids=[MOST, 1, -MOST, 0], asks=[10**15, MOST]), -18, -18),
        ("exponents of eighteen", _delta(bids=[MOST, 1, -MOST, 0]), 18, 18),
        ("every form of an unsigned integer", _delta(asks=[n for n in UNSIGNED for n in (n, n)]), -2, -8),
        ("every form of a negative integer", _delta(bids=[x for n in NEGATIVE for x in (n, -n)]), -2, -8),
        ("fourteen numbers in an array", _delta(bids=_side(6_412_310, -10, 7)), -2, -8),
        ("sixteen numbers in an array", _delta(asks=_side(6_412_320, 10, 8)), -2, -8),
        ("greatest numbers", _delta(sub=UINT32, first=MOST, last=MOST, ts=MOST, crc=UINT32), -2, -8),
        ("smallest numbers", _delta(sub=1, first=1, last=1, ts=0, crc=0), -2, -8),
    ]
    borders = [n for n in UNSIGNED if 0 < n <= UINT32]
    cases += [
        (f"sub, numbers and crc of {n}", _delta(sub=n, first=n, last=n, ts=n, crc=n), -2, -8) for n in borders
    ]
    return [(name, "delta", fields, price_exp, size_exp) for name, fields, price_exp, size_exp in cases]


def snapshots() -> list[DataCase]:
    reasons = ("subscribe", "recover", "epoch", "slow", "reload")
    cases = [
        (f"reason {reason}", _snapshot(reason=reason, bids=[6_412_310, 1], asks=[6_412_320, 2]))
        for reason in reasons
    ]
    cases += [
        ("empty book", _snapshot(seq=1)),
        ("bids alone", _snapshot(bids=_side(6_412_310, -10, 3))),
        ("asks alone", _snapshot(asks=_side(6_412_320, 10, 3))),
        ("depth 20", _snapshot(bids=_side(6_412_310, -10, 20), asks=_side(6_412_320, 10, 20))),
        (
            "one side runs out before ten",
            _snapshot(bids=_side(6_412_310, -10, 4), asks=_side(6_412_320, 10, 12)),
        ),
        ("negative prices", _snapshot(bids=[-2, 5, -1_000, 5], asks=[-1, 6, 0, 6, 1, 6])),
        ("grouped by 100 ticks", _snapshot(bids=_side(6_412_300, -100, 5), asks=_side(6_412_400, 100, 5))),
        ("a grouped sum that stays at the greatest number", _snapshot(bids=[6_412_300, MOST])),
    ]
    return [(name, "snapshot", fields, -2, -8) for name, fields in cases]


def trade_lists() -> list[DataCase]:
    ids = [0, 7, 127, 128, 65_536, MOST, -1, -33, -MOST, "", "a-1", "x" * 31, "x" * 32, "x" * 126]
    ids += ["Straße 東京 🎌", 'quote " backslash \\ slash /', "\b\t\n\f\r\x00\x1f\x7f\x80\u2028"]
    cases = [
        ("one trade", _trades([1, TS, 6_412_310, 51_200_000, 1, 900_001])),
        ("each side", _trades(*([5 + i, TS + i, 6_412_310, 1, side, i] for i, side in enumerate((1, 2, 0))))),
        (
            "ids of every kind",
            _trades(*([i, TS, -5, 100_000_000, 2, ids[i - 1]] for i in range(1, len(ids) + 1))),
        ),
        (
            "sixteen trades",
            _trades(*([100 + i, TS, 6_412_310 - i, i + 1, 1, i] for i in range(16)), sub=UINT32),
        ),
    ]
    return [(name, "trades", fields, -2, -8) for name, fields in cases]


def tickers() -> list[DataCase]:
    bid, ask, last = [6_412_310, 51_200_000], [6_412_320, 7_500_000], [6_412_315, 1]
    cases = [
        ("all three", _ticker(bid=bid, ask=ask, last=last)),
        ("empty book and no trade yet", _ticker(seq=1)),
        ("no bid", _ticker(ask=ask, last=last)),
        ("no ask", _ticker(bid=bid, last=last)),
        ("no trade yet", _ticker(bid=bid, ask=ask)),
        ("negative prices", _ticker(bid=[-37, 5], ask=[-36, MOST], last=[0, 1])),
    ]
    return [(name, "ticker", fields, -2, -8) for name, fields in cases]


def heartbeats() -> list[DataCase]:
    cases = [
        ("no subscription to tell of", {"time": TS, "seqs": []}),
        ("two subscriptions", {"time": TS, "seqs": [[7, 1001], [8, 0]]}),
        ("eight subscriptions", {"time": TS, "seqs": [[i, 10**i] for i in range(1, 9)]}),
        ("greatest numbers", {"time": MOST, "seqs": [[UINT32, MOST]]}),
    ]
    return [(name, "heartbeat", fields, 0, 0) for name, fields in cases]


def data() -> list[DataCase]:
    return [*deltas(), *snapshots(), *trade_lists(), *tickers(), *heartbeats()]


# ---- control

_LIMITS = {
    "depths": [0, 1, 5, 10, 20, 50, 100],
    "intervals_ms": [0, 50, 100, 250, 500, 1000],
    "max_subscriptions": 200,
}
_BOOK = {"channel": "book", "instrument": "SIM:BTC-USD", "depth": 20, "group": 1, "interval_ms": 0}
_SCALE = {"price_exp": -2, "size_exp": -8}
_REF = {"tick": 1, "lot": 1, "name": "Bitcoin / US dollar", "depth": 0}
_ERRORS = [
    "bad_command",
    "unknown_op",
    "unknown_channel",
    "unknown_instrument",
    "unknown_sub",
    "bad_value",
    "not_entitled",
    "limit_subscriptions",
    "rate_limited",
    "unavailable",
]


def _subscribed(**fields: Any) -> Object:
    return {
        "type": "subscribed",
        "id": 1,
        "sub": 7,
        **_BOOK,
        **_SCALE,
        "ref": _REF,
        "resumed": False,
    } | fields


def _ref(**fields: Any) -> Object:
    return {"type": "ref", "sub": 7, "ref": _REF | fields}


def _state(state: str, code: str | None, age_ms: int | None, reason: str | None) -> Object:
    return {
        "type": "state",
        "sub": 7,
        "state": state,
        "since": TS,
        "code": code,
        "age_ms": age_ms,
        "reason": reason,
    }


def states() -> list[tuple[str, Object]]:
    """Each state, with codes that go with it."""
    codes = {
        "recovering": ("opening", "gap", "refused", "no_ref", "no_book", "conflict", "storage", "overload"),
        "stale": ("nats_away", "feed_down", "silent", "venue_silent", "fenced"),
        "halted": ("venue",),
        "closed": ("venue",),
    }
    return [
        ("state live", _state("live", None, None, None)),
        ("state live, with a reason", _state("live", None, 40, "the venue opens at 9:00")),
        *(
            (f"state {state}, {code}", _state(state, code, 31_250, "why, in words"))
            for state in codes
            for code in codes[state]
        ),
        ("state of an unknown age", _state("recovering", "opening", None, None)),
        ("state of the greatest age", _state("stale", "silent", MOST, None)),
    ]


def control() -> list[tuple[str, Object]]:
    head = {
        "type": "welcome",
        "version": 1,
        "node": "gw-1",
        "session": "01J3ZQ",
        "time": TS,
        "heartbeat_ms": 15_000,
    }
    grown = {
        **head,
        "healthy_ms": 1_000,
        "resumes": ["book", "trades", "ticker", "board", "events", "map", "presence"],
    }
    no_id = {key: value for key, value in _subscribed().items() if key != "id"}
    return [
        ("welcome", {**head, "limits": _LIMITS}),
        ("welcome, all keys", {**grown, "limits": _LIMITS}),
        ("subscribed to a book", _subscribed()),
        ("subscribed, resumed", _subscribed(resumed=True)),
        (
            "subscribed to a full grouped book",
            _subscribed(id="g", sub=UINT32, depth=0, group=100, interval_ms=250),
        ),
        ("subscribed to trades", _subscribed(id=2, sub=8, channel="trades", depth=0)),
        ("subscribed to a ticker", _subscribed(id=-3, sub=9, channel="ticker", depth=0, interval_ms=100)),
        ("subscribed, no id was given", no_id),
        ("subscribed, names beyond ASCII", _subscribed(id='"\\\n', instrument="SIM:東京/€")),
        ("subscribed, exponents of zero and above", _subscribed(price_exp=0, size_exp=3)),
        ("subscribed, more keys of ref", _subscribed(ref={**_REF, "name": "", "depth": 1000, "base": "BTC"})),
        ("lost", {"type": "lost", "sub": 8, "first": 12, "last": 40_000}),
        *states(),
        ("reference data", _ref()),
        ("reference data, a depth", _ref(depth=1000)),
        (
            "reference data, more keys",
            _ref(tick=5, lot=10**8, name="東京/€", isin="XX0000000000", tiers=[1, {"a": None}]),
        ),
        ("unsubscribed as asked", {"type": "unsubscribed", "id": 4, "subs": [7, 8], "reason": "requested"}),
        (
            "unsubscribed unasked",
            {"type": "unsubscribed", "subs": [UINT32], "reason": "not_entitled"},
        ),
        ("unsubscribed, other decimals", {"type": "unsubscribed", "subs": [7, 8], "reason": "rescaled"}),
        ("unsubscribed, overload", {"type": "unsubscribed", "subs": [7], "reason": "overload"}),
        ("a token expires", {"type": "token_expiring", "expires": TS}),
        ("authenticated", {"type": "authenticated", "id": 7, "expires": TS}),
        ("authenticated, for ever", {"type": "authenticated", "id": 7, "expires": None}),
        ("drain", {"type": "drain", "reconnect_after_ms": 1375, "deadline_ms": 30_000}),
        *(
            (f"error {code}", {"type": "error", "id": 5, "code": code, "message": "why, in words"})
            for code in _ERRORS
        ),
        ("error to what had no id", {"type": "error", "code": "bad_command", "message": "op is missing"}),
        ("pong", {"type": "pong", "id": 6, "data": {"sent": [1, None, True, 1.5, "€"]}, "time": TS}),
        ("pong, nothing was given", {"type": "pong", "time": TS}),
    ]
