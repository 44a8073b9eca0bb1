"""Download of files of weights: resumed where it was cut, verified, and under their names only when whole."""

import os
import time
from collections.abc import Sequence
from pathlib import Path

import requests
from filelock import FileLock
from tqdm import tqdm

from frex.errors import FRExError
from frex.utils.files import sha256
from frex.weights.locate import FileStatus, download_dir, find_file, verify_file
from frex.weights.manifest import WeightFile

CONNECT_SECONDS, READ_SECONDS = 10, 30
# Attempts in a row at one address that bring no new bytes.
MOST_IDLE_ATTEMPTS = 3
# The limit where the manifest has no size.
MOST_BYTES = 2 << 30
# Blocks are small, since a block that a cut connection leaves unfinished is lost.
BLOCK = 1 << 14


class Unreachable(Exception):
    """No address gave the file; `answers` says for each address why."""

    def __init__(self, answers: dict[str, str]) -> None:
        super().__init__('; '.join(f'{url}: {answer}' for url, answer in answers.items()))
        self.answers = answers


def fetch(
    file: WeightFile, folder: Path | None = None, mirrors: Sequence[str] = (), *, offline: bool = False, pause: float = 1.0
) -> tuple[Path, str]:
    """Find a file, or download it into `download_dir(folder)`; return its path, and how it came there, for people.

    `mirrors` are addresses of folders, tried before the manifest's. Of several processes one downloads and the others wait.
    `pause` is the time in seconds before an address is tried again. Raises Unreachable where no address gives the file.
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
    """Download and verify the file; return where it came from."""
    part = target.with_name(f'{file.file}.part')
    if not file.sha256:
        # Without a sum nothing would show that the part on disk is of another file.
        part.unlink(missing_ok=True)
    answers = {}
    for url in urls:
        # Once from the part on disk; if that gives a wrong file, once more from the beginning.
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
    """Return whether a file is a pickle (a `.pkl` to its end), a zip, or a `.safetensors`, and not e.g. a web page."""
    with path.open('rb') as stream:
        content = stream.read(9)
        stream.seek(max(0, path.stat().st_size - 1))
        is_pickle = content.startswith(b'\x80') and ('.pkl' not in path.suffixes or stream.read() == b'.')
    return is_pickle or content.startswith(b'PK\x03\x04') or content[8:] == b'{'


def download_part(file: WeightFile, url: str, part: Path, pause: float) -> None:
    """Download what `part` lacks from one address; raise RequestException when the address gives no more."""
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
            # A response that brings the same bytes again and again counts as idle, too.
            idle, longest = (0, there) if there > max(longest, start) else (idle + 1, longest)
            if _is_final(error) or idle >= MOST_IDLE_ATTEMPTS:
                raise
            time.sleep(pause)


def _is_final(error: requests.RequestException) -> bool:
    """Return whether trying again is of no use: the server refuses, or the response is too long or too short."""
    if isinstance(error, requests.HTTPError) and error.response is not None:
        return error.response.status_code < 500
    return isinstance(error, requests.exceptions.InvalidHeader | requests.exceptions.InvalidURL)


def _request_part(file: WeightFile, url: str, part: Path, start: int) -> None:
    """Request the bytes from `start` on and append them to `part`; raise RequestException where the response is not all of them."""
    headers = {'Accept-Encoding': 'identity', 'User-Agent': 'frex'} | ({'Range': f'bytes={start}-'} if start else {})
    with requests.get(url, headers=headers, stream=True, timeout=(CONNECT_SECONDS, READ_SECONDS)) as response:
        continued = response.status_code == requests.codes.partial_content and _continues(response, start)
        refused = start and response.status_code == requests.codes.partial_content and not continued
        if refused or response.status_code == requests.codes.requested_range_not_satisfiable:
            # The part on disk cannot be continued here: the next attempt starts from the beginning.
            part.unlink(missing_ok=True)
            raise requests.ConnectionError('the range was refused')
        response.raise_for_status()
        _write(file, response, part, start if continued else 0)


def _continues(response: requests.Response, start: int) -> bool:
    """Return whether the bytes of a partial response are those from `start` on."""
    return response.headers.get('Content-Range', '').startswith(f'bytes {start}-') and not _is_encoded(response)


def _is_encoded(response: requests.Response) -> bool:
    """Return whether the response is compressed, which some servers do although the request says no."""
    return response.headers.get('Content-Encoding', 'identity') != 'identity'


def _stated_length(response: requests.Response, start: int) -> int | None:
    """Return the length of the whole file by the response that brings it from `start` on; None where it does not say."""
    digits = response.headers.get('Content-Range' if start else 'Content-Length', '').rpartition('/')[2]
    return int(digits) if digits.isdecimal() and not _is_encoded(response) else None


def _write(file: WeightFile, response: requests.Response, part: Path, start: int) -> None:
    """Write the response to `part` from `start` on; raise RequestException where the file is too long or too short."""
    limit = file.size or MOST_BYTES
    stated = _stated_length(response, start)
    if file.size and stated not in (None, file.size):
        # Another file, perhaps a login page of the network. The part on disk is kept for the next address.
        raise requests.exceptions.InvalidHeader(f'{stated:,} bytes instead of {file.size:,}')
    total = file.size or stated
    written = start
    # A progress bar only on a terminal.
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
    """Return what went wrong in a few words."""
    if isinstance(error, requests.HTTPError) and error.response is not None:
        return f'status {error.response.status_code}'
    text = str(error)
    if isinstance(error, requests.Timeout) or 'timed out' in text:
        return 'no answer in time'
    # The address may hold the word, too: .../resolve/main/...
    if 'Failed to resolve' in text or 'Name or service' in text:
        return 'its host is not known here'
    return 'no connection' if isinstance(error, requests.exceptions.ConnectionError) and 'HTTPConnectionPool' in text else text
