"""Divide work among processes, by `--shard I/N` and by the environment variables that torchrun sets."""

from collections.abc import Mapping
from dataclasses import dataclass

from frex.errors import FRExError


@dataclass(frozen=True)
class Shard:
    """Shard `index` of `count`: every `count`-th item, starting with item `index`, counted from 0."""

    index: int = 0
    count: int = 1

    def of(self, num: int) -> range:
        """Return the indices of the shard's items among `num` items."""
        return range(self.index, num, self.count)


def choose_shard(shard: str, environment: Mapping[str, str]) -> Shard:
    """Return this process's shard: shard I of N for `shard` = 'I/N', divided further by rank under torchrun.

    `environment` are the environment variables. Raises FRExError for another form of `shard`, and for values that torchrun would not set.
    """
    index, _, count = shard.partition('/')
    if not (index.isdecimal() and count.isdecimal() and int(index) < int(count)):
        raise FRExError(f'--shard {shard}: I/N is needed, with I from 0 to N - 1')
    rank, world = _read_number(environment, 'RANK', 0), _read_number(environment, 'WORLD_SIZE', 1)
    if not rank < world:
        raise _make_torchrun_error()
    return Shard(int(index) * world + rank, int(count) * world)


def choose_local_device(name: str, environment: Mapping[str, str], gpus: int) -> str:
    """Return the device for this process: under torchrun the processes of a machine take its GPUs in turn.

    `name` is the value of --device; a device other than `auto` or `cuda` is returned as it is. `gpus` is the number of GPUs of this
    machine.
    """
    if name not in ('auto', 'cuda') or 'LOCAL_RANK' not in environment or not gpus:
        return name
    return f'cuda:{_read_number(environment, "LOCAL_RANK", 0) % gpus}'


def _read_number(environment: Mapping[str, str], name: str, default: int) -> int:
    """Return the environment variable `name` as an integer, or `default` where it is not set; raise FRExError where it is no number."""
    text = environment.get(name, str(default))
    if not text.isdecimal():
        raise _make_torchrun_error()
    return int(text)


def _make_torchrun_error() -> FRExError:
    return FRExError('RANK, WORLD_SIZE and LOCAL_RANK are set, but not as torchrun sets them: unset them, or use torchrun')
