"""Which share of the work is this process's, as torchrun tells it."""

import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar
from uuid import uuid4

from frex.errors import FRExError

T = TypeVar('T')


@dataclass(frozen=True)
class Shard:
    """Process `rank` of `count`, `local_rank` on its machine. `run` is the same word for all of them, and no other run's."""

    run: str
    rank: int = 0
    count: int = 1
    local_rank: int = 0

    @classmethod
    def of_environment(cls, environment: Mapping[str, str] = os.environ) -> 'Shard':
        """Alone, unless torchrun's variables say otherwise; raises FRExError where they make no sense."""
        if 'RANK' not in environment or 'WORLD_SIZE' not in environment:
            return cls(uuid4().hex[:12])
        try:
            rank, count = int(environment['RANK']), int(environment['WORLD_SIZE'])
            local_rank = int(environment.get('LOCAL_RANK', rank))
        except ValueError:
            rank, count, local_rank = -1, 0, 0
        if not 0 <= rank < count:
            raise FRExError('RANK, WORLD_SIZE and LOCAL_RANK are set, but not as torchrun sets them: unset them, or use torchrun')
        return cls(_run(environment, count), rank, count, local_rank)

    def share(self, items: Sequence[T]) -> Sequence[T]:
        """Every `count`-th of them."""
        return items[self.rank :: self.count]

    def device(self, name: str) -> str:
        """`auto` and `cuda` are each process's own GPU."""
        if self.count == 1 or name not in ('auto', 'cuda'):
            return name
        import torch

        gpus = torch.cuda.device_count()
        return f'cuda:{self.local_rank % gpus}' if gpus else name


def _run(environment: Mapping[str, str], count: int) -> str:
    """All that torchrun says of itself; on one machine also its process, since its other words may be those of an earlier run."""
    names = ('TORCHELASTIC_RUN_ID', 'TORCHELASTIC_RESTART_COUNT', 'MASTER_ADDR', 'MASTER_PORT', 'WORLD_SIZE')
    words = [environment.get(name, '') for name in names]
    if environment.get('LOCAL_WORLD_SIZE', str(count)) == str(count):
        words.append(str(os.getppid()))
    return hashlib.sha256(' '.join(words).encode()).hexdigest()[:12]
