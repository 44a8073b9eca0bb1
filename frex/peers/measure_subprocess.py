"""Run a shell command in a small process, and report the most memory that one of the command's processes held.

Linux counts the memory of the parent as memory of a new program, so a command that FREx itself started would seem to need the memory of
FREx. This file is therefore run as a program of its own. It prints the exit status and `ru_maxrss` of the command; the command's own
standard output goes to standard error.
"""

import os
import signal
import subprocess
import sys


def main(line: str) -> None:
    """Run the shell command `line`; an interrupt by Ctrl-C ends the command but not this process."""
    # Unlike SIG_IGN, a handler is not inherited by the command.
    signal.signal(signal.SIGINT, lambda *_: None)
    answer = os.dup(1)
    os.dup2(2, 1)
    status = subprocess.call(line, shell=True)
    os.write(answer, f'{status} {_read_peak_memory()}'.encode())


def _read_peak_memory() -> int:
    """Return `ru_maxrss` of the largest finished child process, in the system's unit; 0 where the system does not report it."""
    if sys.platform == 'win32':
        return 0
    import resource

    return resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss


if __name__ == '__main__':
    main(sys.argv[1])
