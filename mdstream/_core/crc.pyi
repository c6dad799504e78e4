from mdstream._core.book import FlatLevels

def crc_of(bids: FlatLevels, asks: FlatLevels) -> int:
    """The contract's checksum of a view, flat and best first: CRC-32 over the text of its best ten levels."""
