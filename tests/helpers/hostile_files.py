"""Checks that a file which was made to do harm is refused, in bounded time and memory and without running anything."""

from pathlib import Path

import pytest
import safetensors.torch
from official_files import nvidia_state, stylegan2_network, write_pickle, write_pth
from typechecker import check
from watch import watched

from frex.errors import FRExError
from frex.weights.network_file import load_network
from frex_arch import StyleGAN2

# For a file of up to some megabytes: what reading may take. The type check of these tests makes it some five times slower.
SECONDS = 30
MEMORY = 64 << 20
# A pickle may have half a million opcodes; what they make takes some two hundred bytes each.
MEMORY_OF_OPCODES = 150 << 20

DAMAGED = 'not a file of weights, or a damaged one '


@check
def double(number: int) -> int:
    """Return twice a number, whose type is checked."""
    return 2 * number


def meet_all_formats(folder: Path) -> None:
    """Read a harmless file of each format: torch, msgspec and the type check of these tests import and compile at their first use."""
    state = StyleGAN2(out_size=8, num_style_feat=8, num_mlp=1, narrow=1 / 128).state_dict()
    load_network(write_pickle(folder / 'pkl', stylegan2_network(nvidia_state(state))))
    for legacy in (False, True):
        load_network(write_pth(folder / 'pth', state, legacy=legacy))
    safetensors.torch.save_file(state, folder / 'safetensors')
    load_network(folder / 'safetensors')
    # The type check imports what it needs to complain with when it first does.
    with pytest.raises(TypeError):
        double('two')


def assert_refused(path: Path, message: str, is_long: bool) -> None:
    """Check that `path`, alone in its folder, is refused in one line with `message`, a pattern, and that reading it does nothing else.

    With `is_long`, for a pickle of very many opcodes, reading may take the memory of these opcodes.
    """
    with watched() as found, pytest.raises(FRExError, match=rf'^{path}[:.].*({message})') as caught:
        load_network(path)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 5000
    assert found.events == [], found.events
    assert list(path.parent.iterdir()) == [path]
    assert found.seconds < SECONDS
    assert found.growth < (MEMORY_OF_OPCODES if is_long else MEMORY) + 4 * path.stat().st_size
