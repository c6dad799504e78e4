"""Commands that work at NATS until a signal ends them: ``/metrics`` on an address of their own, and a line in the log each minute."""

from __future__ import annotations

import argparse
import asyncio
import logging
import sys
from collections.abc import Callable, Coroutine
from typing import Any, Final

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.registry import Collector

from mdstream.bus import BusOptions
from mdstream.cli.client_options import run_until_signal
from mdstream.cli.commands import EXIT_USAGE
from mdstream.errors import ConfigError, MdstreamError
from mdstream.feeds import _cli
from mdstream.gateway.hosts import Hosts, hosts_of
from mdstream.gateway.http_listener import HttpListener, Page
from mdstream.gateway.http_messages import RequestLine
from mdstream.gateway.process_metrics import ProcessMetrics

SAY_S: Final = 60.0
_HEADERS: Final = [("Content-Type", CONTENT_TYPE_LATEST)]


class Service:
    """One command: ``name`` is what follows ``mdstream``, and what its log and its metrics are called."""

    def __init__(self, name: str, example_port: int) -> None:
        self.name = name
        self.log = logging.getLogger(f"mdstream.{name}")
        self._example_port = example_port

    def configure(self, parser: argparse.ArgumentParser, about: str, epilog: str) -> Callable[..., Any]:
        """The options of NATS, and ``--metrics``; returns what adds the command's own."""
        _cli.configure(parser, about)
        parser.formatter_class = argparse.RawDescriptionHelpFormatter
        parser.epilog = epilog
        add: Callable[..., Any] = parser.add_argument_group(self.name).add_argument
        self.add_metrics(add)
        return add

    def add_metrics(self, add: Callable[..., Any]) -> None:
        """The option ``--metrics``."""
        add(
            "--metrics",
            metavar="HOST:PORT",
            type=read_address,
            help=f"serve /metrics for Prometheus, and /healthz, there, such as 127.0.0.1:{self._example_port} (default: nowhere)",
        )

    def run(self, args: argparse.Namespace, serve: Callable[[BusOptions], Coroutine[Any, Any, int]]) -> int:
        """Serves until a signal comes; returns the exit code."""
        try:
            _cli.configure_log(args)
            bus_options = _cli.bus_options(args, f"mdstream {self.name}")
        except ConfigError as error:
            return self.fail(str(error))
        return run_until_signal(self._guarded(serve(bus_options)))

    async def _guarded(self, work: Coroutine[Any, Any, int]) -> int:
        try:
            return await work
        except MdstreamError as error:
            return self.fail(str(error))

    async def work(
        self, collector: Collector, metrics: tuple[str, int] | None, say: Callable[[], object]
    ) -> None:
        """Serves the metrics, if an address is given, and calls ``say`` once a minute; until it is cancelled."""
        listener = MetricsListener(collector, self.name)
        if metrics is not None:
            self.log.info("metrics are on port %d", await listener.open(metrics))
        try:
            while True:
                await asyncio.sleep(SAY_S)
                say()
        finally:
            listener.close()

    def fail(self, message: str) -> int:
        """Says why it cannot work; returns the exit code."""
        print(f"mdstream {self.name}: {message}", file=sys.stderr)
        return EXIT_USAGE


def read_address(text: str) -> tuple[str, int]:
    """``127.0.0.1:8083``, ``[::1]:8083`` or ``*:8083``. Raises ConfigError."""
    host, _, port = text.rpartition(":")
    if not host or not port.isascii() or not port.isdigit() or int(port) > 65_535:
        raise ConfigError(f"--metrics: {text!r} is no address like 127.0.0.1:8083")
    return host.strip("[]"), int(port)


class MetricsListener:
    """``open`` it; ``port`` is where it listens then."""

    def __init__(self, collector: Collector, what: str) -> None:
        """``what``: of what the metrics are."""
        self._what = what
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(collector)
        self._registry.register(ProcessMetrics())
        self._listener = HttpListener(self._page)
        self._hosts = Hosts("localhost", ())

    async def open(self, address: tuple[str, int]) -> int:
        """Returns the port. Raises MdstreamError if it cannot listen."""
        host, port = address
        self._hosts = Hosts(host, (host,))
        await self._listener.open(host, port, what=f"the metrics of {self._what}")
        return self._listener.port

    def close(self) -> None:
        self._listener.close()

    def _page(self, request: RequestLine, head: bytes, _: str) -> Page:
        if request.path == b"/healthz":
            return 200, "ok", ()
        if not all(map(self._hosts.allow, hosts_of(head))):
            return 403, "the metrics are not known by this name", ()
        if request.path == b"/metrics":
            return 200, generate_latest(self._registry), _HEADERS
        return 404, "there are /metrics and /healthz", ()
