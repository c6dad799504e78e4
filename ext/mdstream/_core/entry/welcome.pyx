import secrets

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from cpython.unicode cimport PyUnicode_AsUTF8AndSize, PyUnicode_Substring
from libc.stdint cimport uint64_t
from libc.string cimport memcpy

from mdstream._core.base.check cimport check
from mdstream._core.base.digits cimport SLACK, UINT_MAX_TEXT, pack_uint, put_uint

cdef enum:
    NAME = 16                   # characters
    NAMES = 256                 # made at a time


cdef inline char* put_part(char* at, bytes part) noexcept:
    memcpy(at, PyBytes_AS_STRING(part), len(part))
    return at + len(part)


cdef class WelcomeBytes:
    """The base of ``mdstream.gateway.messages.Welcomes``: all are the same except for the session's name and the time."""

    def __init__(self, parts) -> None:
        """``parts``, for JSON and for MessagePack: the bytes before the name, between it and the time, and after the time."""
        self.parts = tuple(parts)

    def encode(self, int format, str session, uint64_t time_us) -> bytes:
        """``session`` has sixteen ASCII characters."""
        return self.c_encode(format, session, time_us)

    cdef bytes c_encode(self, int format, str session, uint64_t time_us):
        cdef bytes before, between, after
        cdef char[UINT_MAX_TEXT + SLACK] time
        cdef Py_ssize_t time_size = (pack_uint(time, time_us) if format else put_uint(time, time_us)) - <char*>time
        cdef Py_ssize_t name_size
        cdef const char* name = PyUnicode_AsUTF8AndSize(session, &name_size)
        before, between, after = self.parts[format]
        cdef bytes made = PyBytes_FromStringAndSize(
            NULL, len(before) + name_size + len(between) + time_size + len(after))
        cdef char* at = put_part(PyBytes_AS_STRING(made), before)
        memcpy(at, name, name_size)
        at = put_part(at + name_size, between)
        memcpy(at, time, time_size)
        at = put_part(at + time_size, after)
        check(at == PyBytes_AS_STRING(made) + len(made))
        return made


cdef class Names:
    """Random names of sessions, sixteen hexadecimal digits each. The system is asked for many at once: one by one, they would be a
    noticeable part of what a connection costs."""

    def __init__(self) -> None:
        self.digits = ""

    def take(self) -> str:
        return self.c_take()

    cdef str c_take(self):
        if self.at == len(self.digits):
            self.digits = secrets.token_hex(NAME // 2 * NAMES)
            self.at = 0
        self.at += NAME
        return PyUnicode_Substring(self.digits, self.at - NAME, self.at)
