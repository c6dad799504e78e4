"""Sorted alerts find the same ones as a look at each of them."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from mdstream.alert import read_alert, side_of
from mdstream.alerts.levels import Levels
from mdstream.alerts.watched import Watched


def watched(number: int, price: str) -> Watched:
    alert = read_alert({"instrument": "SIM:A", "on": "last", "when": "crosses", "price": price})
    return Watched(number, "alerts.a", str(number), 1, 1, 0, alert)


STEP = st.one_of(
    st.tuples(st.just("price"), st.integers(-20, 20)),
    st.tuples(st.just("add"), st.integers(-25, 25)),
    st.tuples(st.just("remove"), st.integers(0, 30)),
    st.tuples(st.just("rescale"), st.integers(-2, 0)),
)


@given(st.lists(STEP, max_size=60))
def test_a_price_moves_exactly_those_whose_side_it_changes(steps: list[tuple[str, int]]) -> None:
    levels, plain, number, scale = Levels(), {}, 0, 0
    levels.rescale(0)
    for what, value in steps:
        if what == "add":
            plain[number] = watched(number, f"{value / 2:.1f}")
            levels.add(plain[number])
            number += 1
        elif what == "remove":
            if value in plain:
                levels.remove(plain.pop(value))
        elif what == "rescale":
            scale = value
            levels.rescale(scale)
        else:
            found = levels.moved(value)
            wanted = {
                each.number: side
                for each in plain.values()
                if (side := side_of(each.alert, value, scale)) not in (0, each.state.side)
            }
            assert {each.number: side for each, side in found} == wanted and len(found) == len(wanted)
            for each, side in found:
                each.state.side = side
        assert len(levels) == len(plain)
