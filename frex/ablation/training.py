"""Train a configuration with a seed, by running `frex train` in a process of its own."""

import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from frex.ablation.configurations import Configuration
from frex.errors import FRExError


@dataclass(frozen=True)
class Training:
    """How configurations are trained.

    `command` is `frex train` with its launcher, `force_yml` holds changes KEY=VALUE to the options, and `logs` is the folder of the files
    to which the trainings' output is appended.
    """

    command: Sequence[str]
    force_yml: Sequence[str]
    logs: Path

    def find_or_train(self, configuration: Configuration, seed: int) -> Path:
        """Return the final checkpoint of a configuration; train it, or continue its training, where there is none.

        Checkpoints are written below `experiments` in the working directory, as by `frex train`. Raises FRExError where the training fails.
        """
        name = configuration.run_name(seed)
        # This is the last file that a training writes.
        path = Path('experiments', name, 'models', 'net_g_latest.pth')
        if not path.is_file():
            self._train(configuration.file, name, seed)
        if not path.is_file():
            raise FRExError(f'{name}: the training ended without {path}; see {self._log_file(name)}')
        return path

    def _train(self, options: Path, name: str, seed: int) -> None:
        """Run the training command with the file `options` as the experiment `name`; resume a training that was interrupted.

        What it prints is appended to the log file of `name`. Raises FRExError where it cannot be run or ends with an error.
        """
        own = [f'name={name}', f'manual_seed={seed}']
        line = [*self.command, '-opt', str(options), '--auto_resume', '--force_yml', *self.force_yml, *own]
        self.logs.mkdir(parents=True, exist_ok=True)
        with self._log_file(name).open('ab') as log:
            try:
                status = subprocess.run(line, stdout=log, stderr=subprocess.STDOUT, check=False).returncode
            except OSError as error:
                raise FRExError(f'--train_command: {line[0]} cannot be run ({error.strerror or error})') from None
        if status:
            lines = self._log_file(name).read_text(encoding='utf-8', errors='replace').strip().splitlines() or ['nothing printed']
            raise FRExError(f'{name}: the training ended with status {status}: {lines[-1]}; all of it is in {self._log_file(name)}')

    def _log_file(self, name: str) -> Path:
        """Return the path of the file for all that the training `name` prints."""
        return self.logs / f'{name}.log'
