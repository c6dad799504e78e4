class Deflater:
    """Compresses messages of ``least`` bytes or more with zlib, without context takeover (RFC 7692); the gateway uses it through the hub.

    ``level``: 1 (fast) to 9 (small). ValueError for what is out of range.
    """

    def __init__(self, level: int = 1, least: int = 256) -> None: ...
    @property
    def level(self) -> int: ...
    @property
    def least(self) -> int: ...

def inflate(packed: bytes, max_size: int) -> bytes | int:
    """The message of a compressed WebSocket payload, or the close code of what is wrong: 1007 corrupt, 1009 larger than ``max_size``.

    Never takes more memory than ``max_size``, whatever the payload claims to become.
    """
