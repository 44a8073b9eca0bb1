"""Options: files are read and completed for BasicSR, and read once more into typed objects, which FREx works with."""

from frex.options.complete import RunOptions, complete, requested_options
from frex.options.convert import Options, arguments_of, check_arguments, convert
from frex.options.files import SHIPPED_FOLDER, OptionLoader, find_option_file, load_options, merge, override, with_option
from frex.options.run import FRExConfig, RunConfig, read_frex_run, read_run

__all__ = [
    'SHIPPED_FOLDER',
    'FRExConfig',
    'OptionLoader',
    'Options',
    'RunConfig',
    'RunOptions',
    'arguments_of',
    'check_arguments',
    'complete',
    'convert',
    'find_option_file',
    'load_options',
    'merge',
    'override',
    'read_frex_run',
    'read_run',
    'requested_options',
    'with_option',
]
