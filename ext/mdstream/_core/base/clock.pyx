from mdstream._core.base.clock cimport wall_us


def wall_time_us() -> int:
    """Integer µs since the Unix epoch: for time stamps."""
    return wall_us()
