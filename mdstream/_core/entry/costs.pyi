from mdstream._core.fanout.instrument import Instrument

BYTES_PER_LEVEL: tuple[int, int]
BYTES_PER_MESSAGE: int
LEAST_LEVELS: int

def weighed(size: int, compressed: bool) -> int: ...
def of_beginning(
    instrument: Instrument, channel: str, depth: int, format: int, echo: int = 0
) -> tuple[int, int]: ...
