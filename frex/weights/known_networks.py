"""Find the arguments of a FREx whose file does not say them among FREx's own option files, by the shapes of its weights."""

from collections.abc import Mapping
from functools import cache

import torch
from torch import Tensor

from frex.errors import FRExError
from frex.options import SHIPPED_FOLDER, Options, arguments_of, load_options
from frex.weights.state_dict import State, describe_mismatch
from frex_arch import FREx

DEFAULT_SIZE = 512


@cache
def known_arguments() -> tuple[Options, ...]:
    """Return the constructor arguments of each FREx in the option files that come with FREx: full size, its ablations, small and tiny."""
    found: list[Options] = []
    for path in sorted(SHIPPED_FOLDER.rglob('*.yml')):
        section = load_options(path).get('network_g') or {}
        if section.get('type') == FREx.__name__ and arguments_of(section) not in found:
            found.append(arguments_of(section))
    return tuple(found)


def arguments_by_shapes(state: State, where: str) -> Options:
    """Return the only ones of `known_arguments` whose network has weights of these names and shapes.

    Shapes do not tell how often rays are sampled, how large the input of Enc_3D is and the like, so other arguments are not guessed from
    them. Raises FRExError, which starts with `where`, unless exactly one of `known_arguments` fits.
    """
    size = _out_size(state)
    of_size = [number for number, known in enumerate(known_arguments()) if known.get('out_size', DEFAULT_SIZE) == size]
    fitting = [number for number in of_size if not describe_mismatch(_build_known(number), state)]
    if len(fitting) != 1:
        many = f'{len(fitting)} networks' if fitting else 'no network'
        raise FRExError(
            f'{where}: the weights alone do not say which FREx this is: {many} of its option files have weights of these shapes; '
            'write the checkpoint of training anew with: frex weights convert'
        )
    return known_arguments()[fitting[0]]


def _out_size(state: Mapping[str, Tensor]) -> int:
    """Return the width in pixels of the results, which is that of StyleGAN2's finest noise; 0 where there is none."""
    return max((value.shape[-1] for name, value in state.items() if name.startswith('stylegan2.noises.') and value.ndim), default=0)


@cache
def _build_known(number: int) -> FREx:
    """Build the network of `known_arguments()[number]` on the `meta` device, without memory for its weights."""
    with torch.device('meta'):
        return FREx(**known_arguments()[number])
