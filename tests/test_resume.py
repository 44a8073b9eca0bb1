"""A run that is broken off anywhere and resumed ends with the weights of an unbroken one, bit for bit."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from tiny import TINY_OPTIONS

from frex.cli.main import main

STAGE_A = TINY_OPTIONS.with_name('train_frex_3d_tiny.yml')
# Ten visits an epoch are two iterations, so that kill points lie within epochs and at their ends.
SHORT = [
    *('datasets:train:dataset_enlarge_ratio=2', 'datasets:train:num_worker_per_gpu=0', 'datasets:train:persistent_workers=false'),
    *('train:total_iter=7', 'train:net_d_reg_every=2', 'val:val_freq=2', 'logger:save_checkpoint_freq=1', 'logger:use_tb_logger=false'),
]


def arguments(options, faces, *more):
    folders = [f'datasets:{phase}:dataroot_gt={faces}' for phase in ('train', 'val')]
    return ['train', '-opt', str(options), '--auto_resume', '--force_yml', *folders, *SHORT, *more]


def weights(folder, name):
    """All networks at the end of a run."""
    models = folder / 'experiments' / name / 'models'
    return {path.name: torch.load(path, weights_only=True) for path in sorted(models.glob('*_latest.pth'))}


def assert_equal(one, other):
    assert one.keys() == other.keys()
    for file, content in one.items():
        for key in ('params', 'params_ema'):
            assert [name for name, value in content.get(key, {}).items() if not torch.equal(value, other[file][key][name])] == [], file


def run_unbroken(options, faces, folder):
    """A whole run; answers its folder, options and weights."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert main(arguments(options, faces)) == 0
    return folder, options, weights(folder, options.stem)


@pytest.fixture(scope='module')
def unbroken(face_folder, tmp_path_factory):
    return run_unbroken(TINY_OPTIONS, face_folder, tmp_path_factory.mktemp('unbroken'))


def broken_off(unbroken, after, folder):
    """A copy of the run as it was after an iteration."""
    source, options, _ = unbroken
    shutil.copytree(source / 'experiments', folder / 'experiments')
    experiment = folder / 'experiments' / options.stem
    for path in (*experiment.glob('models/*'), *experiment.glob('training_states/*')):
        number = path.stem.rpartition('_')[2]
        if not number.isdecimal() or int(number) > after:
            path.unlink()
    return experiment


@pytest.mark.parametrize('after', [1, 2, 3, 6])
def test_a_resumed_run_ends_as_the_unbroken_one(unbroken, after, face_folder, tmp_path, monkeypatch):
    broken_off(unbroken, after, tmp_path)
    monkeypatch.chdir(tmp_path)
    assert main(arguments(unbroken[1], face_folder)) == 0
    assert_equal(unbroken[2], weights(tmp_path, unbroken[1].stem))


def test_so_does_stage_a_with_its_pool_of_codes(face_folder, tmp_path, monkeypatch):
    (tmp_path / 'unbroken').mkdir()
    (tmp_path / 'resumed').mkdir()
    whole = run_unbroken(STAGE_A, face_folder, tmp_path / 'unbroken')
    broken_off(whole, 3, tmp_path / 'resumed')
    monkeypatch.chdir(tmp_path / 'resumed')
    assert main(arguments(STAGE_A, face_folder)) == 0
    assert_equal(whole[2], weights(tmp_path / 'resumed', STAGE_A.stem))


def test_whatever_the_number_of_workers(unbroken, face_folder, tmp_path, monkeypatch):
    broken_off(unbroken, 3, tmp_path)
    monkeypatch.chdir(tmp_path)
    assert main(arguments(unbroken[1], face_folder, 'datasets:train:num_worker_per_gpu=2')) == 0
    assert_equal(unbroken[2], weights(tmp_path, unbroken[1].stem))


def test_a_damaged_state_is_passed_over(unbroken, face_folder, tmp_path, monkeypatch, capsys):
    experiment = broken_off(unbroken, 4, tmp_path)
    state = experiment / 'training_states/4.state'
    state.write_bytes(state.read_bytes()[:1000])
    monkeypatch.chdir(tmp_path)
    assert main(arguments(unbroken[1], face_folder)) == 0
    assert 'passed over: ' in capsys.readouterr().err
    assert_equal(unbroken[2], weights(tmp_path, unbroken[1].stem))


@pytest.mark.parametrize('wait', [0.0, 0.35])
def test_a_killed_run_is_resumed(face_folder, tmp_path, wait, unbroken):
    """SIGKILL at whatever it is doing, some time after its first state."""
    _, options, expected = unbroken
    command = [sys.executable, '-m', 'frex', *arguments(options, face_folder)]
    run = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    first = Path(tmp_path / 'experiments' / options.stem / 'training_states/1.state')
    while not first.exists():
        assert run.poll() is None
        time.sleep(0.02)
    time.sleep(wait)
    run.send_signal(signal.SIGKILL)
    run.wait()
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr[-2000:]
    assert 'Resuming training from epoch' in done.stderr + done.stdout
    assert_equal(expected, weights(tmp_path, options.stem))


def test_a_job_that_is_asked_to_stop_saves_first(unbroken, face_folder, tmp_path):
    """SIGTERM to all of its processes, the loader's workers too, with no checkpoint asked for before the end."""
    _, options, expected = unbroken
    command = [
        sys.executable,
        '-u',
        '-m',
        'frex',
        *arguments(options, face_folder, 'logger:save_checkpoint_freq=1000', 'logger:print_freq=1'),
    ]
    run = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, start_new_session=True)
    log = []
    for line in run.stderr:
        log.append(line)
        if 'iter:       2,' in line:
            os.killpg(run.pid, signal.SIGTERM)
            break
    log += run.stderr.readlines()
    assert run.wait() == 128 + signal.SIGTERM
    (state,) = (tmp_path / 'experiments' / options.stem / 'training_states').iterdir()
    assert f'Stopped by SIGTERM and saved at iteration {state.stem}; go on with --auto_resume.' in ''.join(log)
    assert 2 < int(state.stem) < 7
    assert subprocess.run(command, cwd=tmp_path, capture_output=True, timeout=200).returncode == 0
    assert_equal(expected, weights(tmp_path, options.stem))
