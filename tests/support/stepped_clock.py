"""A wall clock that a test steps under a running program: a small library loaded before the C library's (Linux)."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

SOURCE = r"""
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static long stepped_s(void)
{
    char text[32] = {0};
    const char* path = getenv("STEPPED_CLOCK");
    int fd = path == NULL ? -1 : open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return 0;
    if (read(fd, text, sizeof text - 1) < 0)
        text[0] = 0;
    close(fd);
    return atol(text);
}

int clock_gettime(clockid_t clock, struct timespec* now)
{
    long result = syscall(SYS_clock_gettime, clock, now);
    if (result == 0 && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE))
        now->tv_sec += stepped_s();
    return (int)result;
}

int gettimeofday(struct timeval* now, void* zone)
{
    struct timespec exact;
    (void)zone;
    clock_gettime(CLOCK_REALTIME, &exact);
    now->tv_sec = exact.tv_sec;
    now->tv_usec = exact.tv_nsec / 1000;
    return 0;
}

time_t time(time_t* now)
{
    struct timespec exact;
    clock_gettime(CLOCK_REALTIME, &exact);
    if (now != NULL)
        *now = exact.tv_sec;
    return exact.tv_sec;
}
"""


class SteppedClock:
    """The wall clock of each program that is started with ``env``."""

    def __init__(self, directory: Path) -> None:
        library, source = directory / "stepped_clock.so", directory / "stepped_clock.c"
        source.write_text(SOURCE)
        subprocess.run(
            [os.environ.get("CC", "cc"), "-shared", "-fPIC", "-O1", "-o", str(library), str(source)],
            check=True,
        )
        self._file = directory / "step"
        self.step(0)
        self.env = {"LD_PRELOAD": str(library), "STEPPED_CLOCK": str(self._file)}

    def step(self, seconds: int) -> None:
        """From now on it is ahead of the true time by so much; behind it, if negative."""
        self._file.write_text(f"{seconds}\n")
