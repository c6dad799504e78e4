"""TLS for the clients of a load test, by the OpenSSL of the system, which is loaded when it is asked for: nothing is linked to it."""

from libc.stdint cimport int64_t

cdef enum Step:
    STEP_DONE = 0
    STEP_READS                  # goes on when the socket can be read
    STEP_WRITES
    STEP_FAILED

# What all connections share; `ca` is a file of certificates, empty: those that the system trusts. BenchError without OpenSSL, or if
# the file cannot be read.
cdef void* tls_context(str ca) except NULL
cdef void tls_context_free(void* context) noexcept nogil
# A connection on a socket whose server must have a certificate for `host`, a name or an IPv4 address; NULL: no memory.
cdef void* tls_begin(void* context, int fd, const char* host) noexcept nogil
cdef void tls_free(void* tls) noexcept nogil
cdef Step tls_handshake(void* tls) noexcept nogil
# Why the last step failed.
cdef const char* tls_problem(void* tls) noexcept nogil
# As recv and send: bytes, 0 at the end, or a negative errno. `tls_recv` returns less than `room` only if nothing more has come.
cdef int64_t tls_recv(void* tls, void* to, size_t room) noexcept nogil
cdef int64_t tls_send(void* tls, const void* source, size_t size) noexcept nogil
