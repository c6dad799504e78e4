from __future__ import annotations

import pytest

from mdstream.bench.compare import Comparison, compare, comparison_table
from mdstream.bench.results import Check, Machine, Memory
from support.bench import made_floor, made_pass, made_result, made_run, swept


def verdicts(comparison: Comparison) -> dict[str, str]:
    return {difference.figure.name: difference.verdict for difference in comparison.differences}


def test_a_result_against_itself() -> None:
    result = made_result(made_run(), made_run("idle", "json"))
    same = compare(result, result)
    assert set(verdicts(same).values()) == {"same"}
    assert same.worst is None and not same.missing and not same.warnings


def test_what_became_worse_and_by_how_much() -> None:
    before = made_result()
    after = made_result(made_run("fan-out", "msgpack", None, made_pass(cpu_s=4.5)))
    found = compare(before, after)
    assert verdicts(found)["CPU per update"] == "worse"
    assert verdicts(found)["latency p99"] == "same"
    worst = found.worst
    assert worst is not None
    assert worst.change == pytest.approx(1.5)
    assert compare(after, before).worst is None
    assert verdicts(compare(after, before))["CPU per update × floor"] == "better"


def test_fewer_connections_a_second_are_worse() -> None:
    still = {"updates": 0, "floor": made_floor(None), "latency": None}
    fast, slow = (
        made_result(made_run("storm", "json", None, made_pass(connect_s=seconds, **still)))
        for seconds in (0.1, 0.2)
    )
    worst = compare(fast, slow).worst
    assert worst is not None and worst.figure.name == "connections/s"
    assert worst.change == pytest.approx(2)
    row = next(row for row in comparison_table(compare(fast, slow)).rows if "connections/s" in row)
    assert row[2:5] == ["5,000", "2,500", "0.50×"]


def test_repeats_that_scatter_widen_the_noise() -> None:
    before = made_result(made_run("fan-out", "json", None, made_pass(cpu_s=3.0), made_pass(cpu_s=4.5)))
    after = made_result(made_run("fan-out", "json", None, made_pass(cpu_s=4.2)))
    assert verdicts(compare(before, after))["CPU per update"] == "same"
    calm = made_result(made_run("fan-out", "json"))
    assert verdicts(compare(calm, after))["CPU per update"] == "worse"
    assert verdicts(compare(calm, after, noise=0.5))["CPU per update"] == "same"


def test_points_of_a_sweep_are_compared_each_with_its_own() -> None:
    found = compare(
        made_result(*swept("connections", [100, 200])), made_result(*swept("connections", [200, 400]))
    )
    assert {difference.run for difference in found.differences} == {"fan-out msgpack connections=200"}
    assert found.missing == [
        "fan-out msgpack connections=100: only in the first",
        "fan-out msgpack connections=400: only in the second",
    ]


def test_what_makes_a_comparison_doubtful_is_said() -> None:
    elsewhere = Machine(cpu="B", cpus=64, memory_bytes=1, system="Linux", python="CPython 3.13")
    noisy = made_run("fan-out", "msgpack", None, made_pass(flags=["NOISY (x)"]))
    failed = made_run("idle", "json", None, made_pass(checks=[Check(name="exact", passed=False)]))
    found = compare(made_result(), made_result(noisy, failed, machine=elsewhere))
    assert found.warnings == [
        "The machines differ: compare only what is measured against the floor (× floor).",
        "Doubtful or failed in the second: fan-out msgpack, idle json.",
    ]
    table = comparison_table(found)
    assert all(len(row) == len(table.heads) for row in table.rows)


def test_memory_of_few_connections_is_not_compared() -> None:
    memory = Memory(before_bytes=1, connected_bytes=2, after_bytes=2, per_connection_bytes=1.0)
    few = made_result(made_run("fan-out", "json", None, made_pass(connections=20, memory=memory)))
    assert "memory per connection" not in verdicts(compare(few, few))
