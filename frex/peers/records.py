"""What is written down of a run: `run.json` of a method, `peers.json` of all."""

from pathlib import Path
from typing import Literal

import msgspec
from msgspec import Struct

from frex.errors import FRExError, one_line
from frex.utils.files import replacing

RUN, PEERS = 'run.json', 'peers.json'


class Seconds(Struct, kw_only=True):
    """`loading` is of the network; `restoring` has a face's image in memory at both ends. A command tells of its `total` alone."""

    loading: float | None = None
    restoring: float | None = None
    total: float


class RunRecord(Struct, kw_only=True):
    """One method on one folder.

    `faces` are there; `timed` of them were made in this run, the others in one that was broken off. `seconds_a_face` is the
    mean over these of restoring alone where `timing` is `network`, and of all that a command does, starting included, where it
    is `command`. `missing` has the faces without a result, by name, with the reason. Memory is the most that was held at once:
    of the `host` by the process, or by the largest of a command; of the `GPU` by tensors, which is not told for a command.
    `results` is the pattern of the names of a command's images, where they are not those of the faces.
    """

    method: str
    kind: str
    command: str | None = None
    results: str | None = None
    model: str | None = None
    model_sha256: str | None = None
    faces: int
    timed: int
    timing: Literal['network', 'command']
    seconds: Seconds
    seconds_a_face: float | None = None
    peak_memory_bytes: dict[str, int] = {}
    device: str | None = None
    versions: dict[str, str] = {}
    missing: dict[str, str] = {}


class Entry(Struct, kw_only=True):
    """A method as `peers.json` has it: what it was asked with, and its `run`, or why there is none."""

    settings: dict[str, str] = {}
    run: RunRecord | None = None
    problem: str | None = None

    @property
    def is_whole(self) -> bool:
        """Whether every face has its result."""
        return self.problem is None and self.run is not None and not self.run.missing


class PeersRecord(Struct, kw_only=True):
    """The whole file. `input_sha256` is one sum over the names and contents of the input's images."""

    version: Literal[1] = 1
    pictures: int
    input_sha256: str
    methods: dict[str, Entry] = {}


def read_peers(folder: Path) -> PeersRecord | None:
    """None where there is none; raises FRExError for a file that is none of this program's."""
    path = folder / PEERS
    try:
        return msgspec.json.decode(path.read_bytes(), type=PeersRecord)
    except FileNotFoundError:
        return None
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise FRExError(f'{path}: not a record of this program ({one_line(str(error))}); give a new folder') from None


def write_record(path: Path, record: Struct) -> None:
    """As JSON to be read by people, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as part:
        part.write_bytes(msgspec.json.format(msgspec.json.encode(record), indent=2) + b'\n')
