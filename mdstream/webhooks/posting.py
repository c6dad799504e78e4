"""Sends a batch to its receiver, again and again until it is taken or given up."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from typing import Final, NamedTuple

from mdstream._version import __version__
from mdstream.auth.fetch import FetchError, fetch
from mdstream.printable import printable
from mdstream.webhooks.batches import Batch
from mdstream.webhooks.hooks import Hook
from mdstream.webhooks.options import WebhookOptions
from mdstream.webhooks.retries import Retries, asked_of
from mdstream.webhooks.signing import headers_of

logger = logging.getLogger("mdstream.webhooks")

MAX_ANSWER: Final = 65_536
"""Bytes of an answer. Nothing of it is used but the status and Retry-After."""
SAY_S: Final = 60.0
"""Between two lines in the log about the same trouble."""
GONE: Final = 410


class Failure(NamedTuple):
    """Why an attempt failed, and in how many seconds the receiver wants the next one."""

    why: str
    asked_s: float | None = None
    is_gone: bool = False


class Poster:
    """Of one webhook and one stream: one request at a time."""

    def __init__(self, hook: Hook, options: WebhookOptions, counters: Counter[tuple[str, str]]) -> None:
        self._hook = hook
        self._options = options
        self._counters = counters
        self._headers = {"Content-Type": "application/json", "User-Agent": f"mdstream/{__version__}"}
        self._said_s = float("-inf")

    async def deliver(self, batch: Batch) -> bool:
        """Returns whether it was taken, else it is given up. Never, where the receiver has said that it is gone for good."""
        retries = Retries(self._hook.give_up_s, self._options.now_s, first_s=self._options.retry_s)
        while (failure := await self.attempt(batch)) is not None:
            self._count("failures")
            if failure.is_gone:
                await self._stand_still()
            wait_s = retries.wait_s(failure.asked_s)
            if wait_s is None:
                self._give_up(batch, failure)
                return False
            self._say(failure, wait_s)
            await self._options.sleep(wait_s)
        self._said_s = float("-inf")
        self._count("batches")
        self._count("sent", batch.records)
        return True

    async def attempt(self, batch: Batch) -> Failure | None:
        """None: it was taken."""
        wall_s = self._options.wall_s()
        signed = headers_of(self._hook.secrets, batch.id, int(wall_s), batch.body)
        try:
            answer = await fetch(
                self._hook.url,
                timeout_s=self._hook.timeout_s,
                max_bytes=MAX_ANSWER,
                method="POST",
                headers={**self._headers, **signed},
                body=batch.body,
                ssl=self._hook.ssl,
            )
        except FetchError as error:
            return Failure(printable(error))
        if 200 <= answer.status < 300:
            return None
        asked_s = asked_of(answer.retry_after, wall_s)
        return Failure(f"HTTP {answer.status}", asked_s, answer.status == GONE)

    async def _stand_still(self) -> None:
        logger.error(
            "webhook %s: the receiver says that it is gone (HTTP 410); it is sent nothing more until this command is started again. "
            "What happens meanwhile waits in its streams, as long as these keep it",
            self._hook.name,
        )
        self._counters[self._hook.name, "gone"] = 1
        await asyncio.Event().wait()

    def _give_up(self, batch: Batch, failure: Failure) -> None:
        self._count("given_up", batch.records)
        logger.error(
            "webhook %s: %d records are given up, batch %s: not taken for %g s, at last because of: %s",
            *(self._hook.name, batch.records, batch.id, self._hook.give_up_s, failure.why),
        )

    def _say(self, failure: Failure, wait_s: float) -> None:
        now_s = self._options.now_s()
        if now_s - self._said_s >= SAY_S:
            self._said_s = now_s
            logger.warning(
                "webhook %s: not taken: %s; the next attempt is in %.1f s",
                self._hook.name,
                failure.why,
                wait_s,
            )

    def _count(self, what: str, more: int = 1) -> None:
        self._counters[self._hook.name, what] += more
