"""Bytes and back: what feeds publish, what clients are sent, and how it is compressed."""
