"""Download weight files when a command first needs them.

An interrupted download is resumed. A file gets its name only when its checksum is right or, where the manifest has none, when it begins as
a file of weights does.
"""

import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import requests
from filelock import FileLock
from tqdm import tqdm

from frex.environment import is_offline
from frex.errors import FRExError
from frex.utils.files import open_regular, sha256
from frex.weights.locate import FileStatus, download_dir, find_file, require_file, verify_file
from frex.weights.manifest import MOST_BYTES, WeightFile, manifest

CONNECT_SECONDS, READ_SECONDS = 10, 30
# Consecutive attempts at one URL without new bytes, after which it is given up.
MOST_IDLE_ATTEMPTS = 3
# The refusals of a server that may pass: a timeout, and too many requests.
PASSING = (408, 429)
# In bytes. Small, because the block during which a connection breaks is lost.
BLOCK = 1 << 14


class Unreachable(Exception):
    """Raised where no URL gave a file; `answers` says for each URL why, in a few words."""

    def __init__(self, answers: dict[str, str]) -> None:
        super().__init__('; '.join(f'{url}: {answer}' for url, answer in answers.items()))
        self.answers = answers


def obtain_file(name: str | Path, folder: Path | None = None) -> Path:
    """Return the path of the file that an option names: a key of the manifest, or another name that `require_file` knows.

    The file of a key is downloaded into `download_dir(folder)` where no undamaged copy lies in `search_paths(folder)`; a line on stderr
    names file, size and licence first. Raises FRExError where it cannot be downloaded, where `is_offline()` and there is no undamaged
    copy, and for other names as `require_file` does.
    """
    file = manifest().get(str(name))
    if file is None or is_offline():
        return require_file(name, folder)
    status = find_file(file, folder)
    if status.state is FileStatus.THERE and status.path is not None:
        return status.path
    target = download_dir(folder).absolute()
    print(f'Downloading {file.key}, {file.purpose}: {file.described_size} into {target}; licence: {file.licence}', file=sys.stderr)
    try:
        return fetch(file, folder)[0]
    except Unreachable as error:
        how = describe_manual_download(file, error.answers, target)
        raise FRExError(f'{file.file} is missing and cannot be downloaded: {how}') from None


def describe_manual_download(file: WeightFile, answers: dict[str, str], folder: Path) -> str:
    """Return one line that says how to get a file by hand: its size, checksum, URLs with their `answers`, and the `folder` for it."""
    addresses = ', '.join(f'{url} ({answer})' for url, answer in answers.items())
    return f'{file.file}: {file.described_size}, sha256 {file.described_sum}, from {addresses}; put it into {folder}'


def fetch(
    file: WeightFile, folder: Path | None = None, mirrors: Sequence[str] = (), *, offline: bool = False, pause: float = 1.0
) -> tuple[Path, str]:
    """Find a file with `find_file`, or download it into `download_dir(folder)`; return its path and, in words for people, its origin.

    `mirrors` are URLs of folders, tried before the manifest's URLs. A download must have the manifest's checksum; without one it must begin
    as a file of weights does. It replaces a damaged file of its name. Of several processes one downloads and the others wait. `pause` is
    the time in seconds before a URL is tried again. Raises Unreachable where no URL gives the file and, with `offline`, where no undamaged
    copy is found. Raises FRExError where it cannot be written.
    """
    status = find_file(file, folder)
    if status.state is FileStatus.THERE and status.path is not None:
        return status.path, 'there already'
    if offline:
        raise Unreachable(dict.fromkeys(file.urls, 'not tried'))
    target = download_dir(folder) / file.file
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(target.with_name(f'.{file.file}.lock')):
            if target.is_file() and verify_file(file, target).state is FileStatus.THERE:
                return target, 'fetched by another process'
            return target, _download(file, target, [*(f'{mirror.rstrip("/")}/{file.file}' for mirror in mirrors), *file.urls], pause)
    except OSError as error:
        raise FRExError(f'{target}: cannot be written ({error.strerror or error})') from None


def _download(file: WeightFile, target: Path, urls: Sequence[str], pause: float) -> str:
    """Download and verify the file, trying `urls` in their order; return in words for people where it came from, or raise Unreachable."""
    part = target.with_name(f'{file.file}.part')
    if not file.sha256:
        # Without a checksum nothing would show that the partial file on disk is one of another file.
        part.unlink(missing_ok=True)
    answers = {}
    for url in urls:
        # The first attempt continues the partial file on disk. If that gives a wrong file, a second one starts from the beginning.
        for _ in range(1 + part.exists()):
            try:
                download_part(file, url, part, pause)
            except requests.RequestException as error:
                answers[url] = _reason(error)
                break
            digest = sha256(part)
            if file.has_sum(digest) and (file.sha256 or _looks_like_weights(part)):
                os.replace(part, target)
                return f'from {url}' if file.sha256 else f'from {url}; nobody states its sha256, this one has {digest}'
            part.unlink()
            answers[url] = f'gave other bytes (their sha256 begins with {digest[:8]})'
    raise Unreachable(answers)


def _looks_like_weights(path: Path) -> bool:
    """Return whether a file begins as a pickle, a zip or a `.safetensors` does, unlike e.g. a web page; a `.pkl` must also end as one."""
    with open_regular(path) as stream:
        content = stream.read(9)
        stream.seek(max(0, path.stat().st_size - 1))
        is_pickle = content.startswith(b'\x80') and ('.pkl' not in path.suffixes or stream.read() == b'.')
    return is_pickle or content.startswith(b'PK\x03\x04') or content[8:] == b'{'


def download_part(file: WeightFile, url: str, part: Path, pause: float) -> None:
    """Download from one URL what the partial file `part` lacks, in several attempts; raise RequestException where it is given up."""
    idle = longest = 0
    while True:
        start = part.stat().st_size if part.exists() else 0
        if start == file.size:
            return
        try:
            _request_part(file, url, part, start)
            return
        except requests.RequestException as error:
            there = part.stat().st_size if part.exists() else 0
            # An attempt counts as idle unless the partial file grows beyond its longest so far: a server may send the same bytes forever.
            idle, longest = (0, there) if there > max(longest, start) else (idle + 1, longest)
            if _is_final(error) or idle >= MOST_IDLE_ATTEMPTS:
                raise
            time.sleep(pause)


def _is_final(error: requests.RequestException) -> bool:
    """Return whether another attempt is useless: the server refuses for good, or the file has a wrong size."""
    if isinstance(error, requests.HTTPError) and error.response is not None:
        return error.response.status_code < 500 and error.response.status_code not in PASSING
    return isinstance(error, requests.exceptions.InvalidHeader | requests.exceptions.InvalidURL)


def _request_part(file: WeightFile, url: str, part: Path, start: int) -> None:
    """Request the bytes from `start` on and write them to `part`; raise RequestException where the response lacks some of them."""
    headers = {'Accept-Encoding': 'identity', 'User-Agent': 'frex'} | ({'Range': f'bytes={start}-'} if start else {})
    with requests.get(url, headers=headers, stream=True, timeout=(CONNECT_SECONDS, READ_SECONDS)) as response:
        continued = response.status_code == requests.codes.partial_content and _continues(response, start)
        refused = start and response.status_code == requests.codes.partial_content and not continued
        if refused or response.status_code == requests.codes.requested_range_not_satisfiable:
            # The partial file cannot be continued from this server: the next attempt starts from the beginning.
            part.unlink(missing_ok=True)
            raise requests.ConnectionError('the range was refused')
        response.raise_for_status()
        _write(file, response, part, start if continued else 0)


def _continues(response: requests.Response, start: int) -> bool:
    """Return whether the bytes of a response with status 206 are those from `start` on."""
    return response.headers.get('Content-Range', '').startswith(f'bytes {start}-') and not _is_encoded(response)


def _is_encoded(response: requests.Response) -> bool:
    """Return whether the response is compressed, which some servers do although the request forbids it."""
    return response.headers.get('Content-Encoding', 'identity') != 'identity'


def _stated_length(response: requests.Response, start: int) -> int | None:
    """Return the length in bytes of the whole file according to the response, which brings it from `start` on; None if unknown."""
    digits = response.headers.get('Content-Range' if start else 'Content-Length', '').rpartition('/')[2]
    return int(digits) if digits.isdecimal() and not _is_encoded(response) else None


def _write(file: WeightFile, response: requests.Response, part: Path, start: int) -> None:
    """Write the response to `part` from byte `start` on; 0 replaces the file.

    The file must get the manifest's size or, where it has none, the length that the response states, at most MOST_BYTES. Raises
    RequestException where the response states another length than the manifest, and where more or fewer bytes arrive. `part` is deleted
    where the manifest's size, or else MOST_BYTES, would be exceeded; otherwise it is kept for the next attempt.
    """
    limit = file.size or MOST_BYTES
    stated = _stated_length(response, start)
    if file.size and stated not in (None, file.size):
        # Another file, perhaps the login page of a network. The partial file is kept for the next URL.
        raise requests.exceptions.InvalidHeader(f'{stated:,} bytes instead of {file.size:,}')
    total = file.size or stated
    written = start
    # `disable=None` shows the progress bar on terminals only.
    with (
        part.open('r+b' if start else 'wb') as stream,
        tqdm(total=total, initial=start, desc=file.file, unit='B', unit_scale=True, unit_divisor=1024, disable=None) as bar,
    ):
        stream.seek(start)
        for block in response.iter_content(BLOCK):
            written += len(block)
            if written > limit:
                break
            stream.write(block)
            bar.update(len(block))
        stream.flush()
        os.fsync(stream.fileno())
    if written > limit:
        part.unlink()
        raise requests.exceptions.InvalidHeader(f'more than {limit:,} bytes')
    if written != (total or written):
        raise requests.ConnectionError(f'{written:,} bytes of {total:,}')


def _reason(error: requests.RequestException) -> str:
    """Return in a few words, for people, why a request failed."""
    if isinstance(error, requests.HTTPError) and error.response is not None:
        return f'status {error.response.status_code}'
    text = str(error)
    if isinstance(error, requests.Timeout) or 'timed out' in text:
        return 'no answer in time'
    # The whole phrase, since a URL may contain the word: .../resolve/main/...
    if 'Failed to resolve' in text or 'Name or service' in text:
        return 'its host is not known here'
    return 'no connection' if isinstance(error, requests.exceptions.ConnectionError) and 'HTTPConnectionPool' in text else text
