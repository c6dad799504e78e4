"""The audit log: who was let in, refused, sent away or limited, and why. Counted without bound, written within one.

Each event is a record of the logger ``mdstream.audit`` with named values. There is never a token, a key or a signature in it. Of each
kind of event only so many lines a second are written; what is beyond them is counted and told in one ``summary`` line a second. The
metrics count everything.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Protocol, TypeAlias, TypeVar

from mdstream.gateway.addresses import shown_address
from mdstream.gateway.budget import Budget
from mdstream.logs import AUDIT, FIELDS
from mdstream.printable import printable

log = logging.getLogger(AUDIT)

SUMMARY_S = 1.0
MOST_VALUES = 64
"""Values of one label of a metric; further ones count as ``other``."""
MOST_ADDRESSES = 1_000
"""Addresses that are told apart between two summaries."""
SHOWN_ADDRESSES = 5
MOST_TEXT = 200
"""Characters of one value in a line."""
OTHER = "other"

T = TypeVar("T")
Address: TypeAlias = bytes | str | None
"""An IP address as bytes, which is shown only where it is written, or a text, maybe with a port."""


class Who(Protocol):
    """What the log says of an identity (``mdstream.auth.identity.Identity``)."""

    @property
    def subject(self) -> str: ...
    @property
    def method(self) -> str: ...
    @property
    def token_id(self) -> str | None: ...
    @property
    def key_id(self) -> str | None: ...


class Audit:
    """Writes and counts events. Call ``tick`` a few times a second."""

    def __init__(self, lines_per_second: int = 50, *, clock: Callable[[], float] = time.monotonic) -> None:
        """``lines_per_second``: of each kind of event; 0 writes none and counts all."""
        self.logins_total: Counter[str] = Counter()
        """By method."""
        self.refusals_total: Counter[tuple[str, str]] = Counter()
        """By what was refused, and the reason."""
        self.revocations_total: Counter[str] = Counter()
        """Sessions ended, by what was revoked: session or credential."""
        self.limited_total: Counter[tuple[str, str]] = Counter()
        """By scope and limit."""
        self.unwritten_total = 0
        """Events that a summary tells together."""
        self._rate = lines_per_second
        self._clock = clock
        self._budgets: dict[str, Budget] = {}
        self._unwritten: Counter[tuple[str, ...]] = Counter()
        self._addresses: Counter[bytes | str] = Counter()
        self._summed_at = clock()

    def login(self, session: str, identity: Who, address: Address) -> None:
        """A client was let in. Where nobody has to say who he is (method ``none``), it is counted only."""
        method = identity.method
        if method in self.logins_total:
            self.logins_total[method] += 1
        else:
            _count(self.logins_total, method, OTHER)
        if method == "none" or not self._has_room(("login", method), address):
            return
        fields = {"session": session, "subject": identity.subject, "method": method}
        more = {"address": _shown(address), "token_id": identity.token_id, "key_id": identity.key_id}
        _log("login", {**fields, **more})

    def refused(
        self,
        what: str,
        reason: str,
        address: Address,
        subject: str | None = None,
        *,
        session: str | None = None,
    ) -> None:
        """``what`` (``upgrade``, ``auth``, ``command``, ``admin`` …) was refused; ``reason`` is a code, never a text of the client's."""
        _count(self.refusals_total, (what, reason), (OTHER, OTHER))
        if self._has_room(("refused", what, reason), address):
            fields = {"what": what, "reason": reason, "session": session, "subject": subject}
            _log("refused", {**fields, "address": _shown(address)})

    def revoked(self, what: str, session: str, identity: Who) -> None:
        """A session ended because ``what`` was revoked: ``session``, or ``credential`` (its token, key or subject)."""
        self.revocations_total[what] += 1
        if self._has_room(("revoked", what), None):
            fields = {"what": what, "session": session, "subject": identity.subject}
            _log("revoked", {**fields, "token_id": identity.token_id, "key_id": identity.key_id})

    def limited(
        self,
        scope: str,
        limit: str,
        *,
        session: str | None = None,
        subject: str | None = None,
        address: Address = None,
    ) -> None:
        """A limit was reached: of one ``session``, ``address`` or ``user``, or of the whole ``gateway``."""
        _count(self.limited_total, (scope, limit), (OTHER, OTHER))
        if self._has_room(("limited", scope, limit), address):
            fields = {"scope": scope, "limit": limit, "session": session, "subject": subject}
            _log("limited", {**fields, "address": _shown(address)})

    def tick(self) -> None:
        """Tells what was not written since the last summary."""
        now = self._clock()
        if self._unwritten and now - self._summed_at >= SUMMARY_S:
            self._sum_up(now)

    # ---- within

    def _has_room(self, kind: tuple[str, ...], address: Address) -> bool:
        """Whether an event gets a line; if not, the summary counts it. Asked before a line is made: in a storm, most get none."""
        if not self._rate:
            return False
        now = self._clock()
        budget = self._budgets.get(kind[0])
        if budget is None:
            budget = self._budgets[kind[0]] = Budget(self._rate, self._rate, now)
        if budget.take(now):
            return True
        self._keep(kind, address, now)
        return False

    def _keep(self, kind: tuple[str, ...], address: Address, now: float) -> None:
        if not self._unwritten:
            self._summed_at = now
        self.unwritten_total += 1
        _count(self._unwritten, kind, (OTHER,))
        if address is not None:
            host = address if isinstance(address, bytes) else _host(address)
            _count(self._addresses, host, OTHER, MOST_ADDRESSES)

    def _sum_up(self, now: float) -> None:
        counts = {".".join(map(printable, key)): count for key, count in self._unwritten.most_common()}
        most = self._addresses.most_common(SHOWN_ADDRESSES)
        top = {printable(_shown(host) or OTHER): count for host, count in most}
        fields = {"unwritten": sum(counts.values()), "seconds": round(now - self._summed_at, 1)}
        _log("summary", {**fields, "events": counts, "addresses": len(self._addresses), "most": top})
        self._unwritten.clear()
        self._addresses.clear()
        self._summed_at = now


def _count(counter: Counter[T], value: T, other: T, most: int = MOST_VALUES) -> None:
    """Counts ``value``, as ``other`` if there are many already: a client that chooses values cannot make a counter grow."""
    counter[value if value in counter or len(counter) < most else other] += 1


def _log(event: str, fields: Mapping[str, object]) -> None:
    shown = {name: _short(value) for name, value in fields.items() if value is not None}
    log.info("%s", event, extra={FIELDS: shown})


def _short(value: object) -> object:
    return f"{value[: MOST_TEXT - 1]}…" if isinstance(value, str) and len(value) > MOST_TEXT else value


def _shown(address: Address) -> str | None:
    return shown_address(address) if isinstance(address, bytes) else address


def _host(address: str) -> str:
    """``127.0.0.1`` of ``127.0.0.1:4242``, ``::1`` of ``[::1]:4242``; an address without a port as it is."""
    if address.startswith("["):
        return address[1:].partition("]")[0]
    return address.partition(":")[0] if address.count(":") == 1 else address
