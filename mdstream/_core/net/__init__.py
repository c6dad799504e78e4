"""The only room that knows sockets: connections, sessions, and writing to many at once."""
