"""One list of images for all processes of a run: a folder may change while each of them would read it."""

import json
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple
from uuid import uuid4

import torch

from frex.errors import FRExError
from frex.restore.folder.inputs import Input, Inputs
from frex.utils.sharding import Shard

KEY = 'frex/inputs'
# A store of torch refuses values of more than 8 MiB.
PART_BYTES = 4 << 20


class SharedInputs(NamedTuple):
    """`run`: a word that is the same for all processes of this run, and no other run's."""

    run: str
    inputs: Inputs


def agree(share: Shard, find: Callable[[], Inputs]) -> SharedInputs:
    """What `collect_inputs` finds in the first process of a run; the others wait for it, and raise its FRExError as well."""
    if share.count == 1:
        return SharedInputs(_new_run(), find())
    store = _store(share)
    if share.index == 0:
        return _tell(store, share, find)
    told = json.loads(b''.join(store.get(f'{KEY}/{part}') for part in range(int(store.get(KEY)))))
    store.set(f'{KEY}/read_by/{share.index}', '')
    if 'error' in told:
        raise FRExError(told['error'])
    return SharedInputs(told['run'], Inputs(Input(Path(path), PurePosixPath(name)) for path, name in told['files']))


def _new_run() -> str:
    return uuid4().hex[:12]


def _store(share: Shard) -> torch.distributed.Store:
    try:
        store, _, _ = next(torch.distributed.rendezvous('env://', share.index, share.count))
    except (ValueError, RuntimeError) as error:
        raise FRExError(f'the processes of torchrun cannot reach each other ({error})') from None
    return store


def _tell(store: torch.distributed.Store, share: Shard, find: Callable[[], Inputs]) -> SharedInputs:
    try:
        agreed = SharedInputs(_new_run(), find())
    except FRExError as error:
        _send(store, share, {'error': str(error)})
        raise
    _send(store, share, {'run': agreed.run, 'files': [(str(item.path), str(item.name)) for item in agreed.inputs]})
    return agreed


def _send(store: torch.distributed.Store, share: Shard, told: dict[str, Any]) -> None:
    # As plain ASCII, which names that are no text survive.
    content = json.dumps(told)
    parts = [content[start : start + PART_BYTES] for start in range(0, len(content), PART_BYTES)]
    for number, part in enumerate(parts):
        store.set(f'{KEY}/{number}', part)
    store.set(KEY, str(len(parts)))
    # The store may live in this process, which may have nothing else to do.
    store.wait([f'{KEY}/read_by/{index}' for index in range(1, share.count)])
