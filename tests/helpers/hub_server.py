"""A server on this machine that answers as the Hugging Face Hub does, as far as FREx asks it: repositories of small files."""

import base64
import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any
from urllib.parse import unquote, urlsplit

TOKEN, USER = 'hf_test', 'someone'


@dataclass
class HubRepository:
    """A repository: its branches by name, each with the contents of its files by name. A `gated` one refuses all requests."""

    branches: dict[str, dict[str, bytes]] = field(default_factory=lambda: {'main': {}})
    private: bool = False
    gated: bool = False

    def commit(self, revision: str) -> str | None:
        """Return the id of a branch's last commit: it follows from the branch's files; None where there is no such branch or commit."""
        if revision in self.branches:
            return hashlib.sha1(repr(sorted(self.branches[revision].items())).encode()).hexdigest()
        return revision if revision in map(self.commit, self.branches) else None

    def files(self, revision: str) -> dict[str, bytes]:
        """Return the files of a branch or of the last commit of one."""
        return next(files for branch, files in self.branches.items() if revision in (branch, self.commit(branch)))


@dataclass
class HubRequest:
    """A request: method, path without its query, the token, and the parsed JSON of the body, for a commit as a list of its lines."""

    method: str
    path: str
    token: str | None
    body: Any = None


class HubServer(ThreadingHTTPServer):
    """A server with `repositories` by `owner/name`; `requests` are all requests so far.

    Anyone may read a public repository. A private one needs the token TOKEN, and so does writing, which is allowed only to repositories of
    USER. With a status `down` the server answers nothing else.
    """

    def __init__(self) -> None:
        super().__init__(('127.0.0.1', 0), Handler)
        self.url = f'http://127.0.0.1:{self.server_port}'
        self.repositories: dict[str, HubRepository] = {}
        self.requests: list[HubRequest] = []
        # A status that answers all requests, where it is given.
        self.down: int | None = None

    def put(self, name: str, revision: str = 'main', **files: bytes) -> HubRepository:
        """Add files, `weights` as model.safetensors and `card` as README.md, to a branch of a repository, and return the repository.

        A repository and a branch that are missing are made.
        """
        names = {'weights': 'model.safetensors', 'card': 'README.md'}
        repository = self.repositories.setdefault(name, HubRepository())
        repository.branches.setdefault(revision, {}).update({names[key]: content for key, content in files.items()})
        return repository

    def asked(self, method: str) -> list[str]:
        return [request.path for request in self.requests if request.method == method]


class Handler(BaseHTTPRequestHandler):
    protocol_version = 'HTTP/1.1'
    server: HubServer

    def log_message(self, *args: object) -> None:
        """Write no log."""

    def _answer(self, status: int, content: bytes = b'{}', **headers: str) -> None:
        self.send_response(status)
        for name, value in {'Content-Length': str(len(content)), **headers}.items():
            self.send_header(name.replace('_', '-'), value)
        self.end_headers()
        if self.command != 'HEAD':
            self.wfile.write(content)

    def _json(self, status: int, **content: Any) -> None:
        self._answer(status, json.dumps(content).encode(), Content_Type='application/json')

    def _refuse(self, status: int, code: str = '', message: str = '') -> None:
        content = json.dumps({'error': message}).encode()
        self._answer(status, content, **({'X_Error_Code': code} if code else {}), **({'X_Error_Message': message} if message else {}))

    def _token(self) -> str | None:
        return (self.headers.get('Authorization') or '').removeprefix('Bearer ') or None

    def _take(self) -> HubRequest | None:
        """Note a request and return it; None where it is answered already: the server is down, or the token is wrong."""
        path, body = unquote(urlsplit(self.path).path), None
        length = int(self.headers.get('Content-Length') or 0)
        if length:
            lines = [json.loads(line) for line in self.rfile.read(length).splitlines()]
            body = lines if '/commit/' in path else lines[0]
        request = HubRequest(self.command, path, self._token(), body)
        self.server.requests.append(request)
        if self.server.down:
            self._refuse(self.server.down)
        elif request.token not in (None, TOKEN):
            self._refuse(401, message='Invalid credentials in Authorization header')
        else:
            return request
        return None

    def _readable(self, name: str) -> HubRepository | None:
        """Return a repository that the request may read; None where it is answered already."""
        repository = self.server.repositories.get(name)
        if repository is None or (repository.private and self._token() is None):
            self._refuse(404 if self._token() else 401, 'RepoNotFound', 'Repository not found')
        elif repository.gated:
            self._refuse(403, 'GatedRepo', 'Access is restricted')
        else:
            return repository
        return None

    def do_HEAD(self) -> None:
        request = self._take()
        if request is None:
            return
        if request.path.startswith('/api/models/'):
            repository = self._readable('/'.join(request.path.split('/')[3:5]))
            if repository is not None:
                self._json(200, id='/'.join(request.path.split('/')[3:5]), private=repository.private, sha=repository.commit('main'))
        elif '/resolve/' in request.path:
            self._give_file(request.path)
        else:
            self._refuse(404)

    do_GET = do_HEAD

    def _give_file(self, path: str) -> None:
        name, _, rest = path[1:].partition('/resolve/')
        repository = self._readable(name)
        if repository is None:
            return
        # A revision may hold a slash; a file at the top of a repository does not.
        revision, _, file = rest.rpartition('/')
        commit = repository.commit(revision)
        if commit is None:
            self._refuse(404, 'RevisionNotFound', 'Invalid rev id')
        elif file not in repository.files(revision):
            self._answer(404, X_Error_Code='EntryNotFound', X_Error_Message='Entry not found', X_Repo_Commit=commit)
        else:
            content = repository.files(revision)[file]
            self._answer(200, content, ETag=f'"{hashlib.sha1(content).hexdigest()}"', X_Repo_Commit=commit)

    def do_POST(self) -> None:
        request = self._take()
        if request is None:
            return
        if request.path == '/api/validate-yaml':
            self._json(200, errors=[], warnings=[])
        elif request.token is None:
            self._refuse(401, message='Invalid username or password.')
        elif request.path == '/api/repos/create':
            self._create(request.body)
        else:
            _, _, _, owner, name, action, revision = request.path.split('/', 6)
            repository = self._readable(f'{owner}/{name}')
            if repository is None:
                return
            if owner != USER:
                self._refuse(403, message='You may not write')
            elif action == 'branch':
                self._branch(repository, revision)
            elif revision not in repository.branches:
                self._refuse(404, 'RevisionNotFound', 'Invalid rev id')
            elif action == 'preupload':
                files = [{'path': file['path'], 'uploadMode': 'regular', 'shouldIgnore': False} for file in request.body['files']]
                self._json(200, files=files)
            else:
                self._commit(f'{owner}/{name}', repository, revision, request.body)

    def _create(self, body: dict[str, Any]) -> None:
        name = f'{body["organization"]}/{body["name"]}'
        if name in self.server.repositories:
            self._json(409, error='You already created this model repo', url=f'{self.server.url}/{name}')
        elif body['organization'] != USER:
            self._refuse(403, message='You may not write')
        else:
            private = body.get('visibility') == 'private' or bool(body.get('private'))
            self.server.repositories[name] = HubRepository(private=private)
            self._json(200, url=f'{self.server.url}/{name}')

    def _branch(self, repository: HubRepository, revision: str) -> None:
        if revision in repository.branches:
            self._refuse(409, message='Reference already exists')
        else:
            repository.branches[revision] = dict(repository.branches['main'])
            self._json(200)

    def _commit(self, name: str, repository: HubRepository, revision: str, lines: list[dict[str, Any]]) -> None:
        for line in lines:
            if line['key'] == 'file':
                repository.branches[revision][line['value']['path']] = base64.b64decode(line['value']['content'])
        commit = repository.commit(revision)
        self._json(200, success=True, commitOid=commit, commitUrl=f'{self.server.url}/{name}/commit/{commit}')


@contextmanager
def hub_serving() -> Iterator[HubServer]:
    """Yield a HubServer without repositories, which runs as long as the block."""
    server = HubServer()
    thread = Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
