"""Tapes: files with messages that were published on the bus.

A tape is a sequence of MessagePack values, gzipped if its name ends in ``.gz``: first the map
``{"format": "mdstream.tape", "version": 1, "recorded_us": …}``, then for each message the array ``[ts, subject, payload]``: µs since the
Unix epoch when it was received, the NATS subject, and the unchanged payload (binary).
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import IO, Any, NamedTuple, Self, cast

import msgpack

from mdstream.errors import FeedError

FORMAT = "mdstream.tape"
VERSION = 1
CHUNK_BYTES = 64 * 1024


class TapedMessage(NamedTuple):
    """One message, received at ``ts_us``."""

    ts_us: int
    subject: str
    payload: bytes


class TapeWriter:
    """Writes a tape; a context manager. Raises FileExistsError: it never overwrites a file."""

    def __init__(self, path: Path, recorded_us: int) -> None:
        self.messages = 0
        self.payload_bytes = 0
        self._files = ExitStack()
        file: IO[bytes] = self._files.enter_context(path.open("xb"))
        if path.suffix == ".gz":
            # Level 1: the recorder must keep up.
            file = self._files.enter_context(
                cast(IO[bytes], gzip.GzipFile(fileobj=file, mode="wb", compresslevel=1))
            )
        self._file = file
        self._packer = msgpack.Packer()
        self._file.write(
            self._packer.pack({"format": FORMAT, "version": VERSION, "recorded_us": recorded_us})
        )

    def write(self, message: TapedMessage) -> None:
        self._file.write(self._packer.pack(message))
        self.messages += 1
        self.payload_bytes += len(message.payload)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._files.close()


def read_tape(path: Path) -> Iterator[TapedMessage]:
    """Yields the messages of a tape. Raises OSError; FeedError if it is not a tape, or is cut short (after its complete messages)."""
    values = _values(path)
    _check_header(path, next(values, None))
    for number, value in enumerate(values, 1):
        yield _message(value, f"{path}, message {number}")


def _values(path: Path) -> Iterator[Any]:
    with path.open("rb") as plain:
        gzipped = plain.peek(2)[:2] == b"\x1f\x8b"
        file = gzip.GzipFile(fileobj=plain) if gzipped else plain
        unpacker = msgpack.Unpacker(max_buffer_size=2**31 - 1)
        fed = 0
        try:
            while chunk := file.read1(CHUNK_BYTES):
                fed += len(chunk)
                unpacker.feed(chunk)
                yield from unpacker
        except (EOFError, OSError, zlib.error, msgpack.UnpackException, ValueError) as error:
            raise FeedError(
                f"{path}: damaged or cut short after {unpacker.tell()} bytes: {error!r}"
            ) from None
        if unpacker.tell() != fed:
            raise FeedError(f"{path}: cut short within the message after {unpacker.tell()} bytes")


def _check_header(path: Path, header: Any) -> None:
    if not isinstance(header, dict) or header.get("format") != FORMAT:
        raise FeedError(f"{path} is not a tape: it does not begin with a map that names the format {FORMAT}")
    if header.get("version") != VERSION:
        raise FeedError(
            f"{path} is a tape of version {header.get('version')!r}; this program reads {VERSION}"
        )


def _message(value: Any, place: str) -> TapedMessage:
    match value:
        case [int(ts_us), str(subject), bytes(payload)]:
            return TapedMessage(ts_us, subject, payload)
    raise FeedError(f"{place} is not [ts, subject, payload]")
