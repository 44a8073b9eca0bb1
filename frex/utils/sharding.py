"""Which part of the work is this process's: of `--shard I/N`, and as torchrun tells it."""

from collections.abc import Mapping
from dataclasses import dataclass

from frex.errors import FRExError


@dataclass(frozen=True)
class Shard:
    """Part `index` of `count` equal ones: every `count`-th item."""

    index: int = 0
    count: int = 1

    def of(self, num: int) -> range:
        """The numbers of its items."""
        return range(self.index, num, self.count)


def choose_share(shard: str, environment: Mapping[str, str]) -> Shard:
    """The share of this process: of `shard`, I/N, that of its rank under torchrun. Raises FRExError for what makes no sense."""
    index, _, count = shard.partition('/')
    if not (index.isdecimal() and count.isdecimal() and int(index) < int(count)):
        raise FRExError(f'--shard {shard}: I/N is needed, with I from 0 to N - 1')
    rank, world = _number(environment, 'RANK', 0), _number(environment, 'WORLD_SIZE', 1)
    if not rank < world:
        raise _not_torchruns()
    return Shard(int(index) * world + rank, int(count) * world)


def local_device(name: str, environment: Mapping[str, str], gpus: int) -> str:
    """Under torchrun each process of a machine takes a GPU of its own, as long as there are enough."""
    if name not in ('auto', 'cuda') or 'LOCAL_RANK' not in environment or not gpus:
        return name
    return f'cuda:{_number(environment, "LOCAL_RANK", 0) % gpus}'


def _number(environment: Mapping[str, str], name: str, default: int) -> int:
    text = environment.get(name, str(default))
    if not text.isdecimal():
        raise _not_torchruns()
    return int(text)


def _not_torchruns() -> FRExError:
    return FRExError('RANK, WORLD_SIZE and LOCAL_RANK are set, but not as torchrun sets them: unset them, or use torchrun')
