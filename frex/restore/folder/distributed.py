"""Send the list of input images from the first process of a run under torchrun to the others.

If each process listed the folders itself, the lists could differ, because a folder may change meanwhile.
"""

import json
from typing import Any, NamedTuple

import torch

from frex.errors import FRExError
from frex.restore.folder.inputs import Inputs
from frex.utils.sharding import Shard

KEY = 'frex/inputs'
# Torch's store refuses values of more than 8 MiB, so the list is sent in parts of this size.
PART_BYTES = 4 << 20


class SharedInputs(NamedTuple):
    """The id `run`, which all processes of a run share and no other run has, and its input images."""

    run: str
    inputs: Inputs


class InputChannel:
    """A connection of all processes of a run, by which the first one sends the inputs, or the error that it met, to the others.

    Raises FRExError where the processes cannot reach each other. A process that is alone sends nothing.
    """

    def __init__(self, shard: Shard) -> None:
        self.shard = shard
        self._store = None if shard.count == 1 else _open_store(shard)

    def send(self, shared: SharedInputs) -> None:
        """Send the inputs; return when all other processes have received them."""
        self._send({'run': shared.run, 'files': shared.inputs.texts, 'films': sorted(shared.inputs.films)})

    def send_error(self, error: FRExError) -> None:
        """Send the error, which `receive` raises in all other processes; return when they have received it."""
        self._send({'error': str(error)})

    def receive(self) -> SharedInputs:
        """Wait for what the first process sends, and return its inputs; raise FRExError where it sends an error."""
        assert self._store is not None
        message = json.loads(b''.join(self._store.get(f'{KEY}/{part}') for part in range(int(self._store.get(KEY)))))
        self._store.set(f'{KEY}/read_by/{self.shard.index}', '')
        if 'error' in message:
            raise FRExError(message['error'])
        return SharedInputs(message['run'], Inputs(map(tuple, message['files']), message['films']))

    def _send(self, message: dict[str, Any]) -> None:
        if self._store is None:
            return
        # JSON in plain ASCII keeps file names that are not valid UTF-8.
        content = json.dumps(message)
        parts = [content[start : start + PART_BYTES] for start in range(0, len(content), PART_BYTES)]
        for number, part in enumerate(parts):
            self._store.set(f'{KEY}/{number}', part)
        self._store.set(KEY, str(len(parts)))
        # The store may live in this process, so it must not end before the others have read the message.
        self._store.wait([f'{KEY}/read_by/{index}' for index in range(1, self.shard.count)])


def _open_store(shard: Shard) -> torch.distributed.Store:
    try:
        store, _, _ = next(torch.distributed.rendezvous('env://', shard.index, shard.count))
    except (ValueError, RuntimeError) as error:
        raise FRExError(f'the processes of torchrun cannot reach each other ({error})') from None
    return store
