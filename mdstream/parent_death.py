"""Run as a program: becomes the given command, which the kernel kills when the process that started it dies.

``python -I -S parent_death.py PARENT_PID COMMAND [ARGUMENT …]``. A ``preexec_fn`` could do the same, but it runs Python
between fork and exec of a process that has threads. Python 3.12 warns about that, and it may deadlock.
"""

from __future__ import annotations

import os
import sys

PR_SET_PDEATHSIG = 1
SIGKILL = 9


def killed_with_parent(command: list[str]) -> list[str]:
    """The command line that runs ``command``, whose program is a path, until this process dies.

    The kernel watches the thread that starts the process: start it in the thread that lives longest.
    """
    return [sys.executable, "-I", "-S", __file__, str(os.getpid()), *command]


def main(parent_pid: int, command: list[str]) -> None:
    """Asks the kernel for SIGKILL when the parent dies, then execs; the request outlives exec (prctl(2), PR_SET_PDEATHSIG)."""
    if sys.platform == "linux":
        import ctypes

        if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) != 0:
            raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG)")
    if os.getppid() != parent_pid:
        sys.exit("the parent died before the kernel was asked to watch it")
    os.execv(command[0], command)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
