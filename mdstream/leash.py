"""Run as a program: becomes the command given, which the kernel will kill when the process that started it dies.

``python -I -S leash.py PARENT_PID COMMAND [ARGUMENT …]``. A ``preexec_fn`` could do the same, but it runs Python
between fork and exec of a process that has threads, which Python 3.12 warns of and which may deadlock.
"""

from __future__ import annotations

import os
import sys

PR_SET_PDEATHSIG = 1
SIGKILL = 9


def leashed(command: list[str]) -> list[str]:
    """The command line that runs ``command``, whose program is a path, tied to this process; call it in the thread that lives on."""
    return [sys.executable, "-I", "-S", __file__, str(os.getpid()), *command]


def main(parent_pid: int, command: list[str]) -> None:
    """Ties this process to its parent, then execs; the tie outlives exec (prctl(2), PR_SET_PDEATHSIG)."""
    if sys.platform == "linux":
        import ctypes

        if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) != 0:
            raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG)")
    if os.getppid() != parent_pid:
        sys.exit("the parent died before the tie was made")
    os.execv(command[0], command)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
