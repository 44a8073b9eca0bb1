"""Whether this run may download files."""

import os

# The environment variable that forbids downloads.
OFFLINE = 'FREX_OFFLINE'


def is_offline() -> bool:
    """Return whether nothing may be downloaded: `--offline`, or FREX_OFFLINE set to anything but 0."""
    return os.environ.get(OFFLINE, '0') not in ('', '0')
