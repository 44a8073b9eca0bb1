"""Send the list of input images from the first process of a run under torchrun to the others.

If each process listed the folders itself, the lists could differ, because a folder may change meanwhile.
"""

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
# Torch's store refuses values of more than 8 MiB, so the list is sent in parts of this size.
PART_BYTES = 4 << 20


class SharedInputs(NamedTuple):
    """The id `run`, which all processes of a run share and no other run has, and its input images."""

    run: str
    inputs: Inputs


def share_inputs(shard: Shard, find: Callable[[], Inputs]) -> SharedInputs:
    """Call `find` in the first process of a run, and return its inputs in all of them, with the id of the run.

    The other processes wait for the first. Where `find` raises FRExError, all of them raise it. Raises FRExError also where the
    processes cannot reach each other.
    """
    if shard.count == 1:
        return SharedInputs(_new_run(), find())
    store = _open_store(shard)
    if shard.index == 0:
        return _find_and_send(store, shard, find)
    message = json.loads(b''.join(store.get(f'{KEY}/{part}') for part in range(int(store.get(KEY)))))
    store.set(f'{KEY}/read_by/{shard.index}', '')
    if 'error' in message:
        raise FRExError(message['error'])
    return SharedInputs(message['run'], Inputs(Input(Path(path), PurePosixPath(name)) for path, name in message['files']))


def _new_run() -> str:
    return uuid4().hex[:12]


def _open_store(shard: Shard) -> torch.distributed.Store:
    try:
        store, _, _ = next(torch.distributed.rendezvous('env://', shard.index, shard.count))
    except (ValueError, RuntimeError) as error:
        raise FRExError(f'the processes of torchrun cannot reach each other ({error})') from None
    return store


def _find_and_send(store: torch.distributed.Store, shard: Shard, find: Callable[[], Inputs]) -> SharedInputs:
    try:
        shared = SharedInputs(_new_run(), find())
    except FRExError as error:
        _send(store, shard, {'error': str(error)})
        raise
    _send(store, shard, {'run': shared.run, 'files': [(str(item.path), str(item.name)) for item in shared.inputs]})
    return shared


def _send(store: torch.distributed.Store, shard: Shard, message: dict[str, Any]) -> None:
    # JSON in plain ASCII keeps file names that are not valid UTF-8.
    content = json.dumps(message)
    parts = [content[start : start + PART_BYTES] for start in range(0, len(content), PART_BYTES)]
    for number, part in enumerate(parts):
        store.set(f'{KEY}/{number}', part)
    store.set(KEY, str(len(parts)))
    # The store may live in this process, so it must not end before the others have read the message.
    store.wait([f'{KEY}/read_by/{index}' for index in range(1, shard.count)])
