"""Memory for one flush: taken piece by piece, given back all at once. A piece never moves."""

from mdstream._core.base.check cimport check

cdef struct Chunk:
    Chunk* next
    size_t capacity
    size_t used
    # `capacity` bytes follow

cdef struct Arena:
    Chunk* first
    Chunk* current

# `size` bytes, aligned to `align` (1 or 8). With align 1, pieces taken in a row are adjacent while the chunk has room.
cdef inline void* arena_take(Arena* arena, size_t size, size_t align) except NULL:
    cdef Chunk* chunk = arena.current
    cdef size_t start
    check(align == 1 or align == 8)
    if chunk != NULL:
        check(chunk.used <= chunk.capacity)
        start = (chunk.used + align - 1) & ~(align - 1)
        if start + size <= chunk.capacity:
            chunk.used = start + size
            return <char*>chunk + sizeof(Chunk) + start
    return arena_take_more(arena, size)

cdef void* arena_take_more(Arena* arena, size_t size) except NULL
# Takes back all pieces; keeps some chunks for the next flush.
cdef void arena_reset(Arena* arena) noexcept nogil
cdef void arena_free(Arena* arena) noexcept nogil
