"""Feed handlers: programs that bring a venue's market data onto the bus with ``mdstream.feed``."""
