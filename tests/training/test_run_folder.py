"""What a killed run has left half written goes when it is resumed, and nothing else."""

import subprocess
import sys

import pytest
from filelock import FileLock

from frex.options.sections import PathOptions
from frex.training import run_folder
from frex.training.run_folder import LOCK, RunFolder
from frex.utils.files import write_atomically

LEFT = ['models/net_g_5.pth.0a1b2c3d.part', 'training_states/5.state.ffffffff.part', 'not_finite_iter3_rank0.pth.01234567.part']
KEPT = ['models/net_g_5.pth', 'models/mine.part', 'models/net_g_5.pth.0A1B2C3D.part', 'training_states/5.state', 'notes.0a1b2c3d.part.txt']


@pytest.fixture
def run(tmp_path):
    """A run with incomplete files in its folder, and others."""
    path = PathOptions(experiments_root=str(tmp_path), models=str(tmp_path / 'models'), training_states=str(tmp_path / 'training_states'))
    folder = RunFolder(path)
    for name in (*LEFT, *KEPT):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    yield folder
    folder.close()


def files(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob('*') if path.is_file())


def test_incomplete_files_are_removed_and_others_stay(run, tmp_path, capsys):
    run.resume()
    assert files(tmp_path) == sorted([*KEPT, LOCK])
    assert capsys.readouterr().err == ''


def test_those_of_a_live_run_stay_and_it_is_told(run, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(run._lock, 'timeout', 0.1)
    with FileLock(tmp_path / LOCK):
        run.resume()
    assert files(tmp_path) == sorted([*KEPT, *LEFT, LOCK])
    assert capsys.readouterr().err == f'{tmp_path}: another run may be writing here; its incomplete files stay\n'


def test_a_killed_run_does_not_hold_the_folder(run, tmp_path):
    code = f'from filelock import FileLock; import os; lock = FileLock({str(tmp_path / LOCK)!r}); lock.acquire(); os.kill(os.getpid(), 9)'
    assert subprocess.run([sys.executable, '-c', code]).returncode == -9
    run.resume()
    assert files(tmp_path) == sorted([*KEPT, LOCK])


def test_a_new_run_holds_its_folder_until_its_end(run, tmp_path, monkeypatch):
    monkeypatch.setattr(run_folder, 'mkdir_and_rename', lambda _: None)
    run.make()
    other = RunFolder(run.path)
    monkeypatch.setattr(other._lock, 'timeout', 0.1)
    other.resume()
    assert set(LEFT) < set(files(tmp_path))
    run.close()
    other.resume()
    other.close()
    assert not set(LEFT) & set(files(tmp_path))


def test_the_names_are_those_of_atomic_writing(run, tmp_path):
    with write_atomically(tmp_path / 'models' / 'a\nb.pth') as part:
        part.touch()
        assert run_folder.PARTIAL_FILE.fullmatch(part.name)


def test_a_folder_that_is_not_there_is_not_made(tmp_path):
    RunFolder(PathOptions(experiments_root=str(tmp_path / 'new'))).resume()
    assert files(tmp_path) == []
