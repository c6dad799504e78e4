from __future__ import annotations

import copy
import json
import re
from importlib import resources
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mdstream.auth.entitlements import ALL, MAX_GRANTS, MAX_PATTERNS, NONE, Entitlements
from mdstream.auth.topic_grants import Verb
from mdstream.model import INSTRUMENT_CHANNELS, Channel

SCHEMA = json.loads(resources.files("mdstream.auth").joinpath("entitlements.schema.json").read_text())
GRANT: dict[str, Any] = {
    "channels": ["book", "ticker"],
    "instruments": ["SIM:*"],
    "depth": 20,
    "interval_ms": 100,
}


def claim(*grants: dict[str, Any]) -> dict[str, Any]:
    return {"grants": list(grants)}


def made(*grants: dict[str, Any]) -> Entitlements:
    return Entitlements.from_claim(claim(*grants))


names = st.sampled_from(["SIM:A", "SIM:AB", "SIM:BA", "X:A", "X:AB"])
grants = st.fixed_dictionaries(
    {
        "channels": st.lists(st.sampled_from([*INSTRUMENT_CHANNELS, "*"]), min_size=1, max_size=3),
        "instruments": st.lists(st.sampled_from(["*", "SIM:*", "SIM:A*", "*:A", "X:*B", "SIM:AB"]), min_size=1, max_size=3),
    },
    optional={
        "depth": st.sampled_from([0, 1, 20]),
        "interval_ms": st.sampled_from([0, 100, 1000]),
        "delay_ms": st.sampled_from([0, 1000, 900_000]),
    },
)  # fmt: skip


def allowing(
    entries: list[dict[str, Any]], channel: str, name: str, depth: int, interval_ms: int
) -> list[int]:
    """The delays of the grants that allow it, by the words of the documentation."""
    return [
        entry.get("delay_ms", 0)
        for entry in entries
        if {channel, "*"} & set(entry["channels"])
        and any(
            each == "*" or re.fullmatch(each.replace("*", "[^:]*"), name) for each in entry["instruments"]
        )
        and (not entry.get("depth", 0) or channel != "book" or 0 < depth <= entry["depth"])
        and interval_ms >= entry.get("interval_ms", 0)
    ]


@given(
    st.lists(grants, max_size=5),
    st.sampled_from(INSTRUMENT_CHANNELS),
    names,
    st.sampled_from([0, 1, 10, 20, 100]),
    st.sampled_from([0, 50, 100, 1000]),
)
def test_a_request_is_allowed_if_one_grant_allows_all_of_it(
    entries: list[dict[str, Any]], channel: Channel, name: str, depth: int, interval_ms: int
) -> None:
    depth = depth if channel == "book" else 0
    delays = allowing(entries, channel, name, depth, interval_ms)
    entitlements = made(*entries)
    for _ in range(2):  # the second time from what was remembered
        why = entitlements.check(channel, name, depth, interval_ms)
        assert (why is None) == bool(delays)
        if delays:
            assert entitlements.delay_ms(channel, name, depth, interval_ms) == min(delays)
        else:
            assert why is not None and name in why
            assert entitlements.delay_ms(channel, name, depth, interval_ms) is None


@given(st.lists(grants, max_size=5), names)
def test_a_name_may_be_told_if_any_channel_of_it_is_allowed(entries: list[dict[str, Any]], name: str) -> None:
    allowed = [
        made(*entries).check(channel, name, depth, 1000) is None
        for channel in INSTRUMENT_CHANNELS
        for depth in (0, 1)
    ]
    assert made(*entries).may_see(name) == any(allowed)


def test_all_and_none() -> None:
    for channel in INSTRUMENT_CHANNELS:
        assert ALL.check(channel, "any text", 0, 0) is None
        assert NONE.check(channel, "SIM:A", 1, 1000) is not None
    assert ALL.may_see("x") and not NONE.may_see("SIM:A")
    assert ALL.delay_ms("book", "SIM:A", 0, 0) == 0
    assert made().check("book", "SIM:A", 1, 1000) is not None


@pytest.mark.parametrize(
    ("request_", "said"),
    [
        (("book", "X:A", 1, 100), "X:A is not among the instruments that you may see"),
        (
            ("book", "X:" + 5000 * "A", 1, 100),
            f"X:{159 * 'A'}… is not among the instruments that you may see",
        ),
        (("trades", "SIM:A", 0, 0), "you may not see trades of SIM:A; you may see book, ticker"),
        (
            ("book", "SIM:A", 50, 100),
            "this is more than you may see of book of SIM:A, which is a depth of at most 20 with interval_ms 100 or more",
        ),
        (
            ("ticker", "SIM:A", 0, 0),
            "this is more than you may see of ticker of SIM:A, which is interval_ms 100 or more",
        ),
    ],
)
def test_a_refusal_says_what_is_allowed(request_: tuple[str, str, int, int], said: str) -> None:
    assert made(GRANT).check(*request_) == said


def test_a_refusal_names_all_that_the_grants_allow() -> None:
    several = made(GRANT, {**GRANT, "depth": 0, "interval_ms": 1000}, {**GRANT, "depth": 5})
    assert several.check("book", "SIM:A", 0, 100) == (
        "this is more than you may see of book of SIM:A, which is any depth with interval_ms 1000 or more "
        "or a depth of at most 20 with interval_ms 100 or more"
    )


def test_the_same_grants_are_compiled_once() -> None:
    assert made(GRANT) is made(copy.deepcopy(GRANT))
    assert made(GRANT) is not made({**GRANT, "depth": 10})


def test_what_is_remembered_is_bounded() -> None:
    entitlements = made(
        *({**GRANT, "instruments": [f"SIM:{digit}*", f"SIM:*{digit}"]} for digit in range(10))
    )
    seen = 0
    for number in range(3000):
        assert entitlements.check("book", f"SIM:{number}", 20, 100) is None
        assert entitlements.check("book", f"X:{number}", 20, 100) is not None
        assert entitlements.check("ticker", f"SIM:{number:03}", 0, 100) is None
        seen = max(seen, len(entitlements._offers))
    assert 50 < seen <= 256


MANY = [f"SIM:{number}" for number in range(MAX_PATTERNS // 2 + 1)]
WRONG: list[tuple[object, str]] = [
    (None, "md must be a map"),
    ([GRANT], "md must be a map"),
    ({}, "md has no grants"),
    ({"grants": {}}, "md.grants must be an array"),
    ({"grants": [], "grant": []}, "md has the unknown key 'grant'; did you mean grants?"),
    (claim(*[GRANT] * (MAX_GRANTS + 1)), f"md.grants must be an array with 0 to {MAX_GRANTS} entries"),
    ({"grants": [GRANT, "book"]}, r"md.grants[1] must be a map with channels and instruments"),
    (claim({"channels": ["book"]}), "md.grants[0] has no instruments"),
    (claim({**GRANT, "channel": []}), "md.grants[0] has the unknown key 'channel'; did you mean channels?"),
    (claim({**GRANT, 5000 * "x": 1}), "md.grants[0] has the unknown key 'xxx"),
    (claim({**GRANT, "channels": []}), "md.grants[0].channels must be an array with 1 to"),
    (claim({**GRANT, "channels": "book"}), "md.grants[0].channels must be an array"),
    (
        claim({**GRANT, "channels": ["book", "depths"]}),
        "md.grants[0].channels[1] must be one of book, trades, ticker, instruments, board, candles or *",
    ),
    (claim({**GRANT, "channels": [[]]}), "md.grants[0].channels[0] must be one of"),
    (claim(GRANT, GRANT, {**GRANT, "instruments": ["sim:A"]}), "md.grants[2].instruments[0] is 'sim:A'; it must be *"),
    (claim({**GRANT, "instruments": []}), "md.grants[0].instruments must be an array with 1 to"),
    (claim({**GRANT, "depth": -1}), "md.grants[0].depth must be a whole number from 0"),
    (claim({**GRANT, "depth": True}), "md.grants[0].depth must be"),
    (claim({**GRANT, "depth": 1.5}), "md.grants[0].depth must be"),
    (claim({**GRANT, "interval_ms": "100"}), "md.grants[0].interval_ms must be"),
    (claim({**GRANT, "delay_ms": 2**40}), "md.grants[0].delay_ms must be"),
    (claim({**GRANT, "publish": 1}), "md.grants[0].publish must be true or false"),
]  # fmt: skip


@pytest.mark.parametrize(("wrong", "said"), WRONG)
def test_a_wrong_claim_is_refused_with_its_place(wrong: object, said: str) -> None:
    with pytest.raises(ValueError) as raised:
        Entitlements.from_claim(wrong)
    assert said in str(raised.value)
    assert len(str(raised.value)) < 500
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(wrong, SCHEMA)


def test_patterns_are_counted_over_all_grants() -> None:
    with pytest.raises(ValueError, match="md.grants has 1026 patterns"):
        made({**GRANT, "instruments": MANY}, {**GRANT, "instruments": MANY})


def test_the_schema_is_one_and_takes_what_is_accepted() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    for good in (claim(), claim(GRANT), claim({**GRANT, "publish": True, "delay_ms": 900_000})):
        jsonschema.validate(good, SCHEMA)
        Entitlements.from_claim(good)


@given(st.text("AS:*-a.", max_size=7))
def test_schema_and_code_agree_on_patterns(text: str) -> None:
    given_ = claim({**GRANT, "instruments": [text]})
    try:
        Entitlements.from_claim(given_)
    except ValueError:
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(given_, SCHEMA)
    else:
        jsonschema.validate(given_, SCHEMA)


# ---- topics

DESK: dict[str, Any] = {"channels": ["events"], "topics": ["desk.*"], "publish": True}


def test_a_grant_of_topics_allows_what_it_says() -> None:
    found = made(DESK, {"channels": ["*"], "topics": ["news"]}, {**DESK, "topics": ["in"], "read": False})
    assert found.may(Verb.READ, "events", "desk.a", "alice")
    assert found.may(Verb.PUBLISH, "events", "desk.a", "alice")
    assert found.may(Verb.READ, "map", "news", "alice")
    assert found.may(Verb.PUBLISH, "events", "in", "alice")
    for verb, channel, topic in (
        (Verb.READ, "map", "desk.a"),
        (Verb.READ, "events", "in"),
        (Verb.READ, "events", "desks"),
        (Verb.PUBLISH, "events", "news"),
        (Verb.WRITE, "map", "news"),
        (Verb.WHO, "presence", "news"),
    ):
        for _ in range(2):  # the second time from what was remembered
            assert not found.may(verb, channel, topic, "alice")


def test_a_user_may_read_its_own_topic_and_no_other() -> None:
    for found in (NONE, made(), made({"channels": ["*"], "topics": ["*"], "publish": True})):
        assert found.may(Verb.READ, "events", "user.alice", "alice")
        assert not found.may(Verb.READ, "events", "user.alice", "bob")
        assert not found.may(Verb.READ, "events", "user.", "")
        assert not found.may(Verb.PUBLISH, "events", "user.alice", "alice")
    assert made({"channels": ["events"], "topics": ["user.*"]}).may(Verb.READ, "events", "user.bob", "alice")


def test_a_user_may_read_and_change_the_map_of_his_alerts_and_nobody_else_s() -> None:
    for found in (NONE, made(), made({"channels": ["*"], "topics": ["*", "user.*"], "write": True})):
        for verb in (Verb.READ, Verb.WRITE):
            assert found.may(verb, "map", "alerts.alice", "alice")
            assert not found.may(verb, "map", "alerts.alice", "bob")
            assert not found.may(verb, "map", "alerts.alice.x", "alice")
        assert not found.may(Verb.READ, "events", "alerts.alice", "alice")
        assert not found.may(Verb.READ, "presence", "alerts.alice", "alice")
        assert not found.may(Verb.PUBLISH, "events", "alerts.alice", "alice")
        assert not found.may(Verb.READ, "map", "alerts.", "")
    desk = made({"channels": ["map"], "topics": ["alerts.*"], "write": True})
    assert desk.may(Verb.WRITE, "map", "alerts.bob", "alice")


def test_all_topics_without_authentication_and_none_for_all_instruments() -> None:
    everything = made({"channels": ["*"], "instruments": ["*"], "publish": True})
    for verb in Verb:
        assert ALL.may(verb, "events", "desk.a", "")
        assert ALL.may(verb, "map", "user.bob", "")
        assert not everything.may(verb, "events", "desk.a", "alice")
        assert not NONE.may(verb, "events", "desk.a", "alice")


def test_what_is_remembered_of_topics_is_bounded() -> None:
    found = made(DESK)
    for number in range(600):
        assert found.may(Verb.READ, "events", f"desk.{number}", "alice")
    assert 50 < len(found._may) <= 256


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({**DESK, "instruments": ["*"]}, "md.grants[0] has the unknown key 'instruments'"),
        (
            {**DESK, "channels": ["book"]},
            "md.grants[0].channels[0] must be one of events, map, presence or *",
        ),
        ({**DESK, "topics": ["a..b"]}, "md.grants[0].topics[0] is 'a..b'; it must be a topic"),
        ({**DESK, "topics": []}, "md.grants[0].topics must be an array with 1 to"),
        ({**DESK, "publish": 1}, "md.grants[0].publish must be true or false"),
        ({**DESK, "depth": 1}, "md.grants[0] has the unknown key 'depth'"),
        ({"topics": ["a"]}, "md.grants[0] has no channels"),
    ],
)
def test_a_wrong_grant_of_topics_is_refused_with_its_place(wrong: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError) as raised:
        made(wrong)
    assert said in str(raised.value)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(claim(wrong), SCHEMA)
    jsonschema.validate(claim(DESK), SCHEMA)


def test_patterns_of_topics_are_counted_over_all_grants() -> None:
    many = [f"a.{number}" for number in range(MAX_PATTERNS // 2 + 1)]
    with pytest.raises(ValueError, match="md.grants has 1026 patterns of topics"):
        made({**DESK, "topics": many}, {**DESK, "topics": many})
