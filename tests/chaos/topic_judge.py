"""Whether what devices were sent, and publishers were told, is what the streams hold."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from chaos import topic_journal as journal
from chaos.topic_plan import AT_MOST_ONCE, EACH_DEVICE, policy_of, readers_of
from chaos.topic_truth import Stored, event_data

Lines = Sequence[Sequence[Any]]
FAULTS: Final = {
    "lost": "events that a device, or a user, never had",
    "told lost": "times that a device was told of events that are gone",
    "out of order": "events after a newer one of their topic",
    "untold": "events that came twice and did not say so",
    "twice": "events that an application had twice though they come at most once",
    "foreign": "events that the stream does not hold so",
    "not stored": "events and changes that were confirmed and are not in the stream",
    "stored twice": "events and changes that the stream holds twice",
    "sender out of order": "events before an older one of their publisher",
    "vanished": "events that the stream held and holds no more",
    "maps unequal": "maps of devices that are not those of the bus",
    "counters wrong": "counters that are not what compare-and-set made of them",
    "ghosts": "sessions that are shown as present and are not",
    "missing": "sessions that are present and are not shown",
}
MOST_NOTES = 20


@dataclass
class Findings:
    """How often each fault was, and what there was to be judged."""

    counts: Counter[str] = field(default_factory=lambda: Counter(dict.fromkeys(FAULTS, 0)))
    figures: Counter[str] = field(default_factory=Counter)
    notes: list[str] = field(default_factory=list)

    def fault(self, kind: str, note: str, count: int = 1) -> None:
        assert kind in FAULTS
        self.counts[kind] += count
        if count and len(self.notes) < MOST_NOTES:
            self.notes.append(f"{kind}: {note}")

    @property
    def held(self) -> bool:
        return not any(self.counts.values())


def judge_stream(
    found: Findings, stored: Iterable[Stored], confirmed: Lines, still: int
) -> dict[str, dict[int, Any]]:
    """Returns the events of each topic by number. ``confirmed``: the journals of all publishers; ``still``: how many events the stream
    holds at the end."""
    events: dict[str, dict[int, Any]] = defaultdict(dict)
    newest: dict[tuple[str, str], int] = {}
    seen: set[tuple[str, str, int]] = set()
    for message in stored:
        topic, data = message.subject.removeprefix("ev."), event_data(message)
        events[topic][message.seq] = data
        sender, number = data["by"], data["n"]
        if (topic, sender, number) in seen:
            found.fault("stored twice", f"{topic} {message.seq}: {sender} {number}")
        elif number < newest.get((topic, sender), 0):
            found.fault("sender out of order", f"{topic} {message.seq}: {sender} {number}")
        seen.add((topic, sender, number))
        newest[topic, sender] = max(number, newest.get((topic, sender), 0))
    for _, topic, data, seq in confirmed:
        if events[topic].get(seq) != data:
            found.fault("not stored", f"{topic} {seq}: {data['by']} {data['n']}")
    total = sum(map(len, events.values()))
    found.figures["events stored"] += total
    found.figures["events confirmed"] += len(confirmed)
    if total != still:
        found.fault("vanished", f"{total} were stored, {still} are there", abs(total - still))
    return events


def judge_devices(
    found: Findings, events: Mapping[str, Mapping[int, Any]], devices: Mapping[tuple[str, str], Lines]
) -> None:
    """``devices``: the journal of each, by user and device."""
    had = {device: _judge_device(found, events, device, lines) for device, lines in devices.items()}
    for topic, stored in events.items():
        for user in readers_of(topic):
            of_user = {device: seqs[topic] for device, seqs in had.items() if device[0] == user}
            each = policy_of(topic) in (EACH_DEVICE, AT_MOST_ONCE)
            groups = of_user if each else {(user, "any device"): set[int]().union(*of_user.values())}
            for who, seqs in groups.items():
                if missing := stored.keys() - seqs:
                    found.fault("lost", f"{who} {topic}: {sorted(missing)[:5]}", len(missing))


def _judge_device(
    found: Findings, events: Mapping[str, Mapping[int, Any]], device: tuple[str, str], lines: Lines
) -> dict[str, set[int]]:
    """The numbers that its application had, by topic."""
    had: dict[str, set[int]] = defaultdict(set)
    on_wire: set[tuple[str, int]] = set()
    newest_had: dict[str, int] = {}
    newest_live: dict[str, int] = {}
    for kind, *rest in lines:
        match kind:
            case journal.LIFE:
                newest_had, newest_live = {}, {}
                found.figures["lives of devices"] += 1
            case journal.RAW:
                topic, seq, redelivered = rest
                found.figures["events sent"] += 1
                found.figures["redelivered"] += redelivered
                # Without acknowledgement a client holds back what comes after a gap, and lets it go with its connection.
                may_be_let_go = policy_of(topic) == AT_MOST_ONCE and seq not in had[topic]
                if (topic, seq) in on_wire:
                    found.figures["sent again"] += 1
                    if not redelivered and not may_be_let_go:
                        found.fault("untold", f"{device} {topic} {seq}")
                elif not redelivered and not may_be_let_go:
                    _in_order(found, device, topic, seq, newest_live)
                on_wire.add((topic, seq))
            case journal.EVENT:
                topic, seq, data = rest
                if events.get(topic, {}).get(seq) != data or (topic, seq) not in on_wire:
                    found.fault("foreign", f"{device} {topic} {seq}")
                if seq in had[topic]:
                    found.figures["had again"] += 1
                    if policy_of(topic) == AT_MOST_ONCE:
                        found.fault("twice", f"{device} {topic} {seq}")
                _in_order(found, device, topic, seq, newest_had)
                had[topic].add(seq)
            case journal.LOST:
                found.fault("told lost", f"{device} {rest}")
    found.figures["events had"] += sum(map(len, had.values()))
    return had


def _in_order(found: Findings, device: tuple[str, str], topic: str, seq: int, newest: dict[str, int]) -> None:
    if seq <= newest.get(topic, 0):
        found.fault("out of order", f"{device} {topic}: {seq} after {newest[topic]}")
    newest[topic] = max(seq, newest.get(topic, 0))


def judge_maps(
    found: Findings,
    log: Sequence[Stored],
    truth: Mapping[str, Mapping[str, Any]],
    shown: Mapping[Any, Mapping[str, Mapping[str, Any]]],
    journals: Iterable[Lines],
) -> None:
    """``truth``: the maps that follow from ``log``; ``shown``: those that each device has."""
    for who, maps in shown.items():
        for topic, entries in maps.items():
            found.figures["maps compared"] += 1
            right = truth.get(topic, {})
            if entries != right:
                wrong = [key for key in {*entries, *right} if entries.get(key) != right.get(key)]
                found.fault("maps unequal", f"{who} {topic}: {sorted(wrong)[:5]}")
    stored = {(message.subject.removeprefix("map."), message.seq) for message in log}
    often = Counter(message.id for message in log if message.id)
    for id, times in often.items():
        if times > 1:
            found.fault("stored twice", f"the change {id}")
    found.figures["changes stored"] += len(stored)
    raised: Counter[str] = Counter()
    unknown: Counter[str] = Counter()
    for kind, topic, *rest in (line for lines in journals for line in lines):
        if kind == journal.PUT and (topic, rest[0]) not in stored:
            found.fault("not stored", f"the change {rest[0]} of {topic}")
        raised[topic] += kind == journal.RAISED
        unknown[topic] += (kind == journal.TRIED) - (kind in (journal.RAISED, journal.REFUSED))
    for topic, entries in truth.items():
        count = entries.get("count", 0)
        found.figures["counters raised"] += raised[topic]
        if not raised[topic] <= count <= raised[topic] + unknown[topic]:
            found.fault(
                "counters wrong", f"{topic}: {count}, raised {raised[topic]} and perhaps {unknown[topic]}"
            )


def judge_presence(
    found: Findings, present: Sequence[Any], shown: Mapping[Any, Mapping[str, Sequence[Any]]]
) -> None:
    """``present``: user, device and life of all who are; ``shown``: those that each device is shown in each hall."""
    right = Counter(map(tuple, present))
    for who, halls in shown.items():
        for hall, sessions in halls.items():
            found.figures["halls compared"] += 1
            there = Counter(map(tuple, sessions))
            if ghosts := there - right:
                found.fault("ghosts", f"{who} {hall}: {list(ghosts)[:5]}", ghosts.total())
            if missing := right - there:
                found.fault("missing", f"{who} {hall}: {list(missing)[:5]}", missing.total())
