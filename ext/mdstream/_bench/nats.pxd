"""A plain TCP connection to nats-server for the publisher and the floor."""

# Connects and logs in; returns a socket whose CONNECT the server has confirmed. BenchError tells what failed.
cdef int nats_open(str host, int port, str name, user, password, token) except -1
