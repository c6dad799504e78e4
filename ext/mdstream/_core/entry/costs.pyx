"""What an answer costs, as far as every new client needs it: the rest is ``mdstream.gateway.costs``."""

from mdstream._core.codec.deflate import MOST_COMPRESSED as _MOST_COMPRESSED

cdef enum:
    MESSAGE = 100               # bytes of one, besides its levels
    COMPRESSED = 4              # so many bytes a byte counts as that is compressed
    LEAST = 10                  # levels

cdef Py_ssize_t[2] LEVEL = [28, 9]
cdef Py_ssize_t MOST_COMPRESSED = _MOST_COMPRESSED

# About what a level takes in JSON and in MessagePack, in the books of real venues; and a message besides its levels, in bytes.
BYTES_PER_LEVEL = tuple(LEVEL)
BYTES_PER_MESSAGE = MESSAGE
# A message costs as much as so many levels, be it empty.
LEAST_LEVELS = LEAST


cdef Py_ssize_t weigh(Py_ssize_t size, bint compressed) noexcept:
    return size + (COMPRESSED - 1) * min(size, MOST_COMPRESSED) if compressed else size


cdef Beginning cost_of_beginning(Instrument instrument, bint of_book, Py_ssize_t depth, int format, Py_ssize_t echo) noexcept:
    cdef Py_ssize_t sent = 0
    if of_book:
        sent = instrument.book.bids.count + instrument.book.asks.count
        if 0 < 2 * depth < sent:
            sent = 2 * depth
    return Beginning(sent + LEAST, MESSAGE + echo + sent * LEVEL[format])


def weighed(Py_ssize_t size, bint compressed) -> int:
    """How many bytes of a budget a message of this size takes; ``compressed``: to a client whose messages are. zlib takes some 20 ns for a
    byte, so that 2 MiB a second are about 5 % of a core. What is beyond the largest message that is compressed counts once, as an
    estimate may be on either side of it."""
    return weigh(size, compressed)


def of_beginning(Instrument instrument, str channel, Py_ssize_t depth, int format, Py_ssize_t echo=0) -> tuple:
    """Levels that are read and bytes (not weighed) that are sent for a new subscription to an ungrouped view: what
    ``mdstream.gateway.costs.of_answer`` says, quicker."""
    cdef Beginning cost
    if format not in (0, 1):
        raise ValueError(f"format is {format}; it must be 0 (JSON) or 1 (MessagePack)")
    cost = cost_of_beginning(instrument, channel == "book", depth, format, echo)
    return cost.levels, cost.size
