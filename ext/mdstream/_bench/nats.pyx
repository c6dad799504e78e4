from libc.errno cimport EAGAIN
from libc.stdint cimport int64_t

import json

from mdstream._bench.sockets cimport (
    SECOND, await_socket, monotonic_ns, problem_text, resolve, socket_close, socket_connect, socket_problem, socket_recv, socket_send,
)

from mdstream.errors import BenchError

cdef extern from "<poll.h>" nogil:
    short POLLIN
    short POLLOUT

cdef int64_t TIMEOUT_NS = <int64_t>10 * SECOND


cdef int nats_open(str host, int port, str name, user, password, token) except -1:
    cdef str where = f"nats-server {host}:{port}"
    cdef int64_t deadline = monotonic_ns() + TIMEOUT_NS
    cdef int fd = socket_connect(resolve(host), port, 0, 0)
    if fd < 0:
        raise BenchError(f"{where}: {problem_text(-fd)}; is it running there?")
    try:
        await_socket(fd, POLLOUT, deadline, f"{where}: no connection within 10 s")
        problem = socket_problem(fd)
        if problem:
            raise BenchError(f"{where}: {problem_text(problem)}; is it running there?")
        if not read_line(fd, where, deadline).startswith(b"INFO "):
            raise BenchError(f"{where}: no nats-server listens there")
        log_in(fd, where, deadline, {"name": name, "user": user, "pass": password, "auth_token": token})
    except BaseException:
        socket_close(fd, False)
        raise
    return fd


cdef int log_in(int fd, str where, int64_t deadline, dict credentials) except -1:
    cdef bytes hello
    options = {"verbose": False, "pedantic": False, "lang": "c", "version": "1", "protocol": 1, "headers": True, "no_responders": False}
    options |= {key: value for key, value in credentials.items() if value is not None}
    hello = b"CONNECT " + json.dumps(options).encode() + b"\r\nPING\r\n"
    if socket_send(fd, <const char*>hello, len(hello)) != len(hello):
        raise BenchError(f"{where}: it does not accept CONNECT")
    line = read_line(fd, where, deadline)
    while line[:4] in (b"PING", b"INFO", b"+OK"):
        line = read_line(fd, where, deadline)
    if not line.startswith(b"PONG"):
        raise BenchError(f"{where}: it refuses us: {line.decode(errors='replace')}; are user, password or token right?")
    return 0


cdef bytes read_line(int fd, str where, int64_t deadline):
    """Reads byte by byte, so that nothing after the line is read; used only before the test starts."""
    cdef char byte = 0
    cdef int64_t got
    cdef bytes line = b""
    while not line.endswith(b"\r\n"):
        got = socket_recv(fd, &byte, 1)
        if got == -EAGAIN:
            await_socket(fd, POLLIN, deadline, f"{where}: no answer within 10 s; is it a nats-server?")
        elif got <= 0:
            raise BenchError(f"{where}: it hung up before the login")
        else:
            line += bytes((byte & 0xFF,))
            if len(line) > 65536:
                raise BenchError(f"{where}: no nats-server listens there")
    return line[:-2]
