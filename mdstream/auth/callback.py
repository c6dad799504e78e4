"""Asks somebody else who a client is: an HTTP POST with some of its headers. For those who have sessions, but no tokens.

The request is JSON, ``{"headers": {name: value}}``. The answer 200 has JSON: ``subject``, and optionally ``md`` (the entitlements) and
``expires`` (seconds since the Unix epoch). 401 and 403 are a no. Anything else, and no answer in time, is none: the client is told to come
again.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from mdstream.auth import reasons
from mdstream.auth.credentials import Credentials, chosen_headers
from mdstream.auth.fetch import Answer, FetchError, fetch
from mdstream.auth.identity import Identity, is_name
from mdstream.auth.tokens import entitlements_of, time_of
from mdstream.errors import CannotJudge, Unauthorized
from mdstream.nesting import is_deep

MAX_ANSWER = 65_536
MAX_ASKED = 64
"""Requests under way at a time; more clients are told to come again."""


@dataclass(frozen=True, slots=True)
class CallbackOptions:
    """``headers``: in lower case, those that are sent on; a client that brings none of them is not asked about."""

    url: str
    headers: tuple[str, ...] = ("cookie", "authorization")
    timeout_s: float = 2.0


Post = Callable[[str, bytes, float], Awaitable[Answer]]


async def _post(url: str, body: bytes, timeout_s: float) -> Answer:
    headers = {"Content-Type": "application/json"}
    return await fetch(
        url, timeout_s=timeout_s, max_bytes=MAX_ANSWER, method="POST", headers=headers, body=body
    )


class Callback:
    """Asks, at most once at a time for the same headers."""

    def __init__(
        self,
        options: CallbackOptions,
        *,
        wall_s: Callable[[], float],
        now_s: Callable[[], float],
        post: Post = _post,
    ) -> None:
        self._options = options
        self._wall_s = wall_s
        self._now_s = now_s
        self._post = post
        self._asking: dict[bytes, asyncio.Task[Identity]] = {}

    @property
    def asking(self) -> int:
        """Requests under way."""
        return len(self._asking)

    def question(self, credentials: Credentials) -> Mapping[str, str]:
        """The headers that would be sent on; empty: there is nothing to ask."""
        return chosen_headers(credentials, self._options.headers)

    async def ask(self, question: Mapping[str, str], name: bytes) -> Identity:
        """``name`` is the question's digest. Raises Unauthorized, CannotJudge."""
        task = self._asking.get(name)
        if task is None:
            if len(self._asking) >= MAX_ASKED:
                raise CannotJudge(f"{MAX_ASKED} requests to {self._options.url} are under way")
            task = self._asking[name] = asyncio.get_running_loop().create_task(self._ask(question))
            task.add_done_callback(lambda done: self._done(name, done))
        return await asyncio.shield(task)

    def _done(self, name: bytes, task: asyncio.Task[Identity]) -> None:
        self._asking.pop(name, None)
        if not task.cancelled():
            task.exception()  # those who wait have it; nobody may wait any more

    async def _ask(self, question: Mapping[str, str]) -> Identity:
        body = json.dumps({"headers": dict(question)}).encode()
        try:
            answer = await self._post(self._options.url, body, self._options.timeout_s)
        except FetchError as error:
            raise CannotJudge(f"{self._options.url}: {error}") from None
        if answer.status in (401, 403):
            raise Unauthorized(reasons.DENIED)
        if answer.status != 200:
            raise CannotJudge(f"{self._options.url}: HTTP {answer.status}")
        return self._read(answer.body)

    def _read(self, body: bytes) -> Identity:
        try:
            text = body.decode()
            found: Any = None if is_deep(text) else json.loads(text)
        except (ValueError, RecursionError):
            found = None
        if not isinstance(found, dict) or not is_name(found.get("subject")):
            raise CannotJudge(f"{self._options.url}: the answer is no JSON object with a subject")
        entitlements = entitlements_of(found)
        expires_s = time_of(found, "expires")
        if expires_s is None:
            return Identity(found["subject"], "callback", entitlements)
        left_s = expires_s - self._wall_s()
        if left_s <= 0:
            raise Unauthorized(reasons.EXPIRED)
        return Identity(
            found["subject"],
            "callback",
            entitlements,
            expires_us=int(expires_s * 1_000_000),
            expires_at_s=self._now_s() + left_s,
        )

    async def stop(self) -> None:
        tasks = list(self._asking.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def digest_of(question: Mapping[str, str]) -> bytes:
    """The name of a question in caches."""
    return sha256(json.dumps(sorted(question.items())).encode()).digest()
