"""The verdict of a check, as text and as JSON."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any

from mdstream.check.duties import PERIODS_S
from mdstream.check.findings import Finding
from mdstream.check.instrument import InstrumentCheck
from mdstream.printable import printable

SHOWN_ORDER = ("ref", "status", "snap", "book", "trade")


class Verdict(StrEnum):
    RIGHT = "right"
    WRONG = "wrong"
    STOPPED = "stopped"
    """Its writer said ``feed_down`` before the check began, and nothing came since."""


@dataclass(frozen=True, slots=True)
class InstrumentReport:
    """What was found of one instrument."""

    instrument: str
    verdict: Verdict
    epoch: int
    state: str
    book_seq: int
    trade_seq: int
    heard: dict[str, int]
    """Stream → messages that came."""
    snaps_compared: int
    findings: list[Finding]
    not_tested: list[str]

    @classmethod
    def of(cls, check: InstrumentCheck, listened_s: float) -> InstrumentReport:
        findings = list(check.findings)
        verdict = Verdict.WRONG if findings else Verdict.STOPPED if check.stopped else Verdict.RIGHT
        return cls(
            instrument=str(check.id),
            verdict=verdict,
            epoch=check.epoch,
            state=check.state,
            book_seq=check.numbers["book"].last or 0,
            trade_seq=check.numbers["trade"].last or 0,
            heard={stream: check.counts[stream] for stream in SHOWN_ORDER if check.counts[stream]},
            snaps_compared=check.book.compared,
            findings=findings,
            not_tested=list(_not_tested(check, listened_s)),
        )

    def lines(self) -> Iterator[str]:
        yield f"{printable(self.instrument)}  {self.verdict}"
        heard = ", ".join(f"{count} {stream}" for stream, count in self.heard.items()) or "nothing"
        compared = f"; {self.snaps_compared} snaps compared with the updates"
        yield f"  heard {heard}; epoch {self.epoch}, book at {self.book_seq}, trades at {self.trade_seq}{compared}"
        for finding in self.findings:
            yield from _finding_lines(finding)
        if self.not_tested and self.verdict is not Verdict.STOPPED:
            yield f"  not tested: {'; '.join(self.not_tested)}"


@dataclass(frozen=True, slots=True)
class BusReport:
    """What was found on a bus."""

    nats: str
    listened_s: float
    bus: list[Finding]
    """What concerns no single instrument."""
    instruments: list[InstrumentReport]
    leases: dict[str, str] = field(default_factory=dict)
    """Venue and group of feed handlers that share instruments → who writes since when, and who stands by."""

    @property
    def verdict(self) -> Verdict:
        """``STOPPED`` if no instrument is wrong and no writer runs."""
        verdicts = {report.verdict for report in self.instruments}
        if self.bus or Verdict.WRONG in verdicts or not verdicts:
            return Verdict.WRONG
        return Verdict.RIGHT if Verdict.RIGHT in verdicts else Verdict.STOPPED

    def as_json(self) -> dict[str, Any]:
        return {
            "verdict": self.verdict,
            "nats": self.nats,
            "listened_s": round(self.listened_s, 3),
            "bus": _findings(self.bus),
            "leases": self.leases,
            "instruments": [asdict(r) | {"findings": _findings(r.findings)} for r in self.instruments],
        }

    def lines(self) -> Iterator[str]:
        for finding in self.bus:
            yield from _finding_lines(finding)
        for report in self.instruments:
            yield from report.lines()
        for group, said in self.leases.items():
            yield f"lease {printable(group)}: {printable(said)}"
        if not self.instruments:
            yield "nothing is published on this bus"
        wrong = sum(report.verdict is Verdict.WRONG for report in self.instruments)
        what = f"{len(self.instruments)} instruments, {wrong} wrong"
        yield f"{self.verdict}: {what}; listened for {self.listened_s:.1f} s at {self.nats}"


def _findings(findings: Sequence[Finding]) -> list[dict[str, Any]]:
    return [
        asdict(finding) | {"after_s": round(finding.after_s, 3), "do": finding.remedy} for finding in findings
    ]


def _finding_lines(finding: Finding) -> Iterator[str]:
    times = "once" if finding.count == 1 else f"{finding.count} times"
    yield f"  {finding.rule}  {printable(finding.subject)}  {printable(finding.said)}"
    if finding.value:
        yield f"      value: {printable(finding.value)}"
    yield f"      seen {times}, first after {finding.after_s:.1f} s"
    yield f"      do: {finding.remedy}"


def _not_tested(check: InstrumentCheck, listened_s: float) -> Iterator[str]:
    if not check.beginning_heard:
        yield "the order of announcement (start the writer while the check runs)"
    if not check.book.compared:
        yield "whether snaps equal the updates (none came that could be compared)"
    if not check.counts["trade"]:
        yield "trades (none came)"
    longest_s = max(PERIODS_S.values())
    if listened_s <= longest_s:
        yield f"whether ref and snap come again after {longest_s:.0f} s (listen longer)"
