"""What each sub-command of `frex cameras` does."""

from argparse import Namespace
from collections.abc import Callable

from frex.labelling.comparing import compare_labels
from frex.labelling.estimating import estimate_labels
from frex.labelling.importing import import_labels
from frex.labelling.previewing import preview_labels

COMMANDS: dict[str, Callable[[Namespace], int]] = {
    'import': import_labels,
    'estimate': estimate_labels,
    'preview': preview_labels,
    'compare': compare_labels,
}
