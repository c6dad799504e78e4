"""Frames that RFC 6455 forbids, and frames that it allows and nobody sends; compressed messages that are none."""

from __future__ import annotations

import zlib

from attack.canary import PING_MARK
from attack.rows import STAYS, Expect, SessionRow, closes, refuses
from support.websocket import BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT, close_frame, frame

RSV1, RSV2, RSV3 = 4, 2, 1
PING_COMMAND = b'{"op":"ping"}'


def row(
    name: str, frames: bytes, expect: Expect, *, format: str = "json", finish: bool = False
) -> SessionRow:
    return SessionRow(name=name, frames=frames, expect=expect, format=format, finish=finish)


def packed(name: str, frames: bytes, expect: Expect, *, format: str = "json") -> SessionRow:
    """In a session that agreed on compression."""
    return SessionRow(name=name, frames=frames, expect=expect, format=format, compression=True)


def deflated(data: bytes, *, level: int = 9, end: bool = True) -> bytes:
    """As permessage-deflate has it: without the last four bytes of the flush."""
    compressor = zlib.compressobj(level, zlib.DEFLATED, -15)
    out = compressor.compress(data) + compressor.flush(zlib.Z_SYNC_FLUSH)
    return out[:-4] if end else out


def compressed(payload: bytes, opcode: int = TEXT) -> bytes:
    return frame(opcode, payload, rsv=RSV1)


FRAMES = [
    row("reserved bit 1", frame(TEXT, PING_COMMAND, rsv=RSV1), closes(1002)),
    row("reserved bit 2", frame(TEXT, PING_COMMAND, rsv=RSV2), closes(1002)),
    row("reserved bit 3", frame(TEXT, PING_COMMAND, rsv=RSV3), closes(1002)),
    *(row(f"opcode {code}", frame(code, b"x"), closes(1002)) for code in (3, 4, 5, 6, 7, 11, 12, 13, 14, 15)),
    row("a frame without a mask", frame(TEXT, PING_COMMAND, mask=False), closes(1002)),
    row("a ping without a mask", frame(PING, b"", mask=False), closes(1002)),
    row("a ping of 126 bytes", frame(PING, b"x" * 126), closes(1002)),
    row("a fragmented ping", frame(PING, b"x", fin=False), closes(1002)),
    row("a fragmented close", frame(CLOSE, b"\x03\xe8", fin=False), closes(1002)),
    row("a continuation of nothing", frame(CONTINUATION, b"x"), closes(1002)),
    row("a second message inside a first", frame(TEXT, b"a", fin=False) + frame(TEXT, b"b"), closes(1002)),
    row("a length that is not the shortest", b"\x81\xfe\0\x05\0\0\0\0hello", closes(1002)),
    row("a length of 64 bits for 5 bytes", b"\x81\xff" + (5).to_bytes(8) + b"\0\0\0\0hello", closes(1002)),
    row("a length beyond 2^63", b"\x81\xff" + b"\xff" * 8 + b"\0\0\0\0", closes(1002)),
    row("a length of 2^62", b"\x81\xff" + (2**62).to_bytes(8) + b"\0\0\0\0", closes(1009)),
    row("a message of 65,537 bytes", frame(TEXT, b" " * 65_537), closes(1009)),
    row(
        "fragments of 70,000 bytes in all",
        frame(TEXT, b" " * 35_000, fin=False) + frame(CONTINUATION, b" " * 35_000),
        closes(1009),
    ),
    row("binary in a JSON session", frame(BINARY, PING_COMMAND), closes(1003)),
    row("text in a MessagePack session", frame(TEXT, PING_COMMAND), closes(1003), format="msgpack"),
    row("text that is no UTF-8", frame(TEXT, b'{"op":"\xff"}'), closes(1007)),
    row("text with an overlong slash", frame(TEXT, b'{"op":"\xc0\xaf"}'), closes(1007)),
    row("text with a surrogate", frame(TEXT, b'{"op":"\xed\xa0\x80"}'), closes(1007)),
    row("text beyond U+10FFFF", frame(TEXT, b'{"op":"\xf4\x90\x80\x80"}'), closes(1007)),
    row("text that ends within a character", frame(TEXT, b'{"op":"\xe2\x82'), closes(1007)),
    row(
        "a character cut by two fragments that does not go on",
        frame(TEXT, b'"\xe2', fin=False) + frame(CONTINUATION, b'x"'),
        closes(1007),
    ),
    row("a close of one byte", frame(CLOSE, b"\x03"), closes(1002)),
    *(
        row(f"close code {code}", close_frame(code), closes(1002))
        for code in (0, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, 65_535)
    ),
    row("a close whose reason is no UTF-8", close_frame(1000, b"\xff"), closes(1007)),
    row("a close code of ours", close_frame(4401), closes(4401)),
    row("a close, then a command", close_frame(1000) + frame(TEXT, PING_COMMAND), closes(1000)),
    row("ten closes", close_frame(1000) * 10, closes(1000)),
    row("the end without a close", b"", closes(None), finish=True),
    row("half a header, then the end", b"\x81", closes(None), finish=True),
    row("half a frame, then the end", frame(TEXT, PING_COMMAND)[:-3], closes(None), finish=True),
    row("200 pongs that nobody asked for", frame(PONG, b"x") * 200, STAYS),
    row("200 pings", frame(PING, PING_MARK.encode()) * 200, Expect(stays=True, close=(4429,))),
    row(
        "2,000 empty fragments",
        frame(TEXT, b"", fin=False) + frame(CONTINUATION, b"", fin=False) * 2_000,
        closes(1002, 4429, 4400, None),
        finish=True,
    ),
    row(
        "a command in one-byte fragments with pings between them",
        frame(TEXT, b"{", fin=False)
        + b"".join(frame(CONTINUATION, bytes((c,)), fin=False) + frame(PING) for c in b'"op":"ping"')
        + frame(CONTINUATION, b"}"),
        STAYS,
    ),
    row("an empty message", frame(TEXT, b""), refuses("bad_command")),
    row("an empty binary message", frame(BINARY, b""), refuses("bad_command"), format="msgpack"),
]  # fmt: skip

COMPRESSION = [
    packed("bytes that are not deflated", compressed(b"\xff" * 40), closes(1007)),
    packed("a reserved block type", compressed(b"\x07"), closes(1007)),
    packed("an empty compressed frame", compressed(b""), closes(1007)),
    packed("a stream cut short", compressed(deflated(PING_COMMAND)[:8]), closes(1007)),
    packed("a distance before the start", compressed(b"\x4a\x04\x82\x00"), closes(1007)),
    packed("a stored block with a wrong length", compressed(b"\x00\x05\x00\x05\x00hello"), closes(1007)),
    packed("bytes after the final block", compressed(b"\x03\x00" + b"junk"), closes(1007)),
    packed("a zlib header", compressed(zlib.compress(PING_COMMAND)), closes(1007)),
    packed("a gzip header", compressed(b"\x1f\x8b\x08\0\0\0\0\0\0\3"), closes(1007)),
    packed("a bomb of 64 MB", compressed(deflated(b" " * (64 << 20))[:65_000]), closes(1007, 1009)),
    packed("a bomb of 65,537 bytes", compressed(deflated(b" " * 65_537)), closes(1009)),
    packed("a bomb just allowed", compressed(deflated(b" " * 65_536)), refuses("bad_command")),
    packed(
        "a bomb of empty maps",
        compressed(deflated(b"\x80" * 60_000), BINARY),
        Expect(close=(4400, 4429, 1009)),
        format="msgpack",
    ),
    packed("compressed text that is no UTF-8", compressed(deflated(b'"\xff"')), closes(1007)),
    packed("RSV1 on a continuation", frame(TEXT, b"x", fin=False) + frame(CONTINUATION, b"y", rsv=RSV1), closes(1002)),
    packed("RSV1 on a ping", frame(PING, b"x", rsv=RSV1), closes(1002)),
    packed("RSV1 and RSV2", frame(TEXT, b"x", rsv=RSV1 | RSV2), closes(1002)),
    packed("13,000 empty blocks", compressed((b"\x00\x00\x00\xff\xff" * 13_000)[:-4]), refuses("bad_command")),
    packed("empty blocks, the last cut", compressed(b"\x00\x00\x00\xff\xff" * 10), closes(1007)),
    packed("a compressed command", compressed(deflated(PING_COMMAND)), STAYS),
]  # fmt: skip

ROWS = FRAMES + COMPRESSION
