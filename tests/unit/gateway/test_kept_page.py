from __future__ import annotations

from mdstream.gateway.kept_page import PAGES_AT_ONCE, KeptPage


def test_a_loop_of_requests_costs_one_page_a_second() -> None:
    made: list[int] = []
    now_s = 100.0

    def make() -> int:
        made.append(0)
        return len(made)

    kept = KeptPage(make, lambda: now_s)
    assert [kept.page() for _ in range(PAGES_AT_ONCE)] == list(range(1, PAGES_AT_ONCE + 1))
    for second in range(1, 5):
        shown = {kept.page() for _ in range(1_000)}
        assert len(made) <= PAGES_AT_ONCE + second and shown == {len(made)}
        now_s += 1
    now_s += 60
    assert kept.page() == len(made), "who comes now and then is shown a new one"
