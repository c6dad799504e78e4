"""Keys from a JWKS URL: fetched off the client's way, cached, refreshed, and kept through an outage for a bounded time."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from mdstream.auth.fetch import Answer, FetchError, fetch
from mdstream.auth.keys import MAX_KEY_FILE, KeySet, read_jwk_set
from mdstream.errors import CannotJudge

log = logging.getLogger("mdstream.auth.jwks")

FETCH_S = 5.0
"""For one fetch, from the name's look-up to the last byte."""
LEAST_PAUSE_S = 10.0
"""Between two fetches, anyone who asks: a flood of unknown ``kid`` causes no more."""
JITTER = 0.1

Get = Callable[[str], Awaitable[Answer]]


@dataclass(frozen=True, slots=True)
class JwksTimes:
    """``refresh_s`` between two fetches; ``keep_s``: how long keys are used while no fetch succeeds."""

    refresh_s: float = 600.0
    keep_s: float = 86_400.0


async def _get(url: str) -> Answer:
    return await fetch(url, timeout_s=FETCH_S, max_bytes=MAX_KEY_FILE)


class JwksKeys:
    """The keys behind one URL. ``start`` it, ``stop`` it."""

    def __init__(
        self,
        url: str,
        times: JwksTimes,
        *,
        now_s: Callable[[], float],
        get: Get = _get,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        self.url = url
        self._times = times
        self._now_s = now_s
        self._get = get
        self._sleep = sleep
        self._keys: KeySet | None = None
        self._loaded_at = 0.0
        self._asked_at: float | None = None
        self._failed = ""
        self._fetching: asyncio.Task[None] | None = None
        self._refreshing: asyncio.Task[None] | None = None
        self.on_withdrawn: Callable[[], object] = lambda: None
        """Called when a key that was there is there no longer, before anything is verified by the new ones."""
        self.fetches_total = 0
        self.failures_total = 0

    @property
    def age_s(self) -> float | None:
        """Since the last fetch that succeeded; None: there was none."""
        return None if self._keys is None else self._now_s() - self._loaded_at

    @property
    def keys(self) -> KeySet:
        """Raises CannotJudge while there are none, or they are older than ``keep_s``."""
        age_s = self.age_s
        if self._keys is None or age_s is None or age_s > self._times.keep_s:
            raise CannotJudge(f"no keys from {self.url}: {self._failed or 'not fetched yet'}")
        return self._keys

    def wanted(self, key_id: str | None) -> bool:
        """Whether a fetch may bring it: one is under way, failed last, or is allowed again."""
        return self._fetching is not None or bool(self._failed) or self._may_ask()

    def start(self) -> None:
        self._refreshing = asyncio.get_running_loop().create_task(self._refresh())

    async def stop(self) -> None:
        tasks = [task for task in (self._refreshing, self._fetching) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def ask(self) -> None:
        """Begins to fetch, unless that was done less than 10 s ago."""
        if self._fetching is None and self._may_ask():
            self._fetching = asyncio.get_running_loop().create_task(self._fetch())

    async def update(self) -> None:
        """As ``ask``; all who wait share one fetch. Raises CannotJudge if the last one failed."""
        self.ask()
        if self._fetching is not None:
            await asyncio.wait((self._fetching,))
        if self._failed:
            raise CannotJudge(f"{self.url}: {self._failed}")

    def _may_ask(self) -> bool:
        return self._asked_at is None or self._now_s() - self._asked_at >= LEAST_PAUSE_S

    async def _refresh(self) -> None:
        while True:
            try:
                await self.update()
            except CannotJudge:
                await self._sleep(LEAST_PAUSE_S * random.uniform(1, 1 + JITTER))
            else:
                await self._sleep(self._times.refresh_s * random.uniform(1 - JITTER, 1))

    async def _fetch(self) -> None:
        """Replaces the keys, or notes why not; raises nothing."""
        self._asked_at = self._now_s()
        self.fetches_total += 1
        try:
            self._use(await self._read())
            if self._failed:
                log.warning("the keys at %s are back", self.url)
            self._failed = ""
        except (FetchError, ValueError) as error:
            self._fail(str(error))
        finally:
            self._fetching = None

    def _use(self, keys: KeySet) -> None:
        old, self._keys = self._keys, keys
        self._loaded_at = self._now_s()
        if old is not None and any(key not in keys.keys for key in old.keys):
            log.info("a key at %s was withdrawn", self.url)
            self.on_withdrawn()

    async def _read(self) -> KeySet:
        answer = await self._get(self.url)
        if answer.status != 200:
            raise FetchError(f"HTTP {answer.status}")
        keys = read_jwk_set(answer.body, trusted=False)
        if not len(keys):
            raise ValueError("it has no key of RS256, ES256 or EdDSA for signatures")
        return keys

    def _fail(self, why: str) -> None:
        self.failures_total += 1
        if why != self._failed:
            kept = (
                "no token can be verified"
                if self._keys is None
                else f"the last keys are used for {self._times.keep_s:g} s"
            )
            log.warning("the keys at %s cannot be had: %s; %s", self.url, why, kept)
        self._failed = why
