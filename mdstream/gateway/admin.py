"""The admin pages ``/healthz``, ``/readyz`` and ``/metrics``, on their own address."""

from __future__ import annotations

from collections.abc import Callable

from mdstream.gateway.config import GatewayConfig
from mdstream.gateway.http_listener import HttpListener, Page
from mdstream.gateway.http_messages import RequestLine
from mdstream.gateway.metrics import CONTENT_TYPE, Metrics

_READY = (b"/readyz", b"/", b"*")
"""``option httpchk`` of HAProxy, without a path of its own, sends ``OPTIONS /``."""


class Admin:
    """Answers probes and scrapes; ``not_ready`` says why clients should not connect now, None if they may."""

    def __init__(self, config: GatewayConfig, metrics: Metrics, not_ready: Callable[[], str | None]) -> None:
        self._config = config
        self._metrics = metrics
        self._not_ready = not_ready
        self._listener = HttpListener(self._page)

    @property
    def port(self) -> int:
        return self._listener.port

    async def start(self) -> None:
        """Listens; raises MdstreamError if it cannot."""
        await self._listener.open(self._config.admin_host, self._config.admin_port, what="the admin pages")

    def close(self) -> None:
        self._listener.close()

    def _page(self, request: RequestLine) -> Page:
        if request.path == b"/healthz":
            return 200, "ok", ()
        if request.path in _READY:
            reason = self._not_ready()
            return (200, "ready", ()) if reason is None else (503, reason, ())
        if request.path == b"/metrics":
            return 200, self._metrics.page(), [("Content-Type", CONTENT_TYPE)]
        return 404, "there are /healthz, /readyz and /metrics", ()
