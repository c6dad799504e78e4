"""The signals that stop a gateway: the first asks to drain, the second to stop at once."""

from __future__ import annotations

import asyncio
import logging
import signal

log = logging.getLogger("mdstream.gateway")


class Signals:
    """Make it in the running loop."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self.insisted = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._received, number)

    def _received(self, number: signal.Signals) -> None:
        if self.asked.is_set():
            self.insisted.set()
        else:
            log.info("%s: stopping; once more to stop at once", number.name)
            self.asked.set()
