"""Read and write FID statistics: `.npz` in pytorch-fid's format, others in BasicSR's (pickled arrays), of which no code is run."""

import io
import mmap
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import torch

from frex.errors import FRExError
from frex.utils.files import open_regular, write_atomically
from frex.weights.safe_pickle import MALFORMED, Call, Global, InertUnpickler
from frex.weights.torch_file import LEGACY_START, UNREADABLE, ZIP_START, unreadable_error

ARRAYS = [Global(f'numpy.{core}.multiarray', '_reconstruct') for core in ('core', '_core')]
BYTES = Global('_codecs', 'encode')
KNOWN = {*ARRAYS, BYTES, Global('numpy', 'ndarray'), Global('numpy', 'dtype')}

# The largest array that is read, in bytes; the covariance of Inception's features has 2048 x 2048 numbers.
MAX_BYTES = 1 << 28
# The most files in an archive that is read.
MAX_MEMBERS = 100

# Mean, covariance, number of images, SHA-256 of the network's file. The last two are None unless FREx wrote the file.
StoredStatistics = tuple[np.ndarray, np.ndarray, int | None, str | None]


def read_statistics_file(path: Path) -> StoredStatistics:
    """Read FID statistics from a file; raise FRExError where it is missing, damaged or holds something else."""
    # Raises FRExError where it is no file or cannot be opened.
    open_regular(path).close()
    try:
        statistics = _from_npz(path) if path.suffix == '.npz' else _from_pickle(path)
        _check(statistics)
    except (*MALFORMED, *UNREADABLE, zlib.error) as error:
        raise FRExError(str(unreadable_error(path, error)).replace('of weights', 'of FID statistics')) from None
    return statistics


def write_statistics_file(path: Path, statistics: StoredStatistics) -> None:
    """Write FID statistics atomically: in pytorch-fid's format where the name ends in `.npz`, else in BasicSR's, which old torch reads."""
    mean, covariance, count, network = statistics
    known = {name: value for name, value in (('count', count), ('network', network)) if value is not None}
    with write_atomically(path) as part, part.open('wb') as stream:
        if path.suffix == '.npz':
            np.savez_compressed(stream, mu=mean, sigma=covariance, **known)  # type: ignore[arg-type]
        else:
            torch.save({'mean': mean, 'cov': covariance, **known}, stream, _use_new_zipfile_serialization=False)


def _check(statistics: StoredStatistics) -> None:
    """Raise ValueError for inconsistent shapes or numbers that are not finite, TypeError for a count or network of another type."""
    mean, covariance, count, network = statistics
    if mean.ndim != 1 or covariance.shape != (len(mean), len(mean)):
        raise ValueError(f'a mean of shape {mean.shape} and a covariance of {covariance.shape} do not go together')
    if not (np.isfinite(mean).all() and np.isfinite(covariance).all()):
        raise ValueError('it has values that are not finite numbers')
    if not isinstance(count, int | None) or not isinstance(network, str | None):
        raise TypeError('its count is not a whole number, or its network is not a string')


def _from_npz(path: Path) -> StoredStatistics:
    """Read a `.npz` with `mu` and `sigma`, pytorch-fid's format; no code in it is run.

    Raises one of `UNREADABLE`, or zlib.error, for any other file, such as ValueError where it would unpack to too many bytes.
    """
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
    if len(members) > MAX_MEMBERS or any(member.file_size > MAX_BYTES for member in members):
        raise ValueError('its content is larger than FID statistics can be')
    with np.load(path, allow_pickle=False) as arrays:
        count = int(arrays['count']) if 'count' in arrays else None
        network = str(arrays['network']) if 'network' in arrays else None
        return arrays['mu'].astype(np.float64), arrays['sigma'].astype(np.float64), count, network


def _from_pickle(path: Path) -> StoredStatistics:
    """Read a dictionary with `mean` and `cov` that `torch.save` wrote, BasicSR's format; no code in it is run.

    Raises one of `UNREADABLE`, or zlib.error, for any other file, such as ValueError where one of the two is missing.
    """
    content = _content(path)
    if not isinstance(content, dict) or not {'mean', 'cov'} <= content.keys():
        raise ValueError('it has no mean and cov')
    return _array(content['mean']), _array(content['cov']), content.get('count'), content.get('network')


def _content(path: Path) -> Any:
    """Return the object in a file of `torch.save`, of its old or its present format, with calls as `Call` instead of executed."""
    with open_regular(path) as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as content:
        start = content[: len(LEGACY_START)]
        if start == LEGACY_START:
            for _ in range(3):
                InertUnpickler(content, lambda _: False).load()
            return InertUnpickler(content, KNOWN.__contains__).load()
        if not start.startswith(ZIP_START):
            raise ValueError('torch.save did not write it')
        with zipfile.ZipFile(stream) as archive:
            pickles = [member for member in archive.infolist() if member.filename.endswith('/data.pkl')]
            if len(pickles) != 1 or pickles[0].file_size > 2 * MAX_BYTES:
                raise ValueError('it does not hold exactly one pickle of statistics')
            return InertUnpickler(io.BytesIO(archive.read(pickles[0])), KNOWN.__contains__).load()


def _array(value: Any) -> np.ndarray:
    """Return the array, in float64, that a pickled call of numpy's stands for; raise TypeError or ValueError for anything else."""
    if not isinstance(value, Call) or value.function not in ARRAYS:
        raise TypeError('its mean or covariance is not an array')
    _, shape, dtype, is_fortran, data = value.state
    kind, order = dtype.arguments[0], dtype.state[1]
    if kind not in ('f4', 'f8') or order not in ('<', '>'):
        raise ValueError('its mean or covariance does not consist of real numbers')
    if isinstance(data, Call):
        # This is how Python 2 pickles bytes.
        text, encoding = data.arguments
        data = text.encode({'latin1': 'latin1'}[encoding])
    return np.frombuffer(data, dtype=order + kind).reshape(shape, order='F' if is_fortran else 'C').astype(np.float64)
