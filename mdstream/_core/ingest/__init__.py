"""From NATS into the books: the protocol's scanner, and what takes the messages."""
