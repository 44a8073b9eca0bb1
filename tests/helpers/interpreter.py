"""A new interpreter for each script, but for what takes seconds to import: the scripts run in forks of a process that has imported it."""

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from processes import ROOT

# Reads jobs from its standard input, and writes the exit status of each. A script ends as one in a file of its own would.
SERVER = """
import json, os, sys
job = json.loads(sys.stdin.readline())
exec(job, globals())
print(flush=True)
while True:
    job = json.loads(sys.stdin.readline() or 'null')
    if job is None:
        sys.exit()
    child = os.fork()
    if not child:
        break
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
for descriptor, (path, flags) in enumerate([(os.devnull, os.O_RDONLY), (job['out'], os.O_WRONLY), (job['err'], os.O_WRONLY)]):
    os.dup2(os.open(path, flags), descriptor)
sys.stdin = open(0, closefd=False)
os.environ.clear()
os.environ.update(job['environment'])
os.chdir(job['folder'])
sys.path[0] = job['folder']
sys.argv = ['script.py', *job['arguments']]
exec(compile(job['script'], 'script.py', 'exec'), {'__name__': '__main__'})
"""


class Finished(NamedTuple):
    """The exit status of a script, negative after a signal, and what it has printed."""

    returncode: int
    stdout: str
    stderr: str


class Interpreter:
    """Python after the script `prepare`, run with `environment`; each further script runs in a fork of it."""

    def __init__(self, prepare: str, environment: Mapping[str, str]) -> None:
        self._environment = dict(environment)
        self._process = subprocess.Popen(
            [sys.executable, '-c', SERVER], env=self._environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self._ask(prepare)

    def _ask(self, job: object) -> str:
        self._process.stdin.write(json.dumps(job) + '\n')
        self._process.stdin.flush()
        return self._process.stdout.readline()

    def run(self, script: str, *arguments: object, folder: Path = ROOT) -> Finished:
        """Run a script in `folder`, with `arguments` as its command line."""
        with TemporaryDirectory() as logs:
            out, err = Path(logs, 'out'), Path(logs, 'err')
            out.touch()
            err.touch()
            job = {'script': script, 'arguments': list(map(str, arguments)), 'folder': str(folder), 'out': str(out), 'err': str(err)}
            status = self._ask(job | {'environment': self._environment})
            return Finished(int(status), out.read_text(), err.read_text())

    def check_output(self, script: str, *arguments: object, folder: Path = ROOT) -> str:
        """Run a script that must succeed; return what it has printed on standard output."""
        done = self.run(script, *arguments, folder=folder)
        assert done.returncode == 0, done.stderr[-3000:]
        return done.stdout

    def close(self) -> None:
        # Processes that tests have forked may hold its standard input open.
        self._process.stdin.write('null\n')
        self._process.stdin.close()
        self._process.wait()
