"""Kraken spot: order books and trades, live (v2) or from a recording (v1 or v2)."""
