"""What a reader was told, held against the truth."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from truth import patience
from truth.model import Span, Truth

if TYPE_CHECKING:
    from truth.reader import Moment, Reader, Shown

MAX_NOTES = 6
TOLERANCE_S = 0.3
"""What a message needs from a writer's call to a reader's note. The delay that a run measures of its own loop comes on top."""


@dataclass(frozen=True)
class Bounds:
    """How old what is shown may be while clients are told ``live``."""

    silent_s: float
    """The venue's last word: ``stale_after_ms`` and a second."""
    behind_s: float = 1.0
    """Something newer is published, and the gateway could know."""
    doubt_s: float = 1.0
    """The writer says that the venue is down, or a contradiction is on the bus."""


@dataclass
class Verdict:
    """The findings of one reader. Seconds are the longest time, beyond the bound, that it was told ``live``."""

    who: str
    shown: int = 0
    """Books, tickers and trades that were compared."""
    wrong: int = 0
    back: int = 0
    scale: int = 0
    empty: int = 0
    broken: int = 0
    """Numbers that do not follow, checksums that differ, trades twice or missing without a word."""
    live_behind_s: float = 0.0
    live_silent_s: float = 0.0
    live_doubted_s: float = 0.0
    live_wrong_s: float = 0.0
    live_with_nothing_s: float = 0.0
    not_live_s: float = 0.0
    """The longest time not told ``live``, after the first; no fault by itself."""
    tolerance_s: float = TOLERANCE_S
    notes: list[str] = field(default_factory=list)

    def faults(self) -> list[str]:
        counts = [
            f"{getattr(self, name)} {text}"
            for name, text in (
                ("wrong", "times what it was shown was not the truth at that number"),
                ("back", "times it was taken back"),
                ("scale", "times it was shown another scale"),
                ("empty", "times it was shown a book at 0"),
                ("broken", "times numbers or checksums were broken"),
            )
            if getattr(self, name)
        ]
        times = [
            f"told live for {getattr(self, name):.2f} s {text}"
            for name, text in (
                ("live_behind_s", "with an older book than the bound allows"),
                ("live_silent_s", "though the venue was silent for longer than the bound"),
                ("live_doubted_s", "though the bus said otherwise"),
                ("live_wrong_s", "with a book that never was"),
                ("live_with_nothing_s", "with nothing to show"),
            )
            if patience.times_count() and getattr(self, name) > self.tolerance_s
        ]
        return [f"{self.who}: {text}" for text in counts + times]

    def as_dict(self) -> dict[str, Any]:
        return asdict(self) | {"faults": self.faults()}


def judge(reader: Reader, bounds: Bounds, tolerance_s: float = TOLERANCE_S) -> Verdict:
    """The verdict until now."""
    end = reader.clock()
    truth, moments = reader.truth, reader.moments
    verdict = Verdict(reader.who, tolerance_s=tolerance_s, notes=reader.notes[:])
    verdict.shown, verdict.not_live_s = len(reader.shown), _longest(_not_live(reader, end))
    for name, count in reader.counts.items():
        setattr(verdict, name, count)
    for shown in reader.shown:
        _compare(shown, truth, verdict)
    forbidden = {
        "live_silent_s": truth.silences(bounds.silent_s, end),
        "live_doubted_s": truth.doubts(bounds.doubt_s, end, trades=reader.channel == "trades"),
    }
    behind: list[Span] = []
    nothing: list[Span] = []
    wrong: list[Span] = []
    lies: dict[str, list[Span]] = {name: [] for name in forbidden}
    for moment, until in _held(moments, end):
        if not moment.live:
            continue
        span = moment.at, until
        for name, spans in forbidden.items():
            lies[name] += _overlaps(span, spans)
        if reader.channel != "trades" and moment.position is None:
            nothing += _overlaps(span, [(moment.at + bounds.behind_s, until)])
        elif reader.channel == "book" and moment.position is not None:
            behind += _overlaps(span, [(truth.superseded(moment.position) + bounds.behind_s, until)])
            if truth.marks.get(moment.position) != moment.mark:
                wrong.append(span)
    verdict.live_behind_s, verdict.live_with_nothing_s = _longest(behind), _longest(nothing)
    verdict.live_silent_s, verdict.live_doubted_s = (_longest(lies[name]) for name in forbidden)
    # In an epoch with two writers a reader needs a second to know; elsewhere ``wrong`` has counted it.
    verdict.live_wrong_s = max(0.0, _longest(wrong) - bounds.doubt_s)
    return verdict


def _compare(shown: Shown, truth: Truth, verdict: Verdict) -> None:
    """Counts what is wrong with one thing that was shown."""
    epoch = shown.position[0]
    if shown.scale != truth.scales.get(epoch, shown.scale):
        verdict.scale += 1
        _note(verdict, f"scale: {shown.scale} at {shown.position}, where it is {truth.scales[epoch]}")
    elif epoch not in truth.contested and not _right(shown, truth):
        verdict.wrong += 1
        value = shown.value[1] if shown.what == "book" else shown.value
        _note(verdict, f"wrong: {shown.what} {value} at {shown.position}")


def _right(shown: Shown, truth: Truth) -> bool:
    match shown.what:
        case "book":
            return truth.marks.get(shown.position) == shown.value[0]
        case "ticker":
            return truth.bests.get(shown.position) == shown.value
        case "last":
            return (shown.position[0], shown.value) in truth.traded
        case _:
            return truth.trades.get(shown.position) == shown.value


def _note(verdict: Verdict, text: str) -> None:
    if len(verdict.notes) < MAX_NOTES:
        verdict.notes.append(text)


def _not_live(reader: Reader, end: float) -> list[Span]:
    moments = reader.moments
    begun = next((at for at, moment in enumerate(moments) if moment.live), len(moments))
    return [(moment.at, until) for moment, until in _held(moments[begun:], end) if not moment.live]


def _held(moments: list[Moment], end: float) -> list[tuple[Moment, float]]:
    """Each moment, with the time until which it held."""
    return list(zip(moments, [*(each.at for each in moments[1:]), end], strict=False))


def _overlaps(span: Span, others: Iterable[Span]) -> list[Span]:
    cut = [(max(span[0], other[0]), min(span[1], other[1])) for other in others]
    return [each for each in cut if each[1] > each[0]]


def _longest(spans: Iterable[Span]) -> float:
    """The longest stretch; spans that touch are one."""
    longest = begun = ended = 0.0
    for since, until in sorted(spans):
        if since > ended + 1e-6:
            begun = since
        ended = max(ended, until)
        longest = max(longest, ended - begun)
    return longest
