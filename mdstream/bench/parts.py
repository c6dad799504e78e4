"""The processes that a load test starts, as the runner sees them. Each dies with us; its stderr is kept for error messages."""

from __future__ import annotations

import asyncio
import re
import urllib.error
import urllib.request
from collections import deque
from collections.abc import Collection, Sequence
from contextlib import AsyncExitStack
from typing import Any

import msgspec

from mdstream.children import Child, Log, on_cpus, start_module
from mdstream.errors import BenchError

ANSWER_S = 30.0
MAX_ANSWER_BYTES = 64 * 1024 * 1024
START_S = 20.0
POLL_S = 0.02
SERVING = re.compile(r"serving clients at (\S+), probes and metrics at (\S+)")


class Part(Child):
    """A process that takes orders (``mdstream.bench.orders``)."""

    def __init__(self, process: asyncio.subprocess.Process, what: str, log: Log) -> None:
        super().__init__(process, what)
        assert process.stdin is not None and process.stdout is not None
        self._orders = process.stdin
        self._answers = process.stdout
        self._name = what
        self._log = log
        self._unread = 0
        """Orders whose answers have not been read; answers to orders that timed out are skipped."""

    @classmethod
    async def start(
        cls, module: str, what: str, log: Log, cpus: Collection[int], stack: AsyncExitStack
    ) -> Part:
        """Starts ``mdstream.bench.<module>``; ``stack`` stops it."""
        pipe = asyncio.subprocess.PIPE
        with on_cpus(cpus):
            process = await start_module(
                f"mdstream.bench.{module}",
                [],
                stdin=pipe,
                stdout=pipe,
                stderr=log,
                start_new_session=True,
                limit=MAX_ANSWER_BYTES,
            )
        part = cls(process, what, log)
        stack.push_async_callback(part.stop)
        return part

    async def order(self, do: str, deadline_s: float = ANSWER_S, **details: Any) -> dict[str, Any]:
        """Gives an order and returns the answer. Raises BenchError with the error of the process."""
        self._unread += 1
        self._orders.write(msgspec.json.encode({"do": do, **details}) + b"\n")
        try:
            async with asyncio.timeout(deadline_s):
                line = await self._answer()
        except TimeoutError:
            raise BenchError(
                f"{self._name} did not answer to {do!r} within {deadline_s:g} s{self._log.said()}"
            ) from None
        except ConnectionError:
            line = b""
        if not line:
            await self.wait()
            raise BenchError(f"{self._name} ended with status {self.status}{self._log.said()}")
        answer: dict[str, Any] = msgspec.json.decode(line)
        if "error" in answer:
            raise BenchError(answer["error"])
        return answer

    async def _answer(self) -> bytes:
        await self._orders.drain()
        while True:
            line = await self._answers.readline()
            self._unread -= 1
            if self._unread == 0 or not line:
                return line


class Gateway(Child):
    """Our own ``mdstream serve``."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        super().__init__(process, "the gateway")
        self.url = ""
        self.admin_url = ""
        self._log_lines: deque[str] = deque(maxlen=10)
        self._process = process
        self._reading: asyncio.Task[None] | None = None

    @classmethod
    async def start(
        cls,
        arguments: Sequence[str],
        cpus: Collection[int],
        stack: AsyncExitStack,
        start_s: float = START_S,
    ) -> Gateway:
        """Starts it and returns when it is ready for clients; ``stack`` stops it. Raises BenchError with the end of its log."""
        null = asyncio.subprocess.DEVNULL
        with on_cpus(cpus):
            process = await start_module(
                "mdstream.cli",
                ["serve", *arguments],
                stdin=null,
                stdout=null,
                stderr=asyncio.subprocess.PIPE,
                start_new_session=True,
            )
        gateway = cls(process)
        stack.push_async_callback(gateway.stop)
        await gateway._wait_until_ready(start_s)
        return gateway

    async def stop(self) -> None:
        await super().stop()
        if self._reading is not None:
            await self._reading

    async def _wait_until_ready(self, start_s: float) -> None:
        try:
            async with asyncio.timeout(start_s):
                await self._read_addresses()
                self._reading = asyncio.create_task(self._read())
                while await asyncio.to_thread(not_ready, self.admin_url) is not None:
                    if self.status is not None:
                        raise BenchError(f"the gateway ended{self._tail()}")
                    await asyncio.sleep(POLL_S)
        except TimeoutError:
            raise BenchError(f"the gateway was not ready within {start_s:g} s{self._tail()}") from None

    async def _read_addresses(self) -> None:
        while line := await self._line():
            if found := SERVING.search(line):
                self.url, self.admin_url = found[1], found[2]
                return
        await self.wait()
        raise BenchError(f"the gateway did not start (status {self.status}){self._tail()}")

    async def _read(self) -> None:
        while await self._line():
            pass

    async def _line(self) -> str:
        assert self._process.stderr is not None
        line = (await self._process.stderr.readline()).decode(errors="replace")
        if line:
            self._log_lines.append(line.rstrip())
        return line

    def _tail(self) -> str:
        return "".join(f"\n  {line}" for line in self._log_lines)


def not_ready(admin_url: str, timeout_s: float = 5.0) -> str | None:
    """Why ``/readyz`` says that the gateway is not ready; None if it is."""
    try:
        with urllib.request.urlopen(f"{admin_url}/readyz", timeout=timeout_s):
            return None
    except urllib.error.HTTPError as error:
        with error:
            return error.read().decode(errors="replace").strip()
    except OSError as error:
        return str(error)
