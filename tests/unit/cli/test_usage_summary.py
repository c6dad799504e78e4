from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from mdstream.bus.usage import UsageRecord, Use
from mdstream.cli.usage_summary import Summary, Total

START = datetime(2026, 11, 29, 23, 58, tzinfo=UTC)
ALICE = ("alice", "SIM:A")


def minute(number: int) -> datetime:
    return START + timedelta(minutes=number)


def summed(*records: UsageRecord, per: str = "total", until: int = 10) -> list[Total]:
    summary = Summary(START, minute(until))
    for record in records:
        summary.add(record)
    return list(summary.totals(per))


def record(number: int, *uses: Use, node: str = "gw1") -> UsageRecord:
    return UsageRecord(node, minute(number), list(uses))


def test_a_minute_counts_once_at_its_greatest_depth_on_however_many_gateways() -> None:
    totals = summed(
        record(0, Use(*ALICE, 20, 0)),
        record(0, Use(*ALICE, 5, 0), node="gw2"),
        record(0, Use(*ALICE, 20, 0)),  # stored twice
        record(1, Use(*ALICE, 0, 0), Use(*ALICE, None, 900_000)),
        record(2, Use(*ALICE, 5, 0)),
        record(2, Use(*ALICE, None, 0), node="gw2"),
    )
    assert totals == [
        Total(None, *ALICE, 0, 0, 1),
        Total(None, *ALICE, 0, 20, 1),
        Total(None, *ALICE, 0, 5, 1),
        Total(None, *ALICE, 900_000, None, 1),
    ]


def test_days_and_minutes_are_those_of_utc() -> None:
    records = [record(number, Use(*ALICE, 1, 0)) for number in range(5)]
    midnight = datetime(2026, 11, 30, tzinfo=UTC)
    assert summed(*records, per="day") == [
        Total(midnight - timedelta(days=1), *ALICE, 0, 1, 2),
        Total(midnight, *ALICE, 0, 1, 3),
    ]
    assert summed(*records, per="minute") == [Total(minute(n), *ALICE, 0, 1, 1) for n in range(5)]


def test_only_what_begins_in_the_time_asked_for_counts() -> None:
    records = [record(number, Use(*ALICE, 1, 0)) for number in (-1, 0, 2, 3)]
    assert [total.minutes for total in summed(*records, until=3)] == [2]


ranks = st.sampled_from([None, 1, 20, 0])
uses = st.builds(Use, st.sampled_from("ab"), st.sampled_from(["S:A", "S:B"]), ranks, st.sampled_from([0, 9]))
records = st.lists(st.builds(record, st.integers(0, 5)), max_size=8).flatmap(
    lambda made: st.tuples(
        *(st.lists(uses, max_size=4).map(lambda u, r=each: record_with(r, u)) for each in made)
    )
)


def record_with(of: UsageRecord, uses: list[Use]) -> UsageRecord:
    return UsageRecord(of.node, of.minute, uses)


@given(records)
def test_the_sum_over_depths_is_the_number_of_minutes(made: tuple[UsageRecord, ...]) -> None:
    used: dict[tuple[str, str, int], set[datetime]] = {}
    for each in made:
        for use in each.uses:
            used.setdefault((use.subject, use.instrument, use.delay_ms), set()).add(each.minute)
    for per in ("total", "day", "minute"):
        summed_up: dict[tuple[str, str, int], int] = {}
        for total in summed(*made, per=per):
            key = total.subject, total.instrument, total.delay_ms
            summed_up[key] = summed_up.get(key, 0) + total.minutes
        assert summed_up == {key: len(minutes) for key, minutes in used.items()}
