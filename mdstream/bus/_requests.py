"""Questions to NATS, and their answers, which all come to one inbox that the tap reads.

nats-py makes a random name, a queue entry and a task's turn for each, and looks at every character of a header's name: an instrument
that opens asks six questions or more, and half of its time was theirs.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import NamedTuple

from nats import errors

from mdstream.bus.denied import PUBLISH, Denial, DeniedError

NO_RESPONDERS = b"503"
"""The status where nobody listens to a question."""
_VERSION = b"NATS/1.0"


class Answer(NamedTuple):
    """To a question."""

    subject: bytes
    reply: bytes
    payload: bytes
    headers: bytes | None


class _Question(NamedTuple):
    subject: str
    answer: asyncio.Future[Answer]
    deadline: asyncio.TimerHandle


class Requests:
    """The questions that wait for their answers."""

    def __init__(self) -> None:
        self.inbox = ""
        """Where answers come to, followed by a point and the question's number; empty before the first."""
        self._number = 0
        self._open: dict[int, _Question] = {}

    def ask(self, subject: str, within_s: float) -> tuple[int, asyncio.Future[Answer]]:
        """The number of a question, which ``close`` must end, and its answer: nats.errors.TimeoutError if there is none in time."""
        self._number += 1
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Answer] = loop.create_future()
        deadline = loop.call_later(within_s, _refuse, answer, errors.TimeoutError())
        self._open[self._number] = _Question(subject, answer, deadline)
        return self._number, answer

    def close(self, number: int) -> None:
        question = self._open.pop(number)
        question.deadline.cancel()
        if not question.answer.cancel() and not question.answer.cancelled():
            question.answer.exception()  # nobody may have waited for it: then it must not be logged as forgotten

    def reply_to(self, number: int) -> str:
        """Where the answer to a question must be sent."""
        return f"{self.inbox}.{number}"

    def hear(self, subject: bytes, reply: bytes, payload: bytes, headers: bytes | None) -> None:
        """Call for each message to the inbox. What nobody has asked, or asks no longer, is dropped."""
        with suppress(ValueError):
            question = self._open.get(int(subject.rpartition(b".")[2]))
            if question is not None and not question.answer.done():
                question.answer.set_result(Answer(subject, reply, payload, headers))

    def fail(self, error: Exception) -> None:
        """Ends all that wait."""
        for question in self._open.values():
            _refuse(question.answer, error)

    def deny(self, denial: Denial) -> None:
        """Ends those that the server has not let through: nobody will answer them."""
        if denial.do == PUBLISH:
            for question in self._open.values():
                if question.subject.lower() == denial.subject:
                    _refuse(question.answer, DeniedError(denial))


def _refuse(answer: asyncio.Future[Answer], error: Exception) -> None:
    if not answer.done():
        answer.set_exception(error)


def headers_of(block: bytes) -> dict[str, str]:
    """A header block as nats-py gives it; the status in its first line as ``Status`` and ``Description``."""
    first, *lines = block.split(b"\r\n")
    found = dict(
        zip(
            ("Status", "Description"),
            first.removeprefix(_VERSION).decode("utf-8", "replace").split(maxsplit=1),
            strict=False,
        )
    )
    for line in lines:
        name, colon, value = line.partition(b":")
        if colon:
            found[name.strip().decode("utf-8", "replace")] = value.strip().decode("utf-8", "replace")
    return found
