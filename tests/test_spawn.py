"""Worker processes that are spawned, as on Windows and macOS, and not forked: data loaders and pools work all the same."""

import json
import os
import subprocess
import sys

import pytest
from processes import ROOT
from scored_folders import clean, decibels, off_by, write

pytestmark = pytest.mark.slow

# As `python -m frex`, on a system without fork.
SCRIPT = """
import multiprocessing
import sys

from frex.cli.main import main

if __name__ == '__main__':
    multiprocessing.set_start_method('spawn')
    sys.exit(main(sys.argv[1:]))
"""


@pytest.fixture
def frex(tmp_path):
    """A function that runs a command of frex whose worker processes are spawned."""
    (tmp_path / 'program.py').write_text(SCRIPT)

    def run(*arguments):
        command = [sys.executable, tmp_path / 'program.py', *map(str, arguments)]
        done = subprocess.run(
            command, cwd=tmp_path, env=os.environ | {'PYTHONPATH': str(ROOT)}, capture_output=True, text=True, timeout=200
        )
        assert done.returncode == 0, done.stderr[-3000:]
        return done.stdout

    return run


def test_metrics_are_computed(frex, tmp_path):
    for number in range(2):
        write(tmp_path / f'gt/{number}.png', clean(number))
        write(tmp_path / f'ours/{number}.png', off_by(clean(number), 2 + number))
    metrics = ['--metrics', 'psnr', 'niqe', '--num_workers', 1, '--device', 'cpu']
    frex('evaluate', '--restored', 'A=ours', '--gt', 'gt', *metrics, '--json', 'all.json')
    method = json.loads((tmp_path / 'all.json').read_text())['rows'][0]
    assert method['summaries']['psnr'][0]['mean'] == pytest.approx(decibels(2, 3))


def test_faces_are_degraded_as_without_workers(frex, tmp_path):
    write(tmp_path / 'gt/a.png', clean(0, 64))
    frex('degrade', 'gt', '-o', 'spawned', '--num_workers', 1)
    frex('degrade', 'gt', '-o', 'alone', '--num_workers', 0)
    spawned, alone = ((tmp_path / name / 'images/a.png').read_bytes() for name in ('spawned', 'alone'))
    assert spawned == alone


def test_faces_are_restored(frex, tmp_path, checkpoint):
    write(tmp_path / 'faces/a.png', clean(0, 64))
    frex('restore', '-i', 'faces', '-o', 'out', '--model_path', checkpoint, '--aligned', '--device', 'cpu')
    assert len(list((tmp_path / 'out/restored_faces').iterdir())) == 1


def test_a_network_is_trained(frex, tmp_path, face_folder):
    short = ['train:total_iter=2', 'val=~', 'datasets:val=~', 'logger:use_tb_logger=false', 'datasets:train:num_worker_per_gpu=1']
    options = [*short, 'datasets:train:persistent_workers=false', f'datasets:train:dataroot_gt={face_folder}']
    frex('train', '-opt', 'options/train_frex_3d_tiny.yml', '--force_yml', *options)
    assert (tmp_path / 'experiments/train_frex_3d_tiny/models/net_g_latest.pth').is_file()
