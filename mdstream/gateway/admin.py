"""The admin pages ``/healthz``, ``/readyz``, ``/metrics``, ``/refused`` and those of ``operator_pages``, on their own address."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from typing import Any

from mdstream.bus import Refusal
from mdstream.gateway.audit import Audit
from mdstream.gateway.config import GatewayConfig
from mdstream.gateway.hosts import Hosts, hosts_of
from mdstream.gateway.http_listener import Before, HttpListener, Page, Streamed
from mdstream.gateway.http_messages import RequestLine
from mdstream.gateway.inspection import Inspector
from mdstream.gateway.kept_page import KeptPage, SlicedPage
from mdstream.gateway.metrics import CONTENT_TYPE
from mdstream.gateway.operator_pages import OperatorPages
from mdstream.printable import printable, printable_json

_READY = (b"/readyz", b"/", b"*")
"""``option httpchk`` of HAProxy, without a path of its own, sends ``OPTIONS /``."""
_NOT_FOUND: Page = (
    404,
    "there are /healthz, /readyz, /metrics, /refused, /v1/status, /v1/sessions, /v1/trace and the page /operator/",
    (),
)


class Admin:
    """Answers probes and scrapes; ``not_ready`` says why clients should not connect now, None if they may."""

    def __init__(
        self,
        config: GatewayConfig,
        metrics: Callable[[], Iterator[bytes]],
        not_ready: Callable[[], str | None],
        refused: Callable[[], str],
        audit: Audit,
        inspector: Inspector,
        *,
        before: Before | None = None,
        now_s: Callable[[], float] = time.monotonic,
    ) -> None:
        """``metrics`` and ``refused`` make the pages of those names, the first in parts; ``before`` as in ``HttpListener``."""
        self._config = config
        self._not_ready = not_ready
        self._metrics = SlicedPage(metrics, now_s)
        self._refused = KeptPage(refused, now_s)
        self._audit = audit
        self._operator = OperatorPages(inspector, now_s)
        self._hosts = Hosts(config.admin_host, config.admin_hosts)
        self._listener = HttpListener(self._page, before)

    @property
    def port(self) -> int:
        return self._listener.port

    async def start(self) -> None:
        """Listens; raises MdstreamError if it cannot."""
        await self._listener.open(self._config.admin_host, self._config.admin_port, what="the admin pages")

    def close(self) -> None:
        self._listener.close()

    def _page(
        self, request: RequestLine, head: bytes, address: str
    ) -> Page | Coroutine[Any, Any, Page | Streamed]:
        if not all(map(self._hosts.allow, hosts_of(head))):
            return self._page_for_stranger(request, address)
        if request.path == b"/healthz":
            return 200, "ok", ()
        if request.path in _READY:
            reason = self._not_ready()
            return (200, "ready", ()) if reason is None else (503, printable(reason), ())
        if request.path == b"/metrics":
            return self._metrics_page()
        if request.path == b"/refused":
            return 200, self._refused.page(), [("Content-Type", "application/json")]
        return self._operator.page(request) or _NOT_FOUND

    async def _metrics_page(self) -> Page:
        return 200, await self._metrics.page(), [("Content-Type", CONTENT_TYPE)]

    def _page_for_stranger(self, request: RequestLine, address: str) -> Page:
        """For one who asks for a name that is not ours: whether we are ready, as load balancers need it, and nothing else."""
        if request.path == b"/healthz":
            return 200, "ok", ()
        if request.path in _READY:
            return (200, "ready", ()) if self._not_ready() is None else (503, "not ready", ())
        self._audit.refused("admin", "host", address)
        return 403, "the admin pages are not known by this name; the key admin_hosts lists their names", ()


def refused_page(refusals: list[Refusal]) -> str:
    """``{"VENUE:SYMBOL": [{…}, …], …}``, of each instrument the newest first."""
    return show_refused(by_instrument(refusals))


def by_instrument(refusals: list[Refusal]) -> dict[str, list[dict[str, Any]]]:
    """Of each instrument the newest first."""
    page: dict[str, list[dict[str, Any]]] = {}
    for refusal in refusals:
        entry = dataclasses.asdict(refusal)
        page.setdefault(entry.pop("instrument"), []).append(entry)
    return page


def show_refused(page: Mapping[str, Sequence[Mapping[str, Any]]]) -> str:
    """As JSON that is safe to print."""
    return printable_json(json.dumps(page, indent=1))
