"""A simulated venue: seeded order flow whose books look like a market's. ``python -m feeds.sim --help``."""
