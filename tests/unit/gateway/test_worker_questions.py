"""Questions over a link that is two lists."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

from mdstream.gateway.worker_questions import AHEAD, Answering, Questions


class Knows:
    """Answers with numbers, for as long as somebody wants them."""

    def __init__(self) -> None:
        self.made = 0
        self.ended = 0

    async def answers(self, what: str, **query: Any) -> AsyncGenerator[Any, None]:
        try:
            if what == "breaks":
                raise RuntimeError("no")
            for number in range(query["most"]):
                self.made += 1
                yield number
        finally:
            self.ended += 1


class Pair:
    def __init__(self) -> None:
        self.knows = Knows()
        self.questions = Questions(self._tell)
        self.answering = Answering(lambda message: self.questions.take(message["answer"]), self.knows)
        self.told: list[dict[str, Any]] = []

    def _tell(self, do: str, **more: Any) -> None:
        assert do == "answer" and "what" not in more, "a worker's own word for what it does"
        self.told.append(more)
        self.answering.take(**more)


def test_an_answer_comes_and_all_is_forgotten(run) -> None:
    async def scenario() -> None:
        pair = Pair()
        assert [each async for each in pair.questions.answers("count", most=20)] == list(range(20))
        assert [each async for each in pair.questions.answers("count", most=0)] == []
        await asyncio.sleep(0)
        assert (pair.questions._asked, pair.answering._tasks, pair.answering._rooms) == ({}, {}, {})

    run(scenario())


def test_a_worker_is_a_few_answers_ahead_of_a_slow_reader(run) -> None:
    async def scenario() -> None:
        pair = Pair()
        answers = pair.questions.answers("count", most=1_000)
        assert await anext(answers) == 0
        for _ in range(50):
            await asyncio.sleep(0)
        assert pair.knows.made <= AHEAD + 1
        await answers.aclose()
        for _ in range(5):
            await asyncio.sleep(0)
        assert pair.knows.ended == 1 and pair.answering._tasks == {}

    run(scenario())


def test_a_worker_that_ends_answers_nothing_more(run) -> None:
    async def scenario() -> None:
        pair = Pair()
        answers = pair.questions.answers("count", most=1_000)
        assert await anext(answers) == 0
        pair.questions.close()
        assert len([each async for each in answers]) <= AHEAD
        assert [each async for each in pair.questions.answers("count", most=3)] == []
        await pair.answering.close()
        assert pair.knows.ended == 1

    run(scenario())


def test_a_question_that_cannot_be_answered_is_logged_and_ends(run, caplog) -> None:
    async def scenario() -> None:
        pair = Pair()
        assert [each async for each in pair.questions.answers("breaks")] == []

    run(scenario())
    assert "breaks could not be answered" in caplog.text
