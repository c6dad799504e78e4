"""A small random generator (xorshift64*, Marsaglia 2003; Vigna 2016): the same seed gives the same test."""

from libc.stdint cimport uint64_t


cdef inline uint64_t chance_seed(uint64_t seed) noexcept nogil:
    """A first state, never 0; neighbouring seeds give different states."""
    seed = (seed + 0x9E3779B97F4A7C15ULL) * 0xBF58476D1CE4E5B9ULL
    seed = (seed ^ (seed >> 27)) * 0x94D049BB133111EBULL
    return (seed ^ (seed >> 31)) | 1


cdef inline uint64_t chance_next(uint64_t* state) noexcept nogil:
    state[0] ^= state[0] >> 12
    state[0] ^= state[0] << 25
    state[0] ^= state[0] >> 27
    return state[0] * 0x2545F4914F6CDD1DULL


cdef inline uint64_t chance_below(uint64_t* state, uint64_t bound) noexcept nogil:
    """An integer from 0 to bound - 1, uniform; ``bound`` is below 2^32."""
    return (chance_next(state) >> 32) * bound >> 32


cdef inline double chance_unit(uint64_t* state) noexcept nogil:
    """A number in [0, 1), uniform."""
    return <double>(chance_next(state) >> 11) / 9007199254740992.0
