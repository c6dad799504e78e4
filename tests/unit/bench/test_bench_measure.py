"""Who connects where, and what is made of what was noted; nothing is started."""

from __future__ import annotations

from typing import Any

import pytest

from mdstream._bench.histogram import Histogram
from mdstream.bench.findings import Findings
from mdstream.bench.measure import Environment, make_plans, storm_plans
from mdstream.bench.meters import Counts, NoMeter
from mdstream.bench.profiles import BUILT_IN, changed
from mdstream.bench.results import Pass
from mdstream.bench.setup import Setup
from mdstream.bench.targets import BenchVenue, Target
from mdstream.bench.usage import Moment, Window

VENUE = BenchVenue("nats://127.0.0.1:4222", "BENCH1", 200)
GATEWAYS = [("127.0.0.1", 8080), ("127.0.0.2", 8080)]


def environment(**setup: Any) -> Environment:
    return Environment(Setup(**setup), VENUE, None, (), None)  # type: ignore[arg-type]


def test_connections_are_spread_over_processes_and_none_is_lost() -> None:
    profile = changed(BUILT_IN["mixed"], {"connections": 301, "processes": 4})
    plans = make_plans(environment(verify=2), Target(GATEWAYS, NoMeter()), profile, "json")
    assert [plan.connections for plan in plans] == [77, 75, 75, 74] or sum(
        plan.connections for plan in plans
    ) == 301
    assert [plan.offset for plan in plans] == [
        sum(plan.connections for plan in plans[:index]) for index in range(4)
    ]
    for index, share in enumerate((0.6, 0.3, 0.1)):
        total = sum(plan.groups[index].connections for plan in plans)
        assert total == pytest.approx(301 * share, abs=1)
    assert [group.verify for group in plans[0].groups] == [2, 0, 0]
    assert {group.choice for group in plans[0].groups} == {"zipf"}


def test_slow_readers_are_a_group_of_their_own() -> None:
    (plan,) = make_plans(environment(), Target(GATEWAYS, NoMeter()), BUILT_IN["slow-readers"], "msgpack")
    usual, slow = plan.groups
    assert (usual.connections, slow.connections) == (180, 20)
    assert usual.pause_s == 0 < slow.pause_s
    assert usual.instruments == slow.instruments == 10


def test_a_token_goes_into_the_upgrade_and_the_floor_checks_no_books() -> None:
    floor = Target(GATEWAYS, NoMeter(), is_floor=True)
    (plan,) = make_plans(environment(token="abc", verify=5), floor, BUILT_IN["fan-out"], "json")
    assert list(plan.headers) == ["Authorization: Bearer abc"]
    assert plan.floor and plan.groups[0].verify == 0


def test_a_market_names_instruments_and_subjects_alike() -> None:
    assert VENUE.instruments[7] == "BENCH1:S00007"
    assert VENUE.subjects[7] == "md.BENCH1.S00007"


# ---- findings

EMPTY = Histogram().to_dict()
QUIET = {"failed": 0, "refused": 0, "closed": 0, "errors": 0}


def histogram(*values: int) -> dict[str, Any]:
    made = Histogram()
    for value in values:
        made.record(value)
    return made.to_dict()


def play(
    kind: str = "fan-out",
    *,
    opened: dict[str, Any] | None = None,
    arrived: dict[str, Any] | None = None,
    published: dict[str, Any] | None = None,
    cpu_s: float | None = 1.0,
    others: dict[int, int] | None = None,
    wrong_books: tuple[str, ...] = (),
    cut: int = 0,
    storm: dict[str, Any] | None = None,
    channel: str = "book",
) -> Pass:
    """A measurement of two load processes with 10 connections, as told."""
    more = {"storm": 6} if storm is not None else {}
    profile = changed(BUILT_IN[kind], {"connections": 10, "channel": channel, **more})
    findings = Findings(profile, Target(GATEWAYS[:1], NoMeter()), Counts(0.0, 1_000))
    ready = {
        "begin_ns": 1_000,
        "end_ns": 2_000_001_000,
        "clients": 5,
        "connecting": histogram(500),
        "first_fault": "",
        "totals": QUIET,
    } | (opened or {})
    findings.connected([ready, ready], Counts(0.5, 0), Counts(0.7, 0))
    findings.idle(Counts(0.7, 101_000))
    counters = {"updates": 500, "deltas": 400, "trades": 0, "tickers": 0, "bytes": 50_000, "checked": 4}
    read = {
        "counters": counters | {"window_us": 9},
        "latency": histogram(100, 200),
        "groups": [histogram(100)],
    }
    window = Window(Moment(0, {}, 0.0), Moment(2_000_000_000, others or {}, 0.0))
    findings.window_ended(window, cpu_s, [read, read])
    findings.rss_end = 102_000
    findings.cut = cut
    findings.pids(bus=[11], feed=[12], loads=[13, 14])
    findings.published(
        {"late": False, "updates": 400, "elapsed_s": 2.0, "late_max_us": 3} | (published or {})
    )
    ended = {
        "behind": 0,
        "faults": 0,
        "first_fault": "",
        "open": 5,
        "totals": QUIET,
        "close_codes": {},
        "subscriptions": 5,
        "recovery": EMPTY,
    } | (arrived or {})
    findings.arrived([ended, ended], {"BENCH1:S00000": 401}, {"BENCH1:S00000": 201})
    if storm is not None:
        findings.storm_opened([{"clients": 6}])
        findings.storm_cut = 12
        came = {
            "faults": 0,
            "first_fault": "",
            "behind": 0,
            "open": 6,
            "totals": QUIET,
            "recovery": histogram(*range(12)),
        }
        findings.storm_arrived([came | storm])
    findings.compared(4, list(wrong_books))
    return findings.result()


def failed(one: Pass) -> dict[str, str]:
    return {check.name: check.detail for check in one.checks if not check.passed}


def test_what_processes_counted_is_added_up() -> None:
    one = play()
    assert one.verdict == "exact"
    assert (one.updates, one.messages, one.bytes) == (1_000, 800, 100_000)
    assert one.us_per_update == 1_000
    assert one.connect_s == 2.0
    assert one.connect_cpu_s == pytest.approx(0.2)
    assert one.memory is not None and one.memory.per_connection_bytes == 10_000
    assert one.latency is not None and one.latency.count == 4
    assert one.published_per_s == 200
    assert one.offered_per_s == 401 * 10 / 2
    assert {check.name for check in one.checks} == {"connected", "exact", "complete", "kept", "books"}


def test_a_storm_must_be_exact_too_and_bring_all_back() -> None:
    one = play(storm={})
    assert failed(one) == {} and one.storm is not None and one.storm.count == 12
    assert one.counts["storm_cut"] == 12
    assert failed(play(storm={"open": 5, "totals": QUIET | {"refused": 3}})) == {
        "storm": "12 of 12 came back, 5 of 6 were connected at the end; refused 3, faults 0, behind 0"
    }
    for told in ({"faults": 1, "first_fault": "a gap"}, {"behind": 1}, {"recovery": EMPTY}):
        assert "storm" in failed(play(storm=told))


def test_what_was_offered_is_counted_by_channel() -> None:
    assert play(channel="trades").offered_per_s == 201 * 10 / 2


def test_connections_of_a_storm_are_planned_apart() -> None:
    profile = changed(BUILT_IN["symbols"], {"storm": 30, "processes": 2})
    secure = environment(tls=True, ca="ca.pem")
    target = Target(GATEWAYS, NoMeter())
    (plan,) = storm_plans(secure, target, profile, "json")
    assert (plan.connections, plan.offset, plan.groups[0].instruments) == (30, 500, 10)
    assert (plan.tls, plan.ca) == (True, "ca.pem")
    assert storm_plans(secure, target, BUILT_IN["symbols"], "json") == []
    (floor,) = make_plans(secure, Target(GATEWAYS, NoMeter(), is_floor=True), BUILT_IN["symbols"], "json")
    assert not floor.tls


def test_ingest_counts_what_was_published() -> None:
    assert play("ingest").updates == 400


@pytest.mark.parametrize(
    ("told", "name", "detail"),
    [
        (
            {"opened": {"clients": 4, "first_fault": "client 3: 503", "totals": QUIET | {"refused": 1}}},
            "connected",
            "8 of 10 were ready after 2.00 s; refused 2, failed 0, closed 0; client 3: 503",
        ),
        ({"arrived": {"faults": 3, "first_fault": "gap: 5 after 3"}}, "exact", "6 faults; gap: 5 after 3"),
        (
            {"arrived": {"behind": 2}},
            "complete",
            "4 subscriptions never reached the publisher's last number; 10 stand",
        ),
        (
            {"arrived": {"subscriptions": 0}},
            "complete",
            "0 subscriptions never reached the publisher's last number; 0 stand",
        ),
        (
            {"arrived": {"open": 4, "totals": QUIET | {"closed": 1}, "close_codes": {"4408": 1}}},
            "kept",
            "8 of 10 were still connected; closed by the server: 4408: 2",
        ),
        (
            {"wrong_books": ("BENCH1:S00000",)},
            "books",
            "1 of 4 books are not the publisher's, as of BENCH1:S00000",
        ),
    ],
)
def test_what_went_wrong_fails_its_check_and_says_what_was_seen(
    told: dict[str, Any], name: str, detail: str
) -> None:
    assert failed(play(**told)) == {name: detail}


def test_a_reconnect_must_bring_all_back() -> None:
    back = {"recovery": histogram(1, 2, 3, 4, 5), "totals": QUIET | {"resumed": 5, "not_resumed": 0}}
    assert failed(play("reconnect", cut=10, arrived=back)) == {}
    fewer = back | {"recovery": histogram(1, 2, 3, 4)}
    assert failed(play("reconnect", cut=10, arrived=fewer)) == {
        "resumed": "8 of 10 came back; 10 subscriptions went on where they were, 0 began with a snapshot"
    }
    assert "resumed" in failed(play("reconnect", cut=0, arrived=back | {"recovery": EMPTY}))


def test_doubts_are_told_but_are_no_failure() -> None:
    assert [flag.partition(" (")[0] for flag in play(cpu_s=1.95).flags] == ["SATURATED"]
    assert play(published={"late": True, "late_max_us": 20_000}).flags == [
        "PUBLISHER LATE (up to 20.0 ms; the latencies hold that too)"
    ]
    assert play(others={13: 1_990_000_000}).flags == [
        "LOAD LIMITED (a load process had no CPU left; raise --processes)"
    ]
    (noisy,) = play(others={99_999_999: 200_000_000}).flags
    assert noisy == "NOISY (10% of a core went to pid 99999999)"
    assert play(others={11: 2_000_000_000}).verdict == "exact", "NATS is ours"
    assert play(cpu_s=None).us_per_update is None
