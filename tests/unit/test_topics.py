from __future__ import annotations

from urllib.parse import quote, unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mdstream.topics import (
    ALERTS,
    MAX_TOPIC,
    TopicPattern,
    check_topic,
    encode_part,
    is_of_alerts,
    named_topic,
    own_topic,
)


@pytest.mark.parametrize("topic", ["a", "desk.notices", "user.al-ice_1", "a%20b.%C3%A9", MAX_TOPIC * "x"])
def test_topics(topic: str) -> None:
    assert check_topic(topic) == topic


@pytest.mark.parametrize(
    "wrong",
    ["", ".", "a.", ".a", "a..b", "a b", "a*", "a>", "é", "a%2e", "a%2", "%41", "a\n", "a%2D", (MAX_TOPIC + 1) * "x", None, 7],
)  # fmt: skip
def test_what_is_no_topic_is_refused(wrong: object) -> None:
    with pytest.raises(ValueError, match="topic is .* it must be one or more parts"):
        check_topic(wrong)


@given(st.text(min_size=1, max_size=20))
def test_any_text_is_one_part_and_has_one_spelling(text: str) -> None:
    part = encode_part(text)
    assert unquote(part) == text
    if len(part) <= MAX_TOPIC:
        assert check_topic(part) == part and "." not in part
    assert part == quote(text, safe="").replace("~", "%7E").replace(".", "%2E")


def test_a_user_has_a_topic_of_its_own() -> None:
    assert own_topic("alice@example.com") == "user.alice%40example%2Ecom"
    assert named_topic("user", "alice") == "user.alice"
    assert named_topic("user.bob", "alice") == "user.bob"
    assert own_topic("") is None
    assert own_topic(256 * "x") is None
    with pytest.raises(ValueError, match="who you are is not known"):
        named_topic("user", "")


def test_the_map_of_a_user_s_alerts_is_his() -> None:
    assert named_topic("alerts", "al.ice") == "alerts.al%2Eice"
    assert own_topic("alice", ALERTS) == "alerts.alice"
    assert is_of_alerts("alerts.alice")
    assert not any(map(is_of_alerts, ("alerts", "alerts.a.b", "user.alice", "alertss.a")))
    with pytest.raises(ValueError, match="topic is 'alerts', your own"):
        named_topic("alerts", "")


@pytest.mark.parametrize(
    ("pattern", "matching", "others"),
    [
        ("desk.a", ["desk.a"], ["desk.ab", "desk", "desk.a.b"]),
        ("desk.*", ["desk.a", "desk.a.b"], ["desk", "desks.a"]),
        ("des*", ["desk", "desk.a"], ["de"]),
        ("*", ["desk.a", "user"], ["user.alice", "alerts.alice"]),
        ("use*", ["users.a"], ["user.alice"]),
        ("user.*", ["user.alice"], ["users"]),
        ("alerts.*", ["alerts.alice"], ["alertss", "user.alice"]),
        ("user.al*", ["user.alice"], ["user.bob"]),
    ],
)
def test_patterns(pattern: str, matching: list[str], others: list[str]) -> None:
    parsed = TopicPattern.parse(pattern)
    assert all(map(parsed.matches, matching))
    assert not any(map(parsed.matches, others))


@pytest.mark.parametrize("wrong", ["", "a.*.b", "a**", ".*", "a. *", None])
def test_what_is_no_pattern_is_refused(wrong: object) -> None:
    with pytest.raises(ValueError, match="it must be a topic, or the beginning of one"):
        TopicPattern.parse(wrong)
