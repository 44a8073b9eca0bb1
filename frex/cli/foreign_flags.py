"""Flags that users of GFPGAN and CodeFormer know, and FREx does not have: each is told in a sentence."""

from argparse import SUPPRESS, Action, ArgumentParser, Namespace
from collections.abc import Iterator, Sequence
from typing import Any, NoReturn

from frex.errors import nearest

FOREIGN = {
    ('--face_upsample',): 'FREx runs no other network; enlarge the results with it afterwards',
    ('--bg_tile',): 'FREx runs no other network over the background; leave it out',
    ('--draw_box',): 'FREx draws no boxes; report.json has those of all faces',
    ('--save_video_fps',): 'FREx reads no videos; give a folder of its frames',
    ('--weight',): "GFPGAN's weight is --fidelity_weight here, 0 for quality and 1 for fidelity",
    ('--arch', '--channel', '--channel_multiplier'): 'a FREx checkpoint names its own network; leave it out',
    ('-v', '--version'): 'FREx has no versions of networks; give a checkpoint by --model_path',
}


class _Refusal(Action):
    """`const` is the sentence."""

    def __call__(self, parser: ArgumentParser, namespace: Namespace, values: Any, option_string: str | None = None) -> NoReturn:
        parser.error(f'{option_string}: {self.const}')


def refuse_foreign_flags(parser: ArgumentParser) -> None:
    """Hidden flags whose use ends with their sentence."""
    for names, sentence in FOREIGN.items():
        parser.add_argument(*names, dest='foreign', action=_Refusal, nargs='?', const=sentence, help=SUPPRESS, default=SUPPRESS)


def parse(parser: ArgumentParser, argv: Sequence[str] | None) -> Namespace:
    """Where there is an unknown flag, end with its name and that of the command's nearest one."""
    args, unknown = parser.parse_known_args(argv)
    if unknown:
        known = [name for own in _parsers(parser) if own.get_default('run') is args.run for name in _flags(own)]
        hints = [nearest(word.partition('=')[0], known) for word in unknown if word.startswith('--')]
        helpful = [hint for hint in hints if hint.startswith('did you mean')]
        parser.error(f'unrecognized arguments: {" ".join(unknown)}{f" ({helpful[0]})" if helpful else ""}')
    return args


def _flags(parser: ArgumentParser) -> Iterator[str]:
    for action in parser._actions:
        if action.help != SUPPRESS:
            yield from (name for name in action.option_strings if name.startswith('--'))


def _parsers(parser: ArgumentParser) -> Iterator[ArgumentParser]:
    yield parser
    for action in parser._actions:
        if isinstance(action.choices, dict):
            for below in action.choices.values():
                yield from _parsers(below)
