"""A simulated venue: seeded random order flow."""
