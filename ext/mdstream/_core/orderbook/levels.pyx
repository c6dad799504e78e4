from cpython.buffer cimport PyBUF_FORMAT, PyBUF_STRIDED_RO, PyBuffer_Release, PyObject_CheckBuffer, PyObject_GetBuffer
from cpython.list cimport PyList_New, PyList_SET_ITEM
from cpython.long cimport PyLong_AsLongLong, PyLong_FromLongLong
from cpython.mem cimport PyMem_RawFree, PyMem_RawRealloc
from cpython.object cimport PyObject
from cpython.ref cimport Py_INCREF
from libc.string cimport memcpy

from mdstream._core.base.check cimport check

cdef extern from "Python.h":
    object PySequence_Fast(object sequence, const char* message)
    Py_ssize_t PySequence_Fast_GET_SIZE(object sequence)
    PyObject** PySequence_Fast_ITEMS(object sequence)


cdef int levels_reserve(Levels* levels, Py_ssize_t capacity) except -1 nogil:
    cdef Py_ssize_t grown
    cdef int64_t* values
    check(0 <= levels.count)
    check(levels.count <= levels.capacity)
    if capacity <= levels.capacity:
        return 0
    # Grows by half, and never to a power of two: with equal strides many books would share few cache sets.
    grown = max(capacity, levels.capacity + (levels.capacity >> 1) + 12)
    values = <int64_t*> PyMem_RawRealloc(levels.values, <size_t> grown * 2 * sizeof(int64_t))
    if values == NULL:
        with gil:
            raise MemoryError(f"no memory for {grown} levels")
    levels.values = values
    levels.capacity = grown
    return 0


cdef void levels_free(Levels* levels) noexcept nogil:
    PyMem_RawFree(levels.values)
    levels.values = NULL
    levels.count = 0
    levels.capacity = 0


cdef int levels_append(Levels* levels, int64_t ticks, int64_t lots) except -1 nogil:
    if levels.count == levels.capacity:
        levels_reserve(levels, levels.count + 1)
    levels.values[2 * levels.count] = ticks
    levels.values[2 * levels.count + 1] = lots
    levels.count += 1
    return 0


cdef int levels_copy(Levels* to, const Levels* source) except -1 nogil:
    levels_reserve(to, source.count)
    if source.count:
        memcpy(to.values, source.values, <size_t> source.count * 2 * sizeof(int64_t))
    to.count = source.count
    return 0


cdef int levels_keep_copy(Levels* kept, const Levels* scratch) except -1 nogil:
    if kept.capacity > 2 * scratch.count + SPARE_LEVELS:
        levels_free(kept)
    return levels_copy(kept, scratch)


cdef int levels_diff(const Levels* old, const Levels* new, bint is_bid, Levels* out) except -1 nogil:
    cdef int64_t sign = 1 if is_bid else -1     # ticks × sign falls from the best level on, on both sides
    cdef const int64_t* before = old.values
    cdef const int64_t* after = new.values
    cdef const int64_t* before_end = before + 2 * old.count
    cdef const int64_t* after_end = after + 2 * new.count
    cdef const int64_t* stop
    cdef int64_t* target
    cdef Py_ssize_t gone
    check(levels_in_order(old, sign, 1))
    check(levels_in_order(new, sign, 1))
    levels_reserve(out, old.count + new.count)
    target = out.values
    while True:
        stop = after + min(before_end - before, after_end - after)
        while after < stop and before[0] == after[0]:
            # Not a branch: the processor could not predict which sizes differ.
            target[0], target[1] = after[0], after[1]
            target += 2 * (before[1] != after[1])
            before += 2
            after += 2
        if after == stop:
            break
        gone = before[0] * sign > after[0] * sign
        target[0] = before[0] if gone else after[0]
        target[1] = 0 if gone else after[1]
        target += 2
        before += 2 * gone
        after += 2 * (1 - gone)
    while before < before_end:
        target[0], target[1] = before[0], 0
        target += 2
        before += 2
    while after < after_end:
        target[0], target[1] = after[0], after[1]
        target += 2
        after += 2
    out.count = (target - out.values) >> 1
    check(levels_in_order(out, sign, 0))
    return 0


# ---- Python objects

cdef int levels_from_object(Levels* levels, object flat) except -1:
    levels.count = 0
    if PyObject_CheckBuffer(flat) and not isinstance(flat, (bytes, bytearray)):
        if from_buffer(levels, flat):
            return 0
    return from_sequence(levels, flat)


cdef bint is_signed(const char* format) noexcept:
    """Whether a buffer's format is one native signed integer."""
    if format == NULL:
        return False
    if format[0] == c'@' or format[0] == c'=' or format[0] == c'<':
        format += 1
    return (format[0] == c'l' or format[0] == c'q') and format[1] == 0


cdef int from_buffer(Levels* levels, object flat) except -1:
    """Copies an int64 array, flat or n × 2, with any strides; 0 if it is no such array."""
    cdef Py_buffer view
    PyObject_GetBuffer(flat, &view, PyBUF_STRIDED_RO | PyBUF_FORMAT)
    try:
        if view.itemsize != sizeof(int64_t) or not is_signed(view.format):
            return 0
        if view.ndim != 1 and not (view.ndim == 2 and view.shape[1] == 2):
            raise ValueError("levels must be flat or n × 2, not an array of another shape")
        copy_strided(levels, &view)
    finally:
        PyBuffer_Release(&view)
    return 1


cdef int copy_strided(Levels* levels, const Py_buffer* view) except -1:
    cdef Py_ssize_t numbers = view.len // <Py_ssize_t> sizeof(int64_t)
    cdef Py_ssize_t step = view.strides[0] if view.ndim == 2 else 2 * view.strides[0]
    cdef Py_ssize_t to_lots = view.strides[view.ndim - 1]
    cdef const char* item = <const char*> view.buf
    cdef Py_ssize_t i
    check_pairs(numbers)
    levels_reserve(levels, numbers // 2)
    for i in range(numbers // 2):
        memcpy(&levels.values[2 * i], item, sizeof(int64_t))            # it may not be aligned
        memcpy(&levels.values[2 * i + 1], item + to_lots, sizeof(int64_t))
        item += step
    levels.count = numbers // 2
    return 0


cdef int from_sequence(Levels* levels, object flat) except -1:
    cdef object items = PySequence_Fast(flat, b"levels must be a flat sequence of integers or an int64 array")
    cdef Py_ssize_t numbers = PySequence_Fast_GET_SIZE(items)
    cdef PyObject** item = PySequence_Fast_ITEMS(items)
    cdef Py_ssize_t i
    check_pairs(numbers)
    levels_reserve(levels, numbers // 2)
    for i in range(numbers):
        levels.values[i] = PyLong_AsLongLong(<object> item[i])
    levels.count = numbers // 2
    return 0


cdef int check_pairs(Py_ssize_t numbers) except -1:
    if numbers & 1:
        raise ValueError(f"flat levels are pairs of ticks and lots; {numbers} numbers are no pairs")
    return 0


cdef list levels_to_list(const Levels* levels):
    cdef Py_ssize_t i
    cdef list flat = PyList_New(2 * levels.count)
    cdef object number
    for i in range(2 * levels.count):
        number = PyLong_FromLongLong(levels.values[i])
        Py_INCREF(number)
        PyList_SET_ITEM(flat, i, number)
    return flat
