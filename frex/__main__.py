"""The entry point of `python -m frex`."""

import sys

from frex.cli.main import main

if __name__ == '__main__':
    sys.exit(main())
