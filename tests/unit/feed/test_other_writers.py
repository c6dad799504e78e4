"""How often an instrument is published again that another writer writes over."""

from __future__ import annotations

from mdstream.feed.other_writers import ANSWER_US, Answers


def test_the_first_is_answered_at_once_and_the_next_a_second_later() -> None:
    answers = Answers()
    assert answers.at_once("A", 50)
    assert not answers.at_once("A", 60) and not answers.at_once("A", 70)
    assert answers.at_once("B", 70), "each instrument has its own"
    assert answers.due(50 + ANSWER_US - 1) == []
    assert answers.due(50 + ANSWER_US) == ["A"]
    assert answers.due(10 * ANSWER_US) == []
    assert not answers.at_once("A", 60 + ANSWER_US), "what was due counts as an answer"


def test_what_is_put_off_is_due_once() -> None:
    answers = Answers()
    answers.later("A", 0)
    answers.later("A", 10)
    assert answers.due(ANSWER_US) == ["A"]
    assert answers.due(5 * ANSWER_US) == []


def test_an_answer_at_once_serves_what_was_put_off() -> None:
    answers = Answers()
    answers.later("A", 0)
    assert answers.at_once("A", 10)
    assert answers.due(5 * ANSWER_US) == []
