"""Collects what a measurement sees, and computes its figures, checks and doubts."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from typing import Any

from mdstream._bench.histogram import Histogram
from mdstream.bench.load import merged
from mdstream.bench.meters import Counts
from mdstream.bench.profiles import Profile
from mdstream.bench.results import PERCENTILES, Check, Memory, Pass, Spread, Written
from mdstream.bench.targets import Target
from mdstream.bench.usage import Window

NOISY_CPU_SHARE = 0.05
"""Share of one core used by other processes; above it the figures are doubtful."""
NOISY_STEAL_SHARE = 0.02
FULL_SHARE = 0.95


class Findings:
    """``measure`` calls the methods in the order in which they stand here."""

    def __init__(self, profile: Profile, target: Target, before: Counts) -> None:
        self.profile = profile
        self.target = target
        self.writes: int | None = None
        self.written: Written | None = None
        self.rss_end: int | None = None
        self.cut = 0
        self.storm_cut = 0
        self._before = before
        self._idle_counts = before
        self._window: Window | None = None
        self._cpu_s: float | None = None
        self._published: dict[str, Any] = {}
        self._checks: list[Check] = []
        self._doubts: list[str] = []
        self._counts: Counter[str] = Counter()
        self._latency: Histogram | None = None
        self._groups: list[Histogram] = []
        self._connecting: Histogram | None = None
        self._recovery: Histogram | None = None
        self._storm: Histogram | None = None
        self._storm_ready = 0
        self._connect_s = 0.0
        self._connect_cpu_s: float | None = None
        self._subscriptions = 0
        self._offered_updates = 0.0
        self._load_cpu_s = self._other_cpu_s = 0.0
        self._bus_cpu_s: float | None = None

    # ---- in the order of a measurement

    def connected(self, answers: list[dict[str, Any]], begin: Counts, end: Counts) -> None:
        """All connections are ready, or the deadline has passed."""
        first = min(answer["begin_ns"] for answer in answers)
        self._connect_s = (max(answer["end_ns"] for answer in answers) - first) / 1e9
        self._connect_cpu_s = difference(begin.cpu_s, end.cpu_s)
        self._connecting = merged([answer["connecting"] for answer in answers])
        ready = sum(answer["clients"] for answer in answers)
        faults = [answer["first_fault"] for answer in answers if answer["first_fault"]]
        totals = _sum(answer["totals"] for answer in answers)
        detail = f"{ready:,} of {self.profile.connections:,} were ready after {self._connect_s:.2f} s"
        if ready < self.profile.connections:
            detail += (
                f"; refused {totals['refused']:,}, failed {totals['failed']:,}, closed {totals['closed']:,}"
            )
            detail += f"; {faults[0]}" if faults else ""
        self._check("connected", ready == self.profile.connections, detail)

    def idle(self, counts: Counts) -> None:
        """All are connected and nothing moves: memory above the start is that of the connections."""
        self._idle_counts = counts

    def storm_opened(self, answers: list[dict[str, Any]]) -> None:
        """The connections that will be cut off again and again are there; none without a storm."""
        self._storm_ready = sum(answer["clients"] for answer in answers)

    def window_ended(self, window: Window, cpu_s: float | None, answers: list[dict[str, Any]]) -> None:
        """The window is over."""
        self._window, self._cpu_s = window, cpu_s
        self._latency = merged([answer["latency"] for answer in answers])
        kinds = zip(*(answer["groups"] for answer in answers), strict=True)
        self._groups = [merged(list(kind)) for kind in kinds]
        for answer in answers:
            counters = dict(answer["counters"])
            counters.pop("window_us", None)
            self._counts.update(counters)

    def pids(self, *, bus: Sequence[int], feed: Sequence[int], loads: Sequence[int]) -> None:
        """Assigns the CPU of the window to processes; called while they run."""
        window = self._require_window()
        ours = {*bus, *feed, *loads, *self.target.meter.pids, os.getpid()}
        self._load_cpu_s = window.cpu_s(loads) + window.cpu_s(feed)
        self._bus_cpu_s = window.cpu_s(bus) if bus else None
        self._other_cpu_s = window.other_cpu_s(ours)
        self._doubt_machine(window, [name for name, _ in window.busiest(ours)])
        self._doubt_limits(window, loads)

    def published(self, answer: dict[str, Any]) -> None:
        """The publisher is done."""
        self._published = answer
        if answer["late"]:
            self._doubts.append(
                f"PUBLISHER LATE (up to {answer['late_max_us'] / 1000:.1f} ms; the latencies hold that too)"
            )

    def arrived(
        self, answers: list[dict[str, Any]], seqs: dict[str, int], trade_seqs: dict[str, int]
    ) -> None:
        """All connections have the last number, or the deadline has passed."""
        totals = _sum(answer["totals"] for answer in answers)
        self._subscriptions = sum(answer["subscriptions"] for answer in answers)
        self._recovery = merged([answer["recovery"] for answer in answers])
        behind = sum(answer["behind"] for answer in answers)
        faults = sum(answer["faults"] for answer in answers)
        details = [answer["first_fault"] for answer in answers if answer["first_fault"]]
        self._check(
            "exact",
            faults == 0,
            f"{faults:,} faults; {details[0]}" if details else "every number, once, in order",
        )
        self._check(
            "complete",
            behind == 0 and self._subscriptions > 0,
            f"{behind:,} subscriptions never reached the publisher's last number; {self._subscriptions:,} stand"
            if behind or not self._subscriptions
            else f"{self._subscriptions:,} subscriptions reached the publisher's last number",
        )
        self._check_open(answers, totals)
        if self.profile.kind == "reconnect":
            self._check_resumed(totals)
        self._counts.update({f"total_{name}": count for name, count in totals.items()})
        self._offered_updates = self._subscriptions * self._average_last(seqs, trade_seqs)

    def _average_last(self, seqs: dict[str, int], trade_seqs: dict[str, int]) -> float:
        """The last number of a subscription's stream, on average."""
        groups = self.profile.groups
        weights = [group.share * group.symbols for group in groups]
        lasts = [trade_seqs if group.channel == "trades" else seqs for group in groups]
        averages = [sum(last.values()) / len(last) if last else 0.0 for last in lasts]
        pairs = zip(weights, averages, strict=True)
        return sum(weight * average for weight, average in pairs) / sum(weights)

    def storm_arrived(self, answers: list[dict[str, Any]]) -> None:
        """The storm is over, and its connections have had time to reach the last number."""
        if not answers:
            return
        self._storm = merged([answer["recovery"] for answer in answers])
        faults, behind, still = (
            sum(answer[name] for answer in answers) for name in ("faults", "behind", "open")
        )
        refused = sum(answer["totals"]["refused"] for answer in answers)
        wanted = self.profile.storm
        details = [answer["first_fault"] for answer in answers if answer["first_fault"]]
        self._check(
            "storm",
            self._storm_ready == wanted == still
            and self._storm.count == self.storm_cut
            and not faults
            and not behind,
            f"{self._storm.count:,} of {self.storm_cut:,} came back, {still:,} of {wanted:,} were connected at the end;"
            f" refused {refused:,}, faults {faults:,}, behind {behind:,}"
            + "".join(f"; {each}" for each in details),
        )
        self._counts.update({"storm_cut": self.storm_cut, "storm_refused": refused})

    def compared(self, books: int, wrong: list[str]) -> None:
        """Compares the books that connections kept with those of the publisher."""
        if books:
            self._check(
                "books",
                not wrong,
                f"{len(wrong)} of {books} books are not the publisher's, as of {wrong[0]}"
                if wrong
                else f"{books} books are the publisher's; {self._counts['checked']:,} checksums compared in the window",
            )

    # ---- the result

    def result(self) -> Pass:
        window = self._require_window()
        counts = self._counts
        updates = counts["updates"] + counts["trades"] + counts["tickers"]
        published_per_s = self._per_s("updates")
        if self.profile.kind == "ingest":
            updates = round(published_per_s * window.seconds)
        return Pass(
            window_s=window.seconds,
            connections=self.profile.connections,
            subscriptions=self._subscriptions,
            updates=updates,
            messages=counts["deltas"] + counts["trades"] + counts["tickers"],
            bytes=counts["bytes"],
            offered_per_s=self._offered_per_s(),
            published_per_s=published_per_s,
            cpu_s=self._cpu_s,
            cpu_clock=self.target.meter.clock,
            load_cpu_s=self._load_cpu_s,
            bus_cpu_s=self._bus_cpu_s,
            other_cpu_s=self._other_cpu_s,
            steal_s=window.steal_s,
            writes=self.writes,
            written=self.written,
            connect_s=self._connect_s,
            connect_cpu_s=self._connect_cpu_s,
            latency=spread(self._latency, whole=True),
            connecting=spread(self._connecting),
            recovery=spread(self._recovery),
            storm=spread(self._storm),
            groups=[spread(group) for group in self._groups],
            memory=self._memory(),
            floor=None,
            checks=self._checks,
            flags=self._doubts,
            counts=dict(sorted(counts.items())),
        )

    def _memory(self) -> Memory | None:
        before, connected, after = self._before.rss_bytes, self._idle_counts.rss_bytes, self.rss_end
        if before is None or connected is None or after is None:
            return None
        each = (connected - before) / self.profile.connections
        return Memory(
            before_bytes=before, connected_bytes=connected, after_bytes=after, per_connection_bytes=each
        )

    def _per_s(self, what: str) -> float:
        elapsed = self._published.get("elapsed_s")
        return float(self._published[what]) / elapsed if elapsed else 0.0

    def _offered_per_s(self) -> float:
        """Updates due to connections: each published update goes to all its subscriptions."""
        updates = self._published.get("updates")
        return self._offered_updates / self._published["elapsed_s"] if updates else 0.0

    # ---- checks and doubts

    def _check(self, name: str, passed: bool, detail: str) -> None:
        self._checks.append(Check(name=name, passed=passed, detail=detail))

    def _check_open(self, answers: list[dict[str, Any]], totals: Counter[str]) -> None:
        still = sum(answer["open"] for answer in answers)
        codes = _sum(answer["close_codes"] for answer in answers)
        listed = ", ".join(f"{code}: {count:,}" for code, count in sorted(codes.items()))
        closed, errors = totals["closed"], totals["errors"]
        self._check(
            "kept",
            still == self.profile.connections and not closed and not errors,
            f"{still:,} of {self.profile.connections:,} were still connected"
            + (f"; closed by the server: {listed}" if closed else "")
            + (f"; commands refused: {errors:,}" if errors else ""),
        )

    def _check_resumed(self, totals: Counter[str]) -> None:
        resumed, restarted = totals["resumed"], totals["not_resumed"]
        came_back = self._recovery.count if self._recovery is not None else 0
        self._check(
            "resumed",
            0 < self.cut == came_back,
            f"{came_back:,} of {self.cut:,} came back;"
            f" {resumed:,} subscriptions went on where they were, {restarted:,} began with a snapshot",
        )

    def _doubt_machine(self, window: Window, busiest: list[str]) -> None:
        other, steal = self._other_cpu_s / window.seconds, window.steal_s / window.seconds
        if other > NOISY_CPU_SHARE:
            self._doubts.append(f"NOISY ({other:.0%} of a core went to {', '.join(busiest)})")
        if steal > NOISY_STEAL_SHARE:
            self._doubts.append(f"NOISY (the hypervisor stole {steal:.0%} of a core)")

    def _doubt_limits(self, window: Window, loads: Sequence[int]) -> None:
        cores = self.target.cores
        if self._cpu_s is not None and self._cpu_s > FULL_SHARE * cores * window.seconds:
            self._doubts.append("SATURATED (its CPU was full: latencies show the length of a queue)")
        if any(window.cpu_s([pid]) > FULL_SHARE * window.seconds for pid in loads):
            self._doubts.append("LOAD LIMITED (a load process had no CPU left; raise --processes)")

    def _require_window(self) -> Window:
        assert self._window is not None, "the window has not ended"
        return self._window


def spread(histogram: Histogram | None, *, whole: bool = False) -> Spread | None:
    """A histogram for the result, ``whole`` with all its buckets; None if it is empty."""
    if histogram is None or histogram.count == 0:
        return None
    at = histogram.percentile
    return Spread(
        count=histogram.count,
        min_us=histogram.min,
        mean_us=histogram.mean,
        p50_us=at(50),
        p90_us=at(90),
        p99_us=at(99),
        p999_us=at(99.9),
        p9999_us=at(99.99),
        max_us=histogram.max,
        curve=[(percent, at(percent)) for percent in PERCENTILES],
        histogram=histogram.to_dict() if whole else None,
    )


def _sum(tables: Any) -> Counter[str]:
    whole: Counter[str] = Counter()
    for table in tables:
        whole.update(table)
    return whole


def difference(begin: float | None, end: float | None) -> float | None:
    return end - begin if begin is not None and end is not None else None
