"""A simulated venue: seeded order flow whose books look like a market's. ``mdstream feed sim --help``."""
