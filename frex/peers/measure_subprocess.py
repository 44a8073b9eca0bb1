"""A line for the shell in a process that holds next to nothing, and the most memory that one of its processes held.

Linux counts to a new program what the process that started it has held, so FREx's own memory would be told for a small command's.
Run as a file, alone; its standard output gets exit status and `ru_maxrss`, the line's goes where errors go.
"""

import os
import signal
import subprocess
import sys


def main(line: str) -> None:
    """Run `line`; Ctrl-C is for the line alone."""
    # Unlike SIG_IGN, this is not handed on to the line.
    signal.signal(signal.SIGINT, lambda *_: None)
    answer = os.dup(1)
    os.dup2(2, 1)
    status = subprocess.call(line, shell=True)
    os.write(answer, f'{status} {_most_memory()}'.encode())


def _most_memory() -> int:
    """0 where the system does not tell."""
    if sys.platform == 'win32':
        return 0
    import resource

    return resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss


if __name__ == '__main__':
    main(sys.argv[1])
