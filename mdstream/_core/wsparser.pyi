class FrameParser:
    """A client's WebSocket frames from bytes, in pieces as they arrive, for tests of what ``Session`` reads with."""

    def __init__(self, max_size: int = 65536, *, unpacks: bool = False) -> None: ...
    def feed(self, data: bytes) -> list[tuple[int, bool, bytes] | int]:
        """Pieces (opcode, fin, unmasked payload); of a data frame those after the first have opcode 0; 0x40 is added to it if the
        message is compressed (``unpacks`` allows it). A violation is the close
        code to answer with, and the last."""
