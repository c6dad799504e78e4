"""The admin pages ``/healthz``, ``/readyz``, ``/metrics`` and ``/refused``, on their own address.

picows serves them: it reads a bounded HTTP/1.1 GET within a deadline and closes after the answer. Nothing more is needed.
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
import logging
from collections.abc import Callable

from picows import WSUpgradeRequest

from mdstream.bus import Refusal
from mdstream.gateway.config import GatewayConfig
from mdstream.gateway.http_listener import Answer, listen, response
from mdstream.gateway.metrics import CONTENT_TYPE, Metrics

log = logging.getLogger("mdstream.gateway.admin")


class Admin:
    """Answers probes and scrapes; ``not_ready`` says why clients should not connect now, None if they may."""

    def __init__(
        self,
        config: GatewayConfig,
        metrics: Metrics,
        not_ready: Callable[[], str | None],
        refused: Callable[[], list[Refusal]],
    ) -> None:
        """``refused``: what came from the bus and was refused, by instrument."""
        self._config = config
        self._metrics = metrics
        self._not_ready = not_ready
        self._refused = refused
        self._server: asyncio.Server | None = None
        self.port = 0

    async def start(self) -> None:
        """Listens; raises MdstreamError if it cannot."""
        self._server, self.port = await listen(
            self._answer, self._config.admin_host, self._config.admin_port, what="the admin pages"
        )

    def close(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None

    def _answer(self, request: WSUpgradeRequest) -> Answer:
        try:
            return self._page(request.path.partition(b"?")[0])
        except Exception:
            log.exception("an admin page could not be made")
            return response(500, "internal error")

    def _page(self, path: bytes) -> Answer:
        if path == b"/healthz":
            return response(200, "ok")
        if path == b"/readyz":
            reason = self._not_ready()
            return response(200, "ready") if reason is None else response(503, reason)
        if path == b"/metrics":
            return response(200, self._metrics.page(), [("Content-Type", CONTENT_TYPE)])
        if path == b"/refused":
            return response(200, refused_page(self._refused()), [("Content-Type", "application/json")])
        return response(404, "there are /healthz, /readyz, /metrics and /refused")


def refused_page(refusals: list[Refusal]) -> str:
    """``{"VENUE:SYMBOL": [{…}, …], …}``, of each instrument the newest first."""
    page: dict[str, list[dict[str, object]]] = {}
    for refusal in refusals:
        entry = dataclasses.asdict(refusal)
        page.setdefault(entry.pop("instrument"), []).append(entry)
    return json.dumps(page, indent=1)
