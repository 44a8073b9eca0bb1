"""`frex weights interpolate`: makes the network between two trained ones, by the mean of their weights (Wang et al., ESRGAN, 2018)."""

import torch

from frex.errors import FRExError
from frex.weights.network_file import NetworkFile, check_network


def interpolate(first: NetworkFile, second: NetworkFile, ratio: float, where: str) -> NetworkFile:
    """Return the network whose weights are `1 - ratio` times those of `first` plus `ratio` times those of `second`.

    Where `second` was trained on from `first`, the results are between theirs too: less noise and blur than of either, if one of them was
    trained for exact pixels and the other for sharp images. Tensors of integers are those of `second`. Raises FRExError, which starts with
    `where`, unless both are of the same class with the same arguments, and `ratio` is from 0 to 1.
    """
    if not 0 <= ratio <= 1:
        raise FRExError(f'--ratio {ratio:g}: must be from 0 to 1')
    if first.kind != second.kind:
        raise FRExError(f'{where}: one is a {first.kind}, the other a {second.kind}')
    changed = sorted(key for key in {*first.arguments, *second.arguments} if first.arguments.get(key) != second.arguments.get(key))
    if changed:
        raise FRExError(f'{where}: the networks differ in {", ".join(changed)}')
    check_network(first, where)
    check_network(second, where)
    state = {
        name: torch.lerp(first.state[name].float(), value.float(), ratio) if value.is_floating_point() else value
        for name, value in second.state.items()
    }
    return NetworkFile(second.kind, second.arguments, state)
