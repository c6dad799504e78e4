"""The schedule, the journal and the judgement of the long run, without any process."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from chaos import topic_faults as topic_faults  # registers them
from chaos.faults import FAULTS
from chaos.journal import Journal, Journals
from chaos.report import page
from chaos.results import held, summary
from chaos.schedule import BY_NAME, KINDS, TAIL_S, plan
from truth.model import Levels


def test_each_kind_has_its_fault() -> None:
    assert set(FAULTS) == set(BY_NAME)


def test_same_seed_gives_same_schedule() -> None:
    assert plan(7, 600, 5.0) == plan(7, 600, 5.0)
    assert plan(7, 600, 5.0) != plan(8, 600, 5.0)


def test_ten_minutes_have_a_hundred_faults_of_all_kinds() -> None:
    for seed in range(20):
        faults = plan(seed, 600, 5.0)
        often = Counter(fault.kind for fault in faults)
        assert len(faults) >= 100
        assert set(often) == {kind.name for kind in KINDS}
        assert all(fault.at_s < 600 - TAIL_S for fault in faults)


def test_faults_of_one_area_do_not_overlap() -> None:
    areas = {kind.name: kind for kind in KINDS}
    free: Counter[str] = Counter()
    for fault in plan(3, 600, 3.0):
        kind = areas[fault.kind]
        assert fault.at_s >= free[kind.area] - 0.02
        free[kind.area] = fault.at_s + fault.seconds + kind.rest_s  # type: ignore[assignment]


def test_journal_gives_the_truth_of_each_number_and_depth(tmp_path: Path) -> None:
    journal, journals = Journal(tmp_path / "1.journal"), Journals(tmp_path, [1])
    journal.note("X:A", "begin", 5, (-2, -2))
    journal.note("X:A", "update", 5, 1, [9, 1, 8, 2], [10, 3])
    journals.read()
    journal.note("X:A", "update", 5, 2, [9, 0], [])
    journal.note("X:A", "trade", 5, 1, 10, 2)
    journals.read()
    truth = journals.truth("X:A")
    assert truth.newest == (5, 2)
    assert truth.marks[5, 1] == Levels([9, 1, 8, 2], [10, 3]).mark
    assert truth.at_depth(1).marks[5, 1] == Levels([9, 1], [10, 3]).mark
    assert truth.at_depth(1).marks[5, 2] == Levels([8, 2], [10, 3]).mark
    assert truth.trades == {(5, 1): (10, 2)}
    assert truth.superseded((5, 1)) < truth.superseded((5, 2)) == float("inf")


def _result(**changes: object) -> dict[str, object]:
    client = {
        "who": "book of X", "group": "fast", "shown": 5, "counts": {}, "worst": {"live_behind_s": 0.1}, "notes": ["wrong: <b>"],
        "when": {}, "events": {}, "gaps": [], "live": True,
    }  # fmt: skip
    for name in ("live_silent_s", "live_doubted_s", "live_wrong_s", "live_with_nothing_s"):
        client["worst"][name] = 0.0  # type: ignore[index]
    fault = {
        "number": 0,
        "kind": "node killed",
        "began_s": 1.0,
        "ended_s": 2.5,
        "what": "node 1",
        "error": None,
    }
    spread = {"clients": 1, "median_s": 0.5, "worst_s": 0.5}
    return {
        "options": {"seconds": 10.0, "seed": 1}, "machine": {"cores": 2, "load": [0.5], "system": "here"},
        "bounds": {"silent_s": 3.0, "behind_s": 3.0, "tolerance_s": 0.3}, "late_s": 0.0, "all_live": True, "faults": [fault],
        "counts": {"wrong": 0, "broken": 0}, "worst": client["worst"], "shown": 5, "recoveries": {"connected": 1},
        "silences": {"fast": spread}, "by_kind": {"node killed": {"count": 1, "failed": 0, "silences": {"fast": spread}}},
        "usage": {"gateway 0": {"rss_mb_before": 50.0}}, "samples": [{"at_s": 0.0, "rss_mb": {"gateway 0": 50.0}, "files": {}}],
        "live": [(0.0, 1), (5.0, 0)], "clients": [client], "held": True,
    } | changes  # fmt: skip


def test_a_wrong_book_a_lie_a_failed_fault_or_a_client_that_is_lost_does_not_hold() -> None:
    assert held(_result())
    assert not held(_result(counts={"wrong": 1}))
    assert not held(_result(worst={"live_behind_s": 0.31}))
    assert held(_result(worst={"live_behind_s": 0.31}, late_s=0.2))
    assert not held(_result(all_live=False))
    assert not held(_result(faults=[{"error": "no", "kind": "burst"}]))


def test_page_shows_what_was_found() -> None:
    text = page(_result())
    assert "Held" in text and "node killed" in text and "wrong: &lt;b&gt;" in text
    assert "1 faults of 1 kinds" in summary(_result())
