"""Compiled test doubles: stand-ins that the core calls as it calls the real parts. Built by ``make``, never installed."""
