"""Who a client is, and what it may see. Without I/O: the gateway brings what clients send."""
