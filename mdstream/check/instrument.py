"""The check of one instrument, without I/O: payloads and times go in, findings come out."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mdstream._core.codec.feed_decoder import BookValue, SnapValue, StatusValue, TradeValue, decode_payload
from mdstream.bus import Stored, subject
from mdstream.check.duties import Duties, Fault
from mdstream.check.findings import Finding, Findings
from mdstream.check.follower import BookFollower
from mdstream.check.numbering import AGAIN, NEXT, Numbering
from mdstream.check.payload import Refusal, loose_numbers, refusal
from mdstream.errors import PayloadError
from mdstream.model import MAX_NUMBER, InstrumentId, Ref

ANNOUNCEMENT = ("ref", "status", "snap")
"""In the order of the contract."""
ANNOUNCED_S = 2.0
"""How long after the first value of an epoch its announcement may be incomplete."""
STORED_S = 2.0
"""How much older than the last live message the stored one may be."""
AHEAD_US = 3_600_000_000
OLDEST_US = 100_000_000_000_000
"""In 1973: less than this is no time in µs."""

Value = BookValue | SnapValue | TradeValue | StatusValue | Ref


@dataclass(slots=True)
class Epoch:
    """What is known of the newest epoch."""

    number: int
    began_s: float
    announced: set[str]
    heard: bool
    """Its beginning came live, so the order of its announcement can be judged."""
    scale: tuple[int, int] | None = None
    told_order: bool = False
    told_missing: bool = False


class InstrumentCheck:
    """``take`` live messages in the order of their arrival, ``catch_up`` once with what is stored, ``tick`` about once a second."""

    def __init__(
        self,
        instrument: InstrumentId,
        started_s: float,
        *,
        wall_us: Callable[[float], int],
        max_payload: int = 1_048_576,
    ) -> None:
        """``wall_us`` gives the NATS server's time of a monotonic time."""
        self.id = instrument
        self.findings = Findings()
        self.counts: Counter[str] = Counter()
        self.live: dict[str, deque[tuple[float, bytes]]] = {}
        """Stream → its last live messages, of ``STORED_S``, and when each came."""
        self.subjects: dict[str, str] = {}
        """Stream → the subject on which it comes, where that is not the right one."""
        self.epoch = 0
        self.state = ""
        self.book = BookFollower(str(instrument))
        self.numbers = {"book": Numbering(None), "trade": Numbering(None)}
        self._wall_us = wall_us
        self._max_payload = max_payload
        self._started_s = started_s
        self._duties = Duties(started_s)
        self._epoch: Epoch | None = None
        self._refused: set[str] = set()
        self._unnumbered: set[str] = set()
        """Streams of which the newest message could not be read at all."""
        self._at_last_status: dict[str, int] = {}
        self._catching_up = False
        self._new: list[Finding] = []
        self._now_s = started_s
        self._nothing_before = False

    # ---- what comes in

    def take(self, stream: str, payload: bytes, at_s: float, on: str = "") -> list[Finding]:
        """A live message, on another subject than the right one where ``on`` names it. Returns what is found for the first time."""
        if on:
            self.subjects[stream] = on
        self._tick(at_s)
        self._remember(stream, payload, at_s)
        self.counts[stream] += 1
        self._payload(stream, payload)
        return self._found()

    def catch_up(
        self, stored: Mapping[str, Stored], log: Mapping[str, Sequence[bytes]], at_s: float
    ) -> list[Finding]:
        """What the streams held when the check began: of ``ref``, ``status`` and ``snap`` the last, of ``book`` and ``trade`` the log."""
        self._now_s, self._catching_up = at_s, True
        last = {stream: stored[stream].payload for stream in ANNOUNCEMENT if stream in stored}
        snap = last.pop("snap", None) if _from_start(log.get("book", ())) else None
        for stream, payload in last.items():
            self._payload(stream, payload)
        for stream in ("book", "trade"):
            for payload in log.get(stream, ()):
                self._payload(stream, payload)
        if snap is not None:
            self._payload("snap", snap)
        for stream, message in stored.items():
            age_s = max(self._wall_us(at_s) - message.stored_us, 0) / 1e6
            self._duties.came(stream, at_s - age_s)
        self._nothing_before = not stored and not any(log.values())
        self._catching_up = False
        return self._found()

    def _remember(self, stream: str, payload: bytes, at_s: float) -> None:
        live = self.live.setdefault(stream, deque())
        live.append((at_s, payload))
        while live[0][0] < at_s - STORED_S:
            live.popleft()

    def tick(self, at_s: float) -> list[Finding]:
        """Finds what is late."""
        self._tick(at_s)
        return self._found()

    def missed(self, at_s: float) -> None:
        """Messages were missed on the way here, which is not the writer's fault."""
        self._now_s = at_s
        self._duties.begin(at_s)
        self.book.lose()
        self._at_last_status.clear()
        for numbers in self.numbers.values():
            numbers.forget()

    def is_stored(self, stream: str, message: Stored | None) -> bool:
        """Whether the newest stored message of a stream is as new as what was heard of it. What came just now may still be on its way
        into the stream."""
        return not self._missing(stream, message)

    def stored_at_end(self, stream: str, message: Stored | None) -> list[Finding]:
        """The newest stored message of a stream, some time after the last live one."""
        if said := self._missing(stream, message):
            self._add("not_stored", stream, said)
        return self._found()

    def _missing(self, stream: str, message: Stored | None) -> str:
        """What is not stored; empty: nothing."""
        if stream not in self.live or stream in self.subjects:
            return ""
        if message is None:
            return f"{stream} is heard, and nothing is stored of it"
        live = self.live[stream]
        if any(payload == message.payload for _, payload in live):
            return ""  # one of those that were heard; a busy machine hears them long after they were stored
        old_s = (self._wall_us(live[-1][0]) - message.stored_us) / 1e6
        return (
            "" if old_s <= STORED_S else f"the stored {stream} is {old_s:.1f} s older than the last one heard"
        )

    def misplaced(self, name: str, said: str, at_s: float) -> list[Finding]:
        """Something comes on a subject that nobody reads."""
        self._now_s = at_s
        self._add("subject", "", said, on=name)
        return self._found()

    def silent(self, said: str) -> list[Finding]:
        """Nothing is stored and nothing came."""
        self._add("nothing", "", said, on=subject(self.id, "*"))
        return self._found()

    @property
    def stopped(self) -> bool:
        """Whether its writer said that it stops, and nothing came since."""
        return not self.live and self.state == "feed_down"

    @property
    def beginning_heard(self) -> bool:
        """Whether the newest epoch began while the check ran."""
        return self._epoch is not None and self._epoch.heard

    # ---- any value

    def _payload(self, stream: str, payload: bytes) -> None:
        try:
            values = decode_payload(stream, payload)
        except PayloadError as error:
            self._refuse(stream, payload, refusal(stream, payload, error))
            return
        self._unnumbered.discard(stream)
        for value in values:
            self._value(stream, value)

    def _refuse(self, stream: str, payload: bytes, why: Refusal) -> None:
        where: dict[str, Any] = {"field": why.field, "byte": why.byte, "value": why.value}
        self._add(why.rule, stream, f"{why.field}, byte {why.byte}: {why.said}", **where)
        self._refused.add(stream)
        if self._epoch is not None:
            self._epoch.announced.add(stream)
        if stream in self.numbers:
            self._refused_numbers(stream, payload)
        elif not self._catching_up:
            self._came_amiss(stream)

    def _refused_numbers(self, stream: str, payload: bytes) -> None:
        """What is refused uses its numbers all the same: what follows is not a gap as well."""
        if stream == "book":
            self.book.lose()
        numbers = self.numbers[stream]
        found = loose_numbers(stream, payload)
        if found is None:
            self._unnumbered.add(stream)
            numbers.forget()
            return
        for epoch, _, last in found:
            if epoch == self.epoch and last > (numbers.last or 0):
                numbers.last = last

    def _value(self, stream: str, value: Value) -> None:
        if not self._epoch_follows(stream, value.epoch):
            return
        self._announced(stream)
        if not isinstance(value, Ref):
            self._check_ts(stream, value.ts_us)
        if isinstance(value, Ref):
            self._ref(value)
        elif isinstance(value, StatusValue):
            self._status(value)
        elif isinstance(value, SnapValue):
            self._snap(value)
        elif isinstance(value, BookValue):
            self._update(value)
        else:
            self._trade(value)

    def _check_ts(self, stream: str, ts_us: int) -> None:
        if ts_us < OLDEST_US:
            self._add("ts_unit", stream, f"ts {ts_us} is no time in µs", field="ts", value=str(ts_us))
        elif ts_us > self._wall_us(self._now_s) + AHEAD_US:
            ahead_s = (ts_us - self._wall_us(self._now_s)) / 1e6
            said = f"ts {ts_us} lies {ahead_s:.0f} s ahead of the server's clock"
            self._add("ts_ahead", stream, said, field="ts", value=str(ts_us))

    # ---- epochs and announcements

    def _epoch_follows(self, stream: str, epoch: int) -> bool:
        if epoch == self.epoch:
            return True
        shown: dict[str, Any] = {"field": "epoch", "value": str(epoch)}
        if epoch < self.epoch:
            if not self._catching_up:
                said = f"a value came with epoch {epoch}; {self.epoch} is known"
                self._add("epoch_smaller", stream, said, **shown)
                self._came_amiss(stream)
            return False
        if epoch > self._wall_us(self._now_s) + AHEAD_US:
            ahead_s = (epoch - self._wall_us(self._now_s)) / 1e6
            said = f"epoch {epoch} lies {ahead_s:.0f} s ahead of the server's clock"
            self._add("epoch_ahead", stream, said, **shown)
            return False
        if epoch < OLDEST_US:
            self._add("epoch_unit", stream, f"epoch {epoch} is no time in µs", **shown)
        self._begin(epoch)
        return True

    def _begin(self, epoch: int) -> None:
        heard = not self._catching_up and (self.epoch > 0 or self._nothing_before)
        self.epoch = epoch
        self._epoch = Epoch(epoch, self._now_s, set(self._refused), heard)
        self._at_last_status.clear()
        self.numbers = {name: Numbering(0 if heard else None) for name in self.numbers}
        self.book.lose()
        if heard:
            self.book.begin(epoch)
        if not self._catching_up:
            self._duties.begin(self._now_s)

    def _announced(self, stream: str) -> None:
        epoch = self._epoch
        assert epoch is not None
        if stream not in epoch.announced and epoch.heard and not epoch.told_order:
            wanted = ANNOUNCEMENT[: ANNOUNCEMENT.index(stream)] if stream in ANNOUNCEMENT else ANNOUNCEMENT
            before = [name for name in wanted if name not in epoch.announced]
            if before:
                said = f"the first {stream} of epoch {epoch.number} came before its {' and '.join(before)}"
                self._add("order", stream, said)
                epoch.told_order = True
        epoch.announced.add(stream)

    # ---- the streams

    def _ref(self, ref: Ref) -> None:
        epoch = self._epoch
        assert epoch is not None
        scale = ref.price_exp, ref.size_exp
        if epoch.scale is None:
            epoch.scale = scale
        elif scale != epoch.scale:
            was = "price_exp {}, size_exp {}".format(*epoch.scale)
            now = "price_exp {}, size_exp {}".format(*scale)
            self._add("scale", "ref", f"{now} in epoch {ref.epoch}, which began with {was}")
        self._came("ref")

    def _status(self, value: StatusValue) -> None:
        self.state = value.state
        self._came("status")
        if value.heard_us and value.heard_us < OLDEST_US:
            said = f"heard {value.heard_us} is no time in µs"
            self._add("ts_unit", "status", said, field="heard", value=str(value.heard_us))
            value = value._replace(heard_us=value.ts_us)
        if self._catching_up:
            self._faults(Duties(self._now_s).status(value, self._now_s))
            return
        self._faults(self._duties.status(value, self._now_s))
        for stream, number in (("book", value.book_seq), ("trade", value.trade_seq)):
            if number is not None:
                self._counted(stream, number)

    def _counted(self, stream: str, number: int) -> None:
        """Compares a number in ``status`` with what came."""
        numbers = self.numbers[stream]
        newest, least = numbers.last, self._at_last_status.get(stream, 0)
        if newest is None or stream in self._unnumbered:
            return
        self._at_last_status[stream] = numbers.live_last
        shown: dict[str, Any] = {"field": f"{stream}_seq", "value": str(number)}
        if number > newest:
            self._add(
                "status_ahead", "status", f"{stream}_seq {number}: the newest that came is {newest}", **shown
            )
        elif number < least:
            said = f"{stream}_seq {number}: {least} came before the last status"
            self._add("status_behind", "status", said, **shown)

    def _snap(self, value: SnapValue) -> None:
        self._came("snap")
        numbers = self.numbers["book"]
        newest = numbers.last
        if newest is None or (value.seq > newest and "book" in self._unnumbered):
            numbers.begin(value.seq)
        elif value.seq > newest:
            self._add("snap_ahead", "snap", f"seq {value.seq}: the newest update that came is {newest}")
            self.book.lose()
            numbers.begin(value.seq)
        if fault := self.book.take(value):
            self._add(fault[0], "snap", fault[1])
        if not self._catching_up:
            self._duties.snapped(value.seq)

    def _update(self, value: BookValue) -> None:
        content = value.first, tuple(value.bids), tuple(value.asks)
        if value.first == 1 and self.numbers["book"].last is None:
            self.book.begin(value.epoch)
        if not self._numbered("book", value.first, value.last, content):
            return
        if any(len(set(flat[::2])) * 2 != len(flat) for flat in (value.bids, value.asks)):
            self._add("level_twice", "book", f"{value.last} names a level twice")
        if fault := self.book.apply(value):
            self._add(fault[0], "book", fault[1])
        if not self._catching_up:
            self._faults(self._duties.updated(value.last, value.ts_us, self._now_s))

    def _trade(self, value: TradeValue) -> None:
        if not self._numbered("trade", value.seq, value.seq, value[3:]):
            return
        if isinstance(value.trade_id, int) and abs(value.trade_id) > MAX_NUMBER:
            said = f"trade {value.seq} has an id beyond 2^53 − 1"
            self._add("trade_id", "trade", said, field="trade_id", value=str(value.trade_id))
        if not self._catching_up:
            self._faults(self._duties.traded(value.ts_us, self._now_s))

    def _numbered(self, stream: str, first: int, last: int, content: tuple[object, ...]) -> bool:
        """Whether the numbers are new; a hole or a contradiction makes the book unknown until the next snapshot."""
        outcome, said = self.numbers[stream].take(first, last, content, live=not self._catching_up)
        if outcome == AGAIN:
            return False
        if outcome == NEXT:
            return True
        self._add(outcome, stream, said, field="first" if stream == "book" else "seq", value=str(first))
        if stream == "book":
            self.book.lose()
        return outcome == "numbering"

    # ---- time

    def _came(self, stream: str) -> None:
        if not self._catching_up:
            self._duties.came(stream, self._now_s)

    def _came_amiss(self, stream: str) -> None:
        """What is refused is told once, and not as late too."""
        if stream in ANNOUNCEMENT:
            self._duties.came(stream, self._now_s)
        if stream == "snap":
            self._duties.excuse_snap()

    def _tick(self, at_s: float) -> None:
        self._now_s, epoch = at_s, self._epoch
        if epoch is None or self.stopped:
            return
        if not epoch.told_order and not epoch.told_missing and at_s - epoch.began_s > ANNOUNCED_S:
            epoch.told_missing = True
            for stream in ANNOUNCEMENT:
                if stream not in epoch.announced:
                    self._add("missing", stream, f"epoch {epoch.number} has no {stream}")
        faults = self._duties.late(at_s)
        self._faults([fault for fault in faults if fault[1] in epoch.announced])

    def _faults(self, faults: Sequence[Fault]) -> None:
        for rule, stream, said in faults:
            size = self.book.snap_bytes() if rule == "snap_late" else 0
            if size > self._max_payload:
                rule, said = (
                    "max_payload",
                    f"{said}: it takes {size} bytes, and max_payload is {self._max_payload}",
                )
            self._add(rule, stream, said)

    # ---- findings

    def _add(self, rule: str, stream: str, said: str, *, on: str = "", **where: Any) -> None:
        """``where`` is field, byte and value of the finding."""
        name = on or self.subjects.get(stream) or subject(self.id, stream)
        after_s = 0.0 if self._catching_up else self._now_s - self._started_s
        if found := self.findings.add(Finding(rule, name, said, after_s, **where)):
            self._new.append(found)

    def _found(self) -> list[Finding]:
        found, self._new = self._new, []
        return found


def _from_start(log: Sequence[bytes]) -> bool:
    """Whether the log begins with the first update of an epoch."""
    try:
        return bool(log) and decode_payload("book", log[0])[0].first == 1
    except PayloadError:
        return False
