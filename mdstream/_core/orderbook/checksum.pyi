from mdstream._core.orderbook.book import FlatLevels

def crc_of(bids: FlatLevels, asks: FlatLevels) -> int:
    """The contract's checksum of a view, flat and best first: CRC-32 over the text of its best ten levels."""

def crc32_of(data: bytes | bytearray | memoryview, tables: bool = False) -> int:
    """``zlib.crc32`` by our own code; ``tables`` leaves the processor's special instructions alone."""
