"""Checkpoints on the Hugging Face Hub: `owner/name` is downloaded into the Hub's cache, and `frex weights push` uploads one."""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from frex.environment import is_offline
from frex.errors import FRExError
from frex.utils.extras import require_package

# The files of a repository that FREx reads and writes. The Hub counts the parameters of a file of this name.
WEIGHTS, CARD = 'model.safetensors', 'README.md'

# As the Hub allows them, with one slash. A name that ends as a file of weights does is a file.
REPOSITORY = re.compile(r'(?P<name>[A-Za-z0-9][\w.-]*/[A-Za-z0-9_][\w.-]*)(?:@(?P<revision>[^@]+))?', re.ASCII)
FILE_SUFFIXES = ('.safetensors', '.pth', '.pt', '.pt2', '.pkl', '.ckpt', '.bin', '.onnx', '.tar', '.zip', '.state')

LOGIN = 'hf auth login, or set HF_TOKEN'


class Repository(NamedTuple):
    """A repository of the Hub: its `name`, `owner/name`, and a branch, tag or commit of it; None is the main branch."""

    name: str
    revision: str | None = None

    def __str__(self) -> str:
        return self.name if self.revision is None else f'{self.name}@{self.revision}'


def parse_repository(name: str | Path) -> Repository | None:
    """Return the repository that `owner/name` or `owner/name@revision` names; None where it can only be a file."""
    match = REPOSITORY.fullmatch(name.as_posix() if isinstance(name, Path) else name)
    if match is None or match['name'].lower().endswith(FILE_SUFFIXES):
        return None
    return Repository(match['name'], match['revision'])


# --- Download


def find_checkpoint(name: str | Path) -> Path:
    """Return the path of the checkpoint that a user names: a file, a folder that holds `model.safetensors`, or a repository of the Hub.

    A file or folder wins over a repository of the same name. The repository's file is downloaded as `download_checkpoint` says. Raises
    FRExError where that fails, and where a name of this form is a folder here without `model.safetensors`. Any other name is returned as a
    path, whether there is a file or not.
    """
    path = Path(os.path.expanduser(name))
    repository = parse_repository(name)
    if os.path.isfile(path / WEIGHTS):
        return path / WEIGHTS
    if repository is None or os.path.isfile(path):
        return path
    if os.path.lexists(path):
        raise FRExError(f'{path}: is here and no file, nor a folder with {WEIGHTS}; {repository.name}@main names the one on the Hub')
    return download_checkpoint(repository)


def download_checkpoint(repository: Repository) -> Path:
    """Return the path of the repository's `model.safetensors` in the Hub's cache; download it where the cache lacks its newest version.

    With `is_offline()` only the cache is used. Raises FRExError, in one line that says what to do, where the file cannot be downloaded,
    and where the package huggingface_hub is missing.
    """
    doing = f'no file or folder {repository} here, and loading it from the Hugging Face Hub'
    require_package('huggingface_hub', doing)
    from huggingface_hub import hf_hub_download

    with explained(repository, f'{doing} failed'):
        path = hf_hub_download(repository.name, WEIGHTS, revision=repository.revision, local_files_only=is_offline(), library_name='frex')
    return Path(path)


# --- Upload


def check_push(name: str) -> Repository:
    """Return the repository `name` to push to, `owner/name` or `owner/name@branch`.

    Raises FRExError for another name, with `is_offline()`, where no user is logged in, and where the package huggingface_hub is missing.
    Whether the user may write to the repository is not checked.
    """
    repository = parse_repository(name)
    if repository is None:
        raise FRExError(f'{name}: no name of a repository on the Hugging Face Hub; give owner/name')
    require_package('huggingface_hub', f'pushing to {name}')
    from huggingface_hub import constants, get_token

    if is_offline() or constants.HF_HUB_OFFLINE:
        raise FRExError(f'pushing to {repository} needs the network: leave out --offline, and unset FREX_OFFLINE and HF_HUB_OFFLINE')
    if get_token() is None:
        raise FRExError(f'pushing to {repository} needs a login at {constants.ENDPOINT}: {LOGIN}')
    return repository


def upload(repository: Repository, weights: Path, card: str, *, private: bool = False, overwrite: bool = False) -> tuple[str, bool]:
    """Upload the file `weights` and the model card, the text `card`, in one commit; return its URL, and whether it has the card.

    A repository and a branch that are missing are made. `private` makes a new repository private. Weights in the repository are replaced,
    a card in it only with `overwrite`. Raises FRExError where that is not possible, and with `private` where the repository is public
    already.
    """
    from huggingface_hub import CommitOperationAdd, HfApi

    api, branch = HfApi(library_name='frex'), repository.revision or 'main'
    with explained(repository, f'pushing to {repository} failed'):
        api.create_repo(repository.name, private=private or None, exist_ok=True)
        if private and not api.repo_info(repository.name).private:
            raise FRExError(f'{repository.name} is public, and --private is for new repositories: nothing is uploaded; change its settings')
        # The Hub has other references too, as those of pull requests, which it makes itself.
        if branch != 'main' and not branch.startswith('refs/'):
            api.create_branch(repository.name, branch=branch, exist_ok=True)
        with_card = overwrite or not api.file_exists(repository.name, CARD, revision=branch)
        operations = [CommitOperationAdd(WEIGHTS, weights)] + ([CommitOperationAdd(CARD, card.encode())] if with_card else [])
        commit = api.create_commit(repository.name, operations, commit_message='Weights of FREx', revision=branch)
    return commit.commit_url, with_card


# --- Errors


@contextmanager
def explained(repository: Repository, doing: str) -> Iterator[None]:
    """Turn each error of huggingface_hub within the block into FRExError: one line that says what failed, where, and what to do."""
    try:
        yield
    except FRExError:
        raise
    # The package raises errors of its own, of its HTTP library, which differs by version, and of the transfer library.
    except Exception as error:
        raise FRExError(explain(error, repository, doing)) from error


def explain(error: Exception, repository: Repository, doing: str) -> str:
    """Return the line for people on an error of huggingface_hub; it begins with `doing`, which says what has failed."""
    from huggingface_hub import constants, errors

    host, name = constants.ENDPOINT, repository.name
    if isinstance(error, errors.LocalEntryNotFoundError):
        return f'{doing}: {_explain_lack_of_network(error, host, constants.HF_HUB_OFFLINE, constants.HF_HUB_CACHE)}'
    if isinstance(error, errors.GatedRepoError):
        return f'{doing}: its owner decides who may read it; ask at {host}/{name}, then log in: {LOGIN}'
    if isinstance(error, errors.RepositoryNotFoundError):
        return f'{doing}: no repository {name} at {host} that you may read; check the name, or log in if it is private: {LOGIN}'
    if isinstance(error, errors.RevisionNotFoundError):
        return f'{doing}: {host}/{name} has no revision {repository.revision}; give a branch, a tag or a commit of it'
    if isinstance(error, errors.EntryNotFoundError):
        return f'{doing}: {host}/{name} has no {WEIGHTS}; download another file of it and give its path, or push one: frex weights push'
    return f'{doing}: {_explain_status(error, host)}'


def _explain_lack_of_network(error: Exception, host: str, hub_is_offline: bool, cache: str) -> str:
    """Return why a file that is not in the Hub's cache could not be downloaded."""
    if is_offline() or hub_is_offline:
        return f'not in {cache}, and offline nothing is downloaded; leave out --offline, FREX_OFFLINE and HF_HUB_OFFLINE once'
    status = getattr(getattr(error.__cause__, 'response', None), 'status_code', None)
    reason = f'{host} answered with status {status}' if status else f'no answer from {host}'
    return f'not in {cache}, and {reason}; check the network and HF_ENDPOINT, then try again'


def _explain_status(error: Exception, host: str) -> str:
    """Return what an error says that has no class of its own: by the status of the Hub's answer, else by its text."""
    status = getattr(getattr(error, 'response', None), 'status_code', None)
    if status == 401:
        return f'{host} does not take your login; log in again: {LOGIN}'
    if status == 403:
        return f'{host} says that you may not do that; use a token that may, of a user who may: {LOGIN}'
    text = getattr(error, 'server_message', None) or next((line.strip() for line in str(error).splitlines() if line.strip()), 'no text')
    if status:
        return f'{host} answered with status {status} ({text})'
    if isinstance(error, ValueError) or (isinstance(error, OSError) and error.errno and not isinstance(error, ConnectionError)):
        return text
    return f'no usable answer from {host} ({type(error).__name__}: {text}); check the network and HF_ENDPOINT, then try again'
