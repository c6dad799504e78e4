"""What every room stands on: memory, time, digits. Knows nothing of markets or networks."""
