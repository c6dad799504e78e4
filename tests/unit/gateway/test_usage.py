from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from mdstream.bus.usage import Use
from mdstream.gateway.usage import Part, Usage, part_of

ALICE = part_of("alice", "SIM:A", "book", 20, 0)

parts = st.builds(
    part_of,
    st.sampled_from(["alice", "bob"]),
    st.sampled_from(["SIM:A", "SIM:B"]),
    st.sampled_from(["book", "trades", "ticker"]),
    st.sampled_from([0, 5, 20]),
    st.sampled_from([0, 900_000]),
)
steps = st.lists(st.one_of(parts, st.integers(0, 30), st.just("minute"), st.just("read")), max_size=40)


def rank(depth: int | None) -> float:
    return -1 if depth is None else depth or float("inf")


class Model:
    """Which parts were there in each minute, as plainly as it can be."""

    def __init__(self) -> None:
        self.now: list[Part] = []
        self.seen: list[list[Part]] = [[]]

    def begin(self, part: Part) -> None:
        self.now.append(part)
        self.seen[-1].append(part)

    def end(self, number: int) -> Part:
        return self.now.pop(number)

    def next_minute(self) -> None:
        self.seen.append(list(self.now))

    def uses(self, minute: int) -> set[Use]:
        greatest: dict[tuple[str, str, int], int | None] = {}
        for part in self.seen[minute]:
            shown = {0: None, 2**53 - 1: 0}.get(part.depth, part.depth)
            key = part.subject, part.instrument, part.delay_ms
            if key not in greatest or rank(shown) > rank(greatest[key]):
                greatest[key] = shown
        return {Use(subject, name, depth, late) for (subject, name, late), depth in greatest.items()}


@given(steps)
def test_each_minute_has_the_greatest_depth_of_each_user_and_instrument(script: list[Any]) -> None:
    usage, model, read, closed = Usage(0), Model(), [], []
    for step in [*script, "minute", "read"]:
        if isinstance(step, Part):
            usage.begin(step)
            model.begin(step)
        elif isinstance(step, int) and step < len(model.now):
            usage.end(model.end(step))
        elif step == "minute":
            minute, uses = usage.close(usage.minute + 1)
            assert minute == len(model.seen) - 1
            closed.append(uses)
            model.next_minute()
        elif step == "read":
            read.extend(list(uses) for uses in closed)
            closed.clear()
    for minute, uses in enumerate(read):
        assert len(uses) == len(set(uses))
        assert set(uses) == model.uses(minute)


def test_changes_while_a_minute_is_read_do_not_count_twice() -> None:
    usage = Usage(0)
    others = [part_of(f"user {number}", "SIM:A", "book", 0, 0) for number in range(3)]
    for part in others:
        usage.begin(part)
    _, uses = usage.close(1)
    read = [next(uses)]
    usage.end(others[0])
    usage.end(others[2])
    usage.begin(ALICE)
    read += uses
    assert sorted(use.subject for use in read) == ["user 0", "user 1", "user 2"]
    _, uses = usage.close(2)
    assert sorted(use.subject for use in uses) == ["alice", "user 0", "user 1", "user 2"]
    _, uses = usage.close(3)
    assert sorted(use.subject for use in uses) == ["alice", "user 1"]


def test_what_has_ended_is_forgotten() -> None:
    usage = Usage(0)
    for number in range(100):
        part = part_of("alice", f"SIM:{number}", "trades", 0, 0)
        usage.begin(part)
        usage.end(part)
    assert {use.depth for use in usage.close(1)[1]} == {None}
    assert usage._counts == {}
    assert list(usage.close(2)[1]) == []


def test_a_clock_that_is_set_back_begins_a_minute_again() -> None:
    usage = Usage(100)
    usage.begin(ALICE)
    minute, uses = usage.close(40)
    assert (minute, list(uses)) == (100, [Use("alice", "SIM:A", 20, 0)])
    minute, uses = usage.close(41)
    assert (minute, list(uses)) == (40, [Use("alice", "SIM:A", 20, 0)])
