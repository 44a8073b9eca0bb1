"""Whether this run may download files."""

import os

# The environment variable that forbids downloads.
OFFLINE = 'FREX_OFFLINE'


def is_offline() -> bool:
    """Return whether nothing may be downloaded: FREX_OFFLINE is set to anything but 0, as `--offline` does for its process."""
    return os.environ.get(OFFLINE, '0') not in ('', '0')
