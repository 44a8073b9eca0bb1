"""Flags that users of GFPGAN and CodeFormer know, and FREx does not have: each is told in a sentence."""

from argparse import SUPPRESS, Action, ArgumentParser, Namespace
from typing import Any, NoReturn

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
