"""RFC 6455 without I/O: frames, messages, upgrade requests."""
