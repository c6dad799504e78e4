"""A plain TCP connection to nats-server, as far as a publisher and the floor need one."""

# Connects and lets itself in: a socket whose CONNECT the server has confirmed. BenchError says what failed.
cdef int nats_open(str host, int port, str name, user, password, token) except -1
