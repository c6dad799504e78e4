"""The figures of several workers as one."""

from __future__ import annotations

from typing import Any

from mdstream.gateway import session_rows, status


def figures(**changes: Any) -> dict[str, Any]:
    made = status.nothing() | {
        "started_us": 10,
        "counts": {"connections": 2, "slow_sessions": 1},
        "totals": {"updates": 5},
        "flush_us": [1, 2],
        "latency_us": [0, 1],
        "loop": {"late_s": 0.1, "overload_level": 0},
        "instruments": {"live": 3, "stale": 0},
    }
    return made | changes


def feed(venue: str, newest_ms: int | None, oldest_ms: int | None, **states: int) -> dict[str, Any]:
    count = sum(states.values())
    ages = {"newest_ms": newest_ms, "oldest_ms": oldest_ms}
    return {"venue": venue, "instruments": count, "states": states, **ages, "refused": count}


def test_counts_are_summed_and_of_what_all_see_alike_the_worst_is_shown() -> None:
    nats = {"connected": True, "reachable": True, "has_quorum": True, "answer_age_s": 1.0}
    one = figures(nats=nats, feeds=[feed("A", 5, 90, live=3)])
    two = figures(
        nats={**nats, "connected": False, "answer_age_s": None},
        started_us=4,
        draining=True,
        loop={"late_s": 0.3, "overload_level": 2},
        instruments={"live": 1, "stale": 2},
        feeds=[feed("A", None, None, live=1, stale=2), feed("B", 7, 7, live=1)],
    )
    merged = status.merge([one, two])
    assert merged["counts"] == {"connections": 4, "slow_sessions": 2} and merged["totals"] == {"updates": 10}
    assert (merged["flush_us"], merged["latency_us"]) == ([2, 4], [0, 2])
    assert merged["loop"] == {"late_s": 0.3, "overload_level": 2}
    assert merged["instruments"] == {"live": 3, "stale": 2}
    assert merged["draining"] and merged["started_us"] == 4
    assert merged["nats"] == {**nats, "connected": False, "answer_age_s": 1.0}
    assert merged["feeds"] == [
        feed("A", 5, 90, live=3, stale=2) | {"instruments": 3, "refused": 3},
        feed("B", 7, 7, live=1),
    ]
    assert status.merge([one]) == one


def test_lists_have_the_worst_of_all_workers() -> None:
    slow = [{"session": str(number), "unread_bytes": number} for number in range(30)]
    troubled = [{"instrument": f"A:{number}"} for number in range(15)]
    one = figures(slow=slow[:15], troubled=troubled, refusals={"total": 3, "latest": [3]})
    two = figures(slow=slow[15:], troubled=troubled[5:], refusals={"total": 9, "latest": [9]})
    merged = status.merge([one, two])
    assert [row["unread_bytes"] for row in merged["slow"]] == list(range(29, 9, -1))
    assert merged["troubled"] == troubled and merged["refusals"]["latest"] == [9]


def test_pages_of_sessions_follow_each_other_whoever_has_them() -> None:
    rows = [{"session": f"{number:02}"} for number in range(10)]
    one, two = session_rows.page_of(rows[0:10:2], False), session_rows.page_of(rows[1:10:2], False)
    first = session_rows.merge([one, two], 4)
    assert first == {"sessions": rows[:4], "next": "03"}
    assert session_rows.merge([one, two], 10) == {"sessions": rows, "next": None}
    cut = session_rows.page_of(rows[:5], True)
    assert session_rows.merge([cut], 5)["next"] == "04"
    assert session_rows.merge([], 5) == {"sessions": [], "next": None}
