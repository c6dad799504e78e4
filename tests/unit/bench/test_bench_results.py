from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest

from mdstream._bench.histogram import Histogram
from mdstream.bench import results
from mdstream.bench.results import Check, median_index
from mdstream.errors import BenchError
from support.bench import made_floor, made_pass, made_result, made_run, made_spread


def test_figures_follow_from_what_was_counted() -> None:
    one = made_pass()
    assert one.us_per_update == 6.0
    assert one.cpu_share == 0.6
    assert one.ratio == 1.2
    assert one.updates_per_s == 100_000
    assert one.connections_per_s == 5_000
    assert one.us_per_connection == pytest.approx(100)
    assert one.bytes_per_update == 120


def test_where_there_are_no_updates_the_ratio_is_of_connections() -> None:
    still = made_pass(updates=0, floor=made_floor(None))
    assert still.us_per_update is None
    assert still.ratio == 2.0, "10,000 of the floor, 5,000 of ours"


def test_what_was_not_measured_is_none_and_not_nought() -> None:
    blind = made_pass(cpu_s=None, connect_cpu_s=None, floor=None, latency=None, memory=None)
    assert (blind.us_per_update, blind.cpu_share, blind.ratio) == (None, None, None)
    assert (blind.us_per_connection, blind.latency_ratio("p50_us")) == (None, None)


def test_the_verdict_names_what_failed_and_what_is_doubtful() -> None:
    assert made_pass().verdict == "exact"
    wrong = made_pass(
        checks=[Check(name="exact", passed=False), Check(name="books", passed=True)], flags=["NOISY (x)"]
    )
    assert wrong.verdict == "FAILED exact, NOISY (x)"
    assert not made_result(made_run("fan-out", "json", None, made_pass(), wrong)).passed
    assert not made_result(runs=[]).passed


def test_the_median_is_the_one_in_the_middle() -> None:
    passes = [made_pass(cpu_s=seconds) for seconds in (9.0, 3.0, 4.0, 1.0, 5.0)]
    assert median_index(passes) == 2
    assert median_index(passes[:2]) == 1, "of two the better"
    assert median_index([made_pass(floor=None, cpu_s=None, connect_s=s) for s in (3.0, 1.0, 2.0)]) == 2


def test_what_was_saved_is_read_again(tmp_path: Path) -> None:
    result = made_result(made_run(), made_run("idle", "json"))
    file = tmp_path / "r.json"
    results.save(result, file)
    assert results.read(file) == result
    assert [path.name for path in tmp_path.iterdir()] == ["r.json"]
    table = json.loads(file.read_text())
    assert (table["kind"], table["schema"]) == ("mdstream-bench", 1)
    saved = table["runs"][0]["passes"][0]["latency"]
    again = Histogram.from_dict(saved["histogram"])
    assert again.percentile(99) == saved["p99_us"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is no result of `mdstream bench --json`"),
        ("[]", "is no result of `mdstream bench --json`"),
        ("{}", "is no result of `mdstream bench --json`"),
        ('{"kind":"mdstream-bench","schema":99}', "has schema 99, this mdstream reads 1"),
        ('{"kind":"mdstream-bench","schema":1}', "is damaged: "),
    ],
)
def test_a_file_that_is_none_of_ours(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "r.json"
    file.write_text(text)
    with pytest.raises(BenchError) as error:
        results.read(file)
    assert str(file) in str(error.value) and message in str(error.value)


def test_files_that_cannot_be(tmp_path: Path) -> None:
    with pytest.raises(BenchError, match=r"cannot be read: No such file"):
        results.read(tmp_path / "none.json")
    with pytest.raises(BenchError, match=r"cannot be written: No such file"):
        results.save(made_result(), tmp_path / "none" / "r.json")


def test_a_spread_is_the_histogram() -> None:
    spread = made_spread(800, 1_000)
    assert spread.count == 1_000
    assert (
        spread.min_us <= spread.p50_us <= spread.p90_us <= spread.p99_us <= spread.p9999_us <= spread.max_us
    )
    assert spread.curve[0] == (0.0, spread.min_us) and spread.curve[-1] == (100.0, spread.max_us)
    assert msgspec.json.decode(msgspec.json.encode(spread), type=results.Spread) == spread
