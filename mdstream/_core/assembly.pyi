class Assembler:
    """Whole messages from the data frames of one WebSocket, checked as RFC 6455 section 5.4 and 8.1 ask."""

    def __init__(self, max_size: int = 65536) -> None: ...
    def feed(
        self, opcode: int, payload: bytes, *, fin: bool = True, packed: bool = False
    ) -> tuple[int, bytes] | int | None:
        """(opcode, message) once it is whole (as it came and unchecked, if its first frame was ``packed``), None before, or the
        close code of a violation (1002, 1007, 1009), after which
        nothing may be fed."""

def parse_close(payload: bytes) -> int:
    """The code in a close frame, 1005 if there is none; negative: the code to answer a violation with."""
