"""Bump allocation in chunks: a pointer is valid until the reset, so deliveries hold it without a copy."""

from libc.stdlib cimport free, malloc

cdef enum:
    CHUNK = 1 << 16         # bytes of an ordinary chunk
    KEEP = 1 << 22          # bytes that a reset keeps at most; what a burst took beyond goes back to the system


cdef Chunk* new_chunk(Arena* arena, size_t size) except NULL:
    """The chunk after the current one, if it has room for `size` bytes, else a new one in its place."""
    cdef size_t capacity = size if size > CHUNK else CHUNK
    cdef Chunk* chunk = arena.current.next if arena.current != NULL else arena.first
    if chunk != NULL and chunk.capacity >= size:
        chunk.used = 0
        arena.current = chunk
        return chunk
    chunk = <Chunk*>malloc(sizeof(Chunk) + capacity)
    if chunk == NULL:
        raise MemoryError(f"no memory for {size} bytes of frames")
    chunk.capacity = capacity
    chunk.used = 0
    if arena.current == NULL:
        chunk.next = arena.first
        arena.first = chunk
    else:
        chunk.next = arena.current.next
        arena.current.next = chunk
    arena.current = chunk
    return chunk


cdef void* arena_take_more(Arena* arena, size_t size) except NULL:
    cdef Chunk* chunk = new_chunk(arena, size)
    check(chunk.used == 0)
    check(size <= chunk.capacity)
    chunk.used = size
    return <char*>chunk + sizeof(Chunk)


cdef void arena_reset(Arena* arena) noexcept nogil:
    cdef Chunk* chunk = arena.first
    cdef Chunk* following
    cdef size_t kept = 0
    arena.first = NULL
    while chunk != NULL:
        following = chunk.next
        if kept + chunk.capacity <= KEEP:
            kept += chunk.capacity
            chunk.next = arena.first
            arena.first = chunk
        else:
            free(chunk)
        chunk = following
    arena.current = NULL


cdef void arena_free(Arena* arena) noexcept nogil:
    cdef Chunk* chunk = arena.first
    cdef Chunk* following
    while chunk != NULL:
        following = chunk.next
        free(chunk)
        chunk = following
    arena.first = NULL
    arena.current = NULL
