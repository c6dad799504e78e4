"""Whether an address is in one of a few networks."""

from libc.stdint cimport uint8_t
from libc.string cimport memcmp

cdef enum:
    ADDRESS = 16                # bytes of the longest
    SITE = 8                    # an IPv6 site is a /64: one client has as many addresses in it as it likes

cdef struct Network:
    Py_ssize_t size             # bytes of its addresses
    Py_ssize_t whole            # of these, how many are the network's
    uint8_t mask                # of the one that follows, which bits are
    uint8_t[ADDRESS] prefix


cdef class NetworkTable:
    """The base of ``mdstream.gateway.addresses.Networks``: asked for each connection."""

    cdef bytearray table
    cdef Py_ssize_t count

    def __init__(self, prefixes) -> None:
        """``prefixes``: (address, bits) each; the bits beyond are 0."""
        cdef Network network
        cdef Py_ssize_t i
        self.table = bytearray()
        for address, bits in prefixes:
            network.size = len(address)
            if network.size > ADDRESS or not 0 <= bits <= 8 * network.size:
                raise ValueError(f"{address!r} with {bits} bits is no network")
            network.whole = bits // 8
            network.mask = (0xFF00 >> bits % 8) & 0xFF
            for i in range(ADDRESS):
                network.prefix[i] = address[i] if i < network.size else 0
            self.table += (<char*>&network)[:sizeof(Network)]
            self.count += 1

    def __bool__(self) -> bool:
        return self.count > 0

    def __contains__(self, bytes address) -> bool:
        cdef char* table = self.table
        cdef const Network* network = <const Network*>table
        cdef const char* wanted = address
        cdef Py_ssize_t size = len(address)
        cdef Py_ssize_t i
        for i in range(self.count):
            if network[i].size == size and belongs(&network[i], wanted):
                return True
        return False


cdef bytes c_site_of(bytes address):
    return address[:SITE] if len(address) == ADDRESS else address


def site_of(bytes address not None) -> bytes:
    """What limits are counted by: the IPv4 address, or the IPv6 /64."""
    return c_site_of(address)


cdef bint belongs(const Network* network, const char* address) noexcept nogil:
    if memcmp(network.prefix, address, network.whole):
        return False
    return network.mask == 0 or <uint8_t>address[network.whole] & network.mask == network.prefix[network.whole]
