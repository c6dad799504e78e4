"""One worker of a gateway, as a process: ``python -m mdstream.gateway.worker FD``, started by the supervisor alone.

It ends when it is told to, by a signal or by the supervisor, and when the supervisor has died.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
import sys
from dataclasses import asdict, replace
from typing import Any, Final

import uvloop

from mdstream import logs
from mdstream.errors import ConfigError, MdstreamError
from mdstream.gateway.config import GatewayConfig
from mdstream.gateway.node import Gateway
from mdstream.gateway.run import prepare, reload_files, serve_until, use_limits
from mdstream.gateway.signals import Signals
from mdstream.gateway.worker_link import Link, WorkerState
from mdstream.gateway.worker_questions import Answering
from mdstream.gateway.worker_settings import Start

log = logging.getLogger("mdstream.gateway.worker")

_LOOK_S: Final = 0.1
_TELL_EVERY: Final = 5
"""Looks after which the supervisor is told how we are, changed or not."""
_FAILED, _WRONG = 1, 2
"""Exit codes, as of ``mdstream serve``."""


def main(fd: int) -> int:
    """Serves until told to end; returns the exit code."""
    start = Start.read(fd)
    config = start.config
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # the supervisor says when something has changed
    signal.signal(signal.SIGUSR2, signal.SIG_IGN)
    logs.configure(
        config.log_level, config.log_format, audit=config.audit_lines_per_second > 0, worker=start.number
    )
    return uvloop.run(_serve(start, prepare(config, sum(map(len, start.socket_fds)))))


async def _serve(start: Start, config: GatewayConfig) -> int:
    asyncio.get_running_loop().set_exception_handler(logs.handle_loop_exception)
    link = await Link.open(socket.socket(fileno=start.link_fd))
    try:
        await _Worker(link, Gateway(config, place=start.place())).serve()
    except MdstreamError as error:
        code = _WRONG if isinstance(error, ConfigError) else _FAILED
        link.send({"failed": str(error), "code": code})
        await link.flush()
        return code
    return 0


class _Worker:
    """Does what the supervisor says, and tells it how the gateway is."""

    def __init__(self, link: Link, gateway: Gateway) -> None:
        self._link = link
        self._gateway = gateway
        self._signals = Signals()
        self._serving = False
        self._answering = Answering(link.send, gateway.inspection)

    async def serve(self) -> None:
        tasks = [asyncio.ensure_future(work) for work in (self._obey(), self._tell_states())]
        try:
            await serve_until(self._signals, self._gateway, self._begun)
            self._tell_pages()
            await self._link.flush()
        finally:
            await self._answering.close()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def _begun(self) -> None:
        self._serving = True
        self._tell(self._state())

    async def _obey(self) -> None:
        async for message in self._link.messages():
            try:
                self._do(message.pop("do"), **message)
            except Exception:  # else nobody would notice that the supervisor ends
                log.exception("what the supervisor asked for failed")
        if not self._signals.asked.is_set():
            log.error("the supervisor has ended; stopping")
            self._signals.asked.set()

    def _do(self, what: str, **more: Any) -> None:
        if what == "watch":
            self._gateway.watch(more["slots"])
        elif what == "drain":
            self._signals.asked.set()
        elif what == "stop":
            self._signals.asked.set()
            self._signals.insisted.set()
        elif what == "reload":
            reload_files(self._gateway)
            limits = {name: _as_setting(value) for name, value in more["limits"].items()}
            use_limits(self._gateway, lambda: replace(self._gateway.config, **limits))
        elif what == "pages":
            self._tell_pages()
        elif what == "answer":
            self._answering.take(**more)

    def _tell_pages(self) -> None:
        self._link.send({"pages": asdict(self._gateway.pages())})

    async def _tell_states(self) -> None:
        told, quiet = WorkerState(), 0
        while True:
            state = self._state()
            quiet += 1
            if state != told or quiet >= _TELL_EVERY:
                told, quiet = state, 0
                self._tell(state)
            await asyncio.sleep(_LOOK_S)

    def _tell(self, state: WorkerState) -> None:
        self._link.send({"state": asdict(state)})

    def _state(self) -> WorkerState:
        gateway = self._gateway
        return WorkerState(
            serving=self._serving,
            not_ready=gateway.not_ready() if self._serving else "starting",
            draining=gateway.draining,
            clients=gateway.clients,
        )


def _as_setting(value: Any) -> Any:
    """Tuples come as lists."""
    return tuple(value) if isinstance(value, list) else value


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1])))
