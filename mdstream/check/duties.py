"""What a writer must do in time: signs of life, snapshots after a change, and both again though nothing changed."""

from __future__ import annotations

from collections import deque
from typing import Final

from mdstream._core.codec.feed_decoder import StatusValue

PERIODS_S: Final = {"status": 10.0, "ref": 60.0, "snap": 60.0}
"""How often a stream comes at least."""
SNAP_S = 5.0
SNAP_UPDATES = 1000
"""A snapshot is due so long, or so many updates, after a change."""
GRACE_S = 1.0
"""What the way from the writer to here, and a timer that is late, may take."""
GRACE_UPDATES = 100
SAME_TS_S = 10.0
"""So long the time of a venue's events may stand still while they come."""

Fault = tuple[str, str, str]
"""Rule, stream, what is wrong."""


class Duties:
    """Times are monotonic seconds; what the writer's clock says is only compared with what it said before."""

    def __init__(self, started_s: float) -> None:
        self.begin(started_s)

    # ---- what comes

    def begin(self, at_s: float) -> None:
        """The check begins, a new epoch does, or messages were missed."""
        self._last_s = dict.fromkeys(PERIODS_S, at_s)
        self._unsnapped: deque[tuple[int, float]] = deque()
        """Number and time of each update that no snapshot holds yet."""
        self._events: dict[str, tuple[int, float]] = {}
        """Stream → the time that its events have, and since when."""
        self._moved_s: float | None = None
        self._status: tuple[int, float] | None = None

    def came(self, stream: str, at_s: float) -> None:
        """A message of ``ref``, ``snap`` or ``status``; also one that was stored at that time."""
        self._last_s[stream] = at_s

    def updated(self, last: int, ts_us: int, at_s: float) -> list[Fault]:
        """An update of the book came, up to number ``last``."""
        self._unsnapped.append((last, at_s))
        return self._moved("book", ts_us, at_s)

    def traded(self, ts_us: int, at_s: float) -> list[Fault]:
        return self._moved("trade", ts_us, at_s)

    def _moved(self, stream: str, ts_us: int, at_s: float) -> list[Fault]:
        self._moved_s = at_s
        before_us, since_s = self._events.get(stream, (0, at_s))
        if before_us != ts_us:
            self._events[stream] = ts_us, at_s
        elif at_s - since_s > SAME_TS_S:
            return [("ts_stuck", stream, f"ts {ts_us} came {at_s - since_s:.1f} s ago already")]
        return []

    def snapped(self, seq: int) -> None:
        """A snapshot came that holds the updates up to number ``seq``."""
        while self._unsnapped and self._unsnapped[0][0] <= seq:
            self._unsnapped.popleft()

    def excuse_snap(self) -> None:
        """What is missing is told already."""
        self._unsnapped.clear()

    # ---- what is late

    def late(self, at_s: float) -> list[Fault]:
        """What should have come by now; each is told again after another period."""
        faults: list[Fault] = []
        for stream, period_s in PERIODS_S.items():
            silent_s = at_s - self._last_s[stream]
            if silent_s > period_s + GRACE_S:
                self._last_s[stream] = at_s
                rule = "status_late" if stream == "status" else "repeat_late"
                faults.append((rule, stream, f"no {stream} for {silent_s:.1f} s"))
        return faults + self._late_snap(at_s)

    def _late_snap(self, at_s: float) -> list[Fault]:
        if not self._unsnapped:
            return []
        waited_s, updates = at_s - self._unsnapped[0][1], len(self._unsnapped)
        if waited_s <= SNAP_S + GRACE_S and updates <= SNAP_UPDATES + GRACE_UPDATES:
            return []
        said = f"a change of {waited_s:.1f} s ago is in no snap, nor are the {updates} updates since"
        self.excuse_snap()
        self.came("snap", at_s)
        return [("snap_late", "snap", said)]

    def status(self, value: StatusValue, at_s: float) -> list[Fault]:
        """What the times of a live ``status`` tell. ``heard_us`` is None in the form of five values."""
        before, self._status = self._status, (value.ts_us, at_s)
        faults: list[Fault] = []
        if before is not None and value.ts_us == before[0] and at_s - before[1] > GRACE_S:
            faults.append(
                ("ts_stuck", "status", f"ts {value.ts_us} came {at_s - before[1]:.1f} s ago already")
            )
        if value.heard_us is None:
            return [
                *faults,
                ("status_short", "status", "five values: book_seq, trade_seq and heard are missing"),
            ]
        return faults + self._stuck(value.ts_us - value.heard_us, at_s)

    def _stuck(self, age_us: int, at_s: float) -> list[Fault]:
        if self._moved_s is None or age_us / 1e6 <= at_s - self._moved_s + GRACE_S:
            return []
        moved_s = at_s - self._moved_s
        said = f"heard is {age_us / 1e6:.1f} s before ts, yet an update or trade came {moved_s:.1f} s ago"
        return [("heard_stuck", "status", said)]
