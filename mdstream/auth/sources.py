"""Keys that never change, and keys from files that may."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

from mdstream.auth.keys import MAX_KEY_FILE, KeySet
from mdstream.errors import ConfigError

log = logging.getLogger("mdstream.auth.sources")

_Stamp = tuple[int, int, int]


class WatchedFile:
    """Calls ``use`` with the contents of files, now and when they have changed. ``use`` raises ValueError for what cannot be used, and
    then changes nothing: the constructor and ``reload`` raise ConfigError, ``look`` logs."""

    def __init__(self, paths: tuple[Path, ...], use: Callable[[list[bytes]], object]) -> None:
        self._paths = paths
        self._use = use
        self._stamps: list[_Stamp | None] = []
        self.reload()

    def look(self) -> bool:
        """Reads the files again if one has changed; returns whether that was of use. Logs an error once per change."""
        if self._stamps == [_stamp(path) for path in self._paths]:
            return False
        try:
            self.reload()
        except ConfigError as error:
            log.error("%s; what was read before stays in use", error)
            return False
        log.info("%s was read again", ", ".join(map(str, self._paths)))
        return True

    def reload(self) -> None:
        self._stamps = [_stamp(path) for path in self._paths]
        try:
            self._use([read_bounded(path) for path in self._paths])
        except ValueError as error:
            raise ConfigError(f"{', '.join(map(str, self._paths))} cannot be used: {error}") from None


class FixedKeys:
    """Keys from the configuration itself."""

    def __init__(self, keys: KeySet) -> None:
        self.keys = keys

    def wanted(self, key_id: str | None) -> bool:
        return False


class FileKeys:
    """Keys from files; ``read`` makes them of the contents and raises ValueError. Raises ConfigError."""

    def __init__(self, paths: tuple[Path, ...], read: Callable[[list[bytes]], KeySet]) -> None:
        self.keys = KeySet(())
        self._read = read
        self.file = WatchedFile(paths, self._take)

    def wanted(self, key_id: str | None) -> bool:
        return False

    def _take(self, contents: list[bytes]) -> None:
        self.keys = self._read(contents)


def read_bounded(path: Path) -> bytes:
    """A small file's content; raises ConfigError."""
    try:
        with path.open("rb") as file:
            content = file.read(MAX_KEY_FILE + 1)
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from None
    if len(content) > MAX_KEY_FILE:
        raise ConfigError(f"{path} has more than {MAX_KEY_FILE} bytes")
    return content


def _stamp(path: Path) -> _Stamp | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino
