"""`frex train` and `frex test`: run BasicSR's pipelines with the same flags as in BasicSR."""

from argparse import ArgumentParser, Namespace
from typing import Any

from frex.cli.flags import add_offline, read_options


def add_commands(commands: Any) -> None:
    """Add `train` and `test` to an argparse sub-command group."""
    train = commands.add_parser('train', help='train with an option file', allow_abbrev=False)
    train.set_defaults(run=_train, extra='train')
    test = commands.add_parser('test', help='run a trained network over test sets', allow_abbrev=False)
    test.set_defaults(run=_test, extra='train')
    for parser in (train, test):
        _add_flags(parser)


def _add_flags(parser: ArgumentParser) -> None:
    parser.add_argument('-opt', required=True, metavar='FILE', help='option file, e.g. options/train_frex_tiny.yml')
    parser.add_argument('--launcher', choices=['none', 'pytorch', 'slurm'], default='none', help='job launcher (default: none)')
    parser.add_argument('--auto_resume', action='store_true', help="continue from the run's newest training state")
    parser.add_argument(
        '--debug', action='store_true', help='log every iteration, and validate and save every 8, under the name debug_NAME'
    )
    add_offline(parser)
    parser.add_argument('--local_rank', '--local-rank', type=int, default=0, help='set by torch.distributed.launch; not used')
    parser.add_argument(
        '--force_yml', nargs='+', metavar='KEY=VALUE', help='change options, e.g. train:total_iter=1000 datasets:train:dataroot_gt=DIR'
    )


def _train(args: Namespace) -> None:
    from frex.options import RunOptions
    from frex.training import pipeline

    pipeline.train(read_options(RunOptions, args))


def _test(args: Namespace) -> None:
    from frex.options import RunOptions
    from frex.training import pipeline

    pipeline.test(read_options(RunOptions, args))
