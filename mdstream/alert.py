"""Price alerts: what a user asks to be told of a price, and what becomes of an alert by a price. Without I/O.

An alert is a value in the map ``alerts.<subject>`` of its user; its key is the user's name for it::

    {"instrument": "SIM:BTC-USD", "on": "bid", "when": "above", "price": "64000.50", "once": true, "note": "sell"}

A price is below the alert's, above it, or equal. Equal is neither: it changes nothing. So what happens depends on one thing that is
remembered, the side on which the price was last.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from mdstream.model import MAX_NUMBER, InstrumentId

ON: Final = ("bid", "ask", "last")
"""The prices of which there are alerts: the best bid, the best ask, the last trade."""
WHEN: Final = ("above", "below", "crosses")
MAX_ALERTS: Final = 200
"""Of one user."""
MAX_NOTE: Final = 256
"""Characters."""
MOST_A_MINUTE: Final = 60
"""Crossings of one alert in a minute of the market. With this one it is paused."""
EVENT: Final = "alert"
"""The ``type`` of its events."""
SENDER: Final = "mdstream alerts"
"""Who tells them, and marks alerts that have fired."""

BELOW: Final = -1
UNKNOWN: Final = 0
ABOVE: Final = 1
_MINUTE_US: Final = 60_000_000
_PRICE = re.compile(r"-?[0-9]{1,34}(?:\.[0-9]{1,18})?")
_REQUIRED: Final = ("instrument", "on", "when", "price")
_FIELDS: Final = (*_REQUIRED, "once", "note")
FIRED: Final = "fired"
"""The field that the watcher adds, and nobody else."""


class Price(NamedTuple):
    """An exact decimal: ``units`` × 10^``exponent``."""

    units: int
    exponent: int

    @classmethod
    def parse(cls, text: object) -> Price:
        """Raises ValueError."""
        if not isinstance(text, str) or not _PRICE.fullmatch(text):
            raise ValueError(
                'price must be an exact decimal as a string, such as "64000.50": at most 34 digits, and 18 after the point'
            )
        whole, _, fraction = text.partition(".")
        return cls(int(whole + fraction), -len(fraction))

    def in_ticks(self, price_exp: int) -> tuple[int, int]:
        """The ticks next to it, down and up; both are the same where it is on the grid."""
        shift = self.exponent - price_exp
        if shift >= 0:
            ticks = self.units * 10**shift
            return ticks, ticks
        return self.units // 10**-shift, -(-self.units // 10**-shift)


def price_text(ticks: int, price_exp: int) -> str:
    """As in JSON messages: exactly ``-price_exp`` decimals."""
    if price_exp >= 0:
        return str(ticks * 10**price_exp)
    digits = f"{abs(ticks):0{1 - price_exp}d}"
    return f"{'-' if ticks < 0 else ''}{digits[:price_exp]}.{digits[price_exp:]}"


class Fired(NamedTuple):
    """What the watcher writes into an alert that has fired. ``rev`` is that of the change by which its user set it."""

    rev: int
    count: int  # type: ignore[assignment]  # a tuple has a method of this name
    ts_us: int
    price: str
    paused: bool

    def value(self) -> dict[str, Any]:
        return {
            "rev": self.rev,
            "count": self.count,
            "ts": self.ts_us,
            "price": self.price,
            "paused": self.paused,
        }

    @classmethod
    def read(cls, value: object) -> Fired:
        """Raises ValueError."""
        if not isinstance(value, dict):
            raise ValueError(f"{FIRED} must be a map")
        fired = cls(*(value.get(name) for name in ("rev", "count", "ts", "price", "paused")))  # type: ignore[arg-type]
        if not all(type(each) is int and 0 <= each <= MAX_NUMBER for each in fired[:3]):
            raise ValueError(f"rev, count and ts of {FIRED} must be whole numbers")
        if not isinstance(fired.price, str) or type(fired.paused) is not bool:
            raise ValueError(f"price of {FIRED} must be a string, and paused true or false")
        return fired


@dataclass(frozen=True, slots=True)
class Alert:
    """What a user asks to be told."""

    instrument: InstrumentId
    on: str
    when: str
    text: str
    """The price as the user wrote it."""
    price: Price
    once: bool = True
    note: str = ""
    fired: Fired | None = None


def read_alert(value: object) -> Alert:
    """What a map holds. Raises ValueError, which says what is wrong and how it must be."""
    if not isinstance(value, dict):
        raise ValueError(f"an alert is a map with {', '.join(_REQUIRED)}, and perhaps once and note")
    for name in value:
        if name not in _FIELDS and name != FIRED:
            raise ValueError(f"an alert has {', '.join(_FIELDS)}, and nothing else")
    if missing := [name for name in _REQUIRED if name not in value]:
        raise ValueError(f"an alert needs {', '.join(missing)}")
    once, note = value.get("once", True), value.get("note", "")
    if type(once) is not bool:
        raise ValueError("once must be true or false")
    if not isinstance(note, str) or len(note) > MAX_NOTE:
        raise ValueError(f"note must be a string of at most {MAX_NOTE} characters")
    return Alert(
        _instrument(value["instrument"]),
        _one_of("on", value["on"], ON),
        _one_of("when", value["when"], WHEN),
        value["price"],
        Price.parse(value["price"]),
        once,
        note,
        Fired.read(value[FIRED]) if FIRED in value else None,
    )


def read_new_alert(value: object) -> Alert:
    """What a user puts. Raises ValueError."""
    if isinstance(value, dict) and FIRED in value:
        raise ValueError(
            f"{FIRED} is written when an alert has fired; leave it out, and the alert is armed anew"
        )
    return read_alert(value)


def _instrument(value: object) -> InstrumentId:
    if not isinstance(value, str):
        raise ValueError("instrument must be a string such as SIM:BTC-USD")
    return InstrumentId.parse(value)


def _one_of(name: str, value: object, known: tuple[str, ...]) -> str:
    if not isinstance(value, str) or value not in known:
        raise ValueError(f"{name} must be one of {', '.join(known)}")
    return value


# ---- what becomes of it


def side_of(alert: Alert, ticks: int, price_exp: int) -> int:
    """Where a price is of an alert's: ``ABOVE``, ``BELOW``, or ``UNKNOWN`` where both are the same."""
    down, up = alert.price.in_ticks(price_exp)
    return ABOVE if ticks > down else BELOW if ticks < up else UNKNOWN


@dataclass(slots=True)
class AlertState:
    """What is remembered of an alert: up to the number ``seq`` of ``epoch`` of the book, or of the trades."""

    epoch: int = 0
    seq: int = 0
    side: int = UNKNOWN
    """Where the price was last: ``ABOVE``, ``BELOW``, or nobody knows yet."""
    count: int = 0
    """How often it has fired."""
    minute: int = 0
    in_minute: int = 0
    """The minute of the market in which it fired last, and how often."""
    paused: bool = False
    """It fired too often; its user must set it again."""


def is_over(alert: Alert, state: AlertState) -> bool:
    """Whether it never fires again."""
    return state.paused or (alert.once and state.count > 0)


def move(alert: Alert, state: AlertState, side: int, ts_us: int) -> bool:
    """The price is on this side now; returns whether the alert fires."""
    before = state.side
    if side in (UNKNOWN, before):
        return False
    state.side = side
    if is_over(alert, state) or not _fires(alert.when, before, side):
        return False
    state.count += 1
    minute = ts_us // _MINUTE_US
    state.in_minute = state.in_minute + 1 if minute == state.minute else 1
    state.minute = minute
    state.paused = not alert.once and state.in_minute >= MOST_A_MINUTE
    return True


def _fires(when: str, before: int, side: int) -> bool:
    """An alert ``above`` also fires if the price is above when it is set; one that ``crosses`` learns the side then."""
    if when == "crosses":
        return before != UNKNOWN
    return side == (ABOVE if when == "above" else BELOW)


def crossing_id(rev: int, epoch: int, seq: int) -> str:
    """Names a crossing among those of an alert."""
    return f"{rev}.{epoch}.{seq}"


def event_data(
    key: str, rev: int, alert: Alert, state: AlertState, price: str, ts_us: int, *, late: bool
) -> dict[str, Any]:
    """What the event of a crossing says; ``state`` is that after it."""
    data = {
        "alert": key,
        "instrument": str(alert.instrument),
        "on": alert.on,
        "when": alert.when,
        "price": alert.text,
        "crossed": price,
        "epoch": state.epoch,
        "seq": state.seq,
        "ts": ts_us,
        "rev": rev,
        "count": state.count,
        "id": crossing_id(rev, state.epoch, state.seq),
    }
    more = {"note": alert.note, "late": late, "paused": state.paused}
    return data | {name: value for name, value in more.items() if value}
