"""The records of a comparison: `run.json` describes the run of one method, `peers.json` lists all methods."""

from pathlib import Path
from typing import Literal

import msgspec
from msgspec import Struct

from frex.errors import FRExError, one_line
from frex.utils.files import read_regular, write_atomically

RUN, PEERS = 'run.json', 'peers.json'


class Seconds(Struct, kw_only=True):
    """Wall-clock times of a run, in seconds.

    `loading` is the time to load the network. `restoring` is the sum over the faces of the time from image to restored image, both in
    memory. A command has only `total`.
    """

    loading: float | None = None
    restoring: float | None = None
    total: float


class RunRecord(Struct, kw_only=True):
    """The run of one method on a folder of faces.

    `faces` is the number of faces; `timed` of them were restored in this run, the others in an earlier one or not at all. `seconds_a_face`
    is the mean over the timed faces: of restoring alone where `timing` is `network`, of the whole command with its start where it is
    `command`. `missing` maps the name of each face without a result to the reason. `peak_memory_bytes` is the most memory held at once:
    `host` of the process, or of the largest process of a command; `GPU` of tensors, unknown for a command. `results` is the pattern of the
    names of a command's images, None where they have the names of the faces.
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


class MethodEntry(Struct, kw_only=True):
    """A method in `peers.json`: its settings, and its run or the problem that prevented it."""

    settings: dict[str, str] = {}
    run: RunRecord | None = None
    problem: str | None = None

    @property
    def is_complete(self) -> bool:
        """Return whether the method ran and every face has a result."""
        return self.problem is None and self.run is not None and not self.run.missing


class PeersRecord(Struct, kw_only=True):
    """The content of `peers.json`: the number of faces, one SHA-256 over their names and contents, and the methods by name."""

    version: Literal[1] = 1
    pictures: int
    input_sha256: str
    methods: dict[str, MethodEntry] = {}


def read_peers(folder: Path) -> PeersRecord | None:
    """Read `peers.json` in `folder`; return None where it does not exist, raise FRExError where it is damaged."""
    path = folder / PEERS
    try:
        return msgspec.json.decode(read_regular(path), type=PeersRecord)
    except FileNotFoundError:
        return None
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise FRExError(f'{path}: not a record of this program ({one_line(str(error))}); give a new folder') from None


def write_record(path: Path, record: Struct) -> None:
    """Write a record as indented JSON, atomically; create its folder where it is missing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with write_atomically(path) as part:
        part.write_bytes(msgspec.json.format(msgspec.json.encode(record), indent=2) + b'\n')
