"""Two processes on one machine, by torchrun and gloo."""

import os
import re
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest
import torch
import torch.multiprocessing as mp
from option_files import face_folders
from processes import Command, free_port, torchrun
from tiny import TINY_OPTIONS, trained
from tiny_model import batch, build, gradients

from frex import __main__ as module_entry
from frex import compat
from frex.cli.main import main
from frex.compat import init_process_group

WITHOUT_CRITICS = {'network_d_dual': None, 'network_d_multi_scale': None}
TORCHRUN = [sys.executable, '-m', 'torch.distributed.run', '--standalone', '--nproc_per_node=2']


def step(root, rank, world_size, **changes):
    """One step on this rank's share of a batch of four, without noise; its model."""
    model = build(root, processes={'dist': world_size > 1, 'rank': rank, 'world_size': world_size}, **changes)
    trained(model.get_bare_model(model.net_g).eval())
    share = 4 // world_size
    model.feed_data({name: value[rank * share :][:share] for name, value in batch(labels=True, size=4).items() if torch.is_tensor(value)})
    model.optimize_parameters(1)
    return model


def one_of_two(rank, root, port, changes):
    os.environ |= {'RANK': str(rank), 'LOCAL_RANK': str(rank), 'WORLD_SIZE': '2', 'MASTER_ADDR': '127.0.0.1', 'MASTER_PORT': str(port)}
    torch.set_num_threads(1)
    init_process_group('nccl')
    model = step(Path(root) / str(rank), rank, 2, **changes)
    net = model.get_bare_model(model.net_g)
    torch.save({'gradients': gradients(net), 'log': dict(model.log_dict), 'state': net.state_dict()}, Path(root) / f'{rank}.pth')
    torch.distributed.destroy_process_group()


@pytest.mark.parametrize('train', [{}, {'accumulate': 2}], ids=['whole', 'in_parts'])
@pytest.mark.slow
def test_two_processes_take_the_step_of_one(tmp_path, train):
    changes = WITHOUT_CRITICS | {'train': train}
    mp.start_processes(one_of_two, (str(tmp_path), free_port(), changes), nprocs=2, start_method='forkserver')
    first, second = (torch.load(tmp_path / f'{rank}.pth', weights_only=True) for rank in (0, 1))
    model = step(tmp_path / 'alone', 0, 1, **changes)
    expected = gradients(model.net_g)
    assert first['gradients'].keys() == expected.keys()
    for name, gradient in expected.items():
        torch.testing.assert_close(first['gradients'][name], gradient, rtol=1e-3, atol=1e-6, msg=name)
        assert torch.equal(first['gradients'][name], second['gradients'][name]), name
    assert all(torch.equal(value, second['state'][name]) for name, value in first['state'].items())
    assert first['log'] == pytest.approx(dict(model.log_dict), rel=1e-4)


def arguments(faces, *more):
    # Without the pyramid's term no loss looks at the coarsest and finest of the decoder's images.
    short = [
        'train:pyramid_opt=~',
        'datasets:train:num_worker_per_gpu=1',
        'datasets:train:batch_size_per_gpu=2',
        'val:val_freq=2',
        'logger:save_checkpoint_freq=2',
        'logger:print_freq=1',
    ]
    return ['train', '-opt', str(TINY_OPTIONS), '--auto_resume', *face_folders(faces), *short, *more]


def train_as_typed(folder, *arguments):
    """`torchrun -m frex`; what it says."""
    environment = os.environ | {'OMP_NUM_THREADS': '1'}
    done = subprocess.run([*TORCHRUN, '-m', 'frex', *arguments], cwd=folder, capture_output=True, text=True, timeout=240, env=environment)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stderr


def train(folder, *arguments):
    """The same from processes that are there; what it says."""
    done = torchrun(Path(module_entry.__file__), *arguments, folder=folder)
    assert done.wait() == 0, done.stderr[-3000:]
    return done.stderr


def metrics(log):
    return [float(value) for value in re.findall(r'# psnr: ([\d.]+)', log)]


@pytest.mark.slow
def test_torchrun_needs_no_launcher_and_is_resumed(face_folder, tmp_path):
    """Five images on two processes: one has fewer to validate on."""
    together = train_as_typed(tmp_path, *arguments(face_folder, 'train:total_iter=2'))
    experiment = tmp_path / 'experiments/train_frex_tiny'
    assert {path.name for path in (experiment / 'models').glob('net_g_*')} == {'net_g_2.pth', 'net_g_latest.pth'}
    assert len(list(experiment.glob('*.log'))) == 1
    assert len(torch.load(experiment / 'training_states/2.state', weights_only=True)['processes']) == 2

    # The same network, validated by one process.
    command = ['test', '-opt', 'options/test_frex_tiny.yml', '--force_yml']
    command += [f'datasets:test_1:dataroot_gt={face_folder}', f'path:pretrain_network_g={experiment}/models/net_g_2.pth']
    alone = Command(main, *command, folder=tmp_path)
    assert alone.wait() == 0, alone.stderr[-2000:]
    # Degradations follow from seed and index.
    assert metrics(together)[0] == pytest.approx(metrics(alone.stderr)[0], abs=1e-3)

    resumed = train(tmp_path, *arguments(face_folder, 'train:total_iter=3', 'val=~'))
    assert 'Resuming training from epoch: 0, iter: 2.' in resumed
    assert 'iter:       3' in resumed

    # As if it had never stopped.
    (tmp_path / 'unbroken').mkdir()
    train(tmp_path / 'unbroken', *arguments(face_folder, 'train:total_iter=3', 'val=~'))
    ends = [
        torch.load(folder / 'experiments/train_frex_tiny/models/net_g_latest.pth', weights_only=True)
        for folder in (tmp_path, tmp_path / 'unbroken')
    ]
    for key in ('params', 'params_ema'):
        assert [name for name, value in ends[0][key].items() if not torch.equal(value, ends[1][key][name])] == []


SCONTROL = """#!/bin/sh
test "$*" = "show hostnames node[1-2]" && printf '127.0.0.1\\nnode2\\n'
"""


def join(arguments):
    compat.install()
    from basicsr.utils.dist_util import get_dist_info, init_dist

    init_dist('slurm', backend='nccl', port=int(arguments[0]), timeout=timedelta(minutes=2))
    total = torch.tensor([10.0 ** get_dist_info()[0]])
    torch.distributed.all_reduce(total)
    print(*get_dist_info(), total.item(), torch.distributed.get_backend())


def test_slurm_says_who_is_who(tmp_path):
    scontrol = tmp_path / 'scontrol'
    scontrol.write_text(SCONTROL)
    scontrol.chmod(0o755)
    port, runs = free_port(), []
    for rank in ('0', '1'):
        job = {'SLURM_PROCID': rank, 'SLURM_LOCALID': '0', 'SLURM_NTASKS': '2', 'SLURM_NODELIST': 'node[1-2]'}
        runs.append(Command(join, port, folder=tmp_path, PATH=f'{tmp_path}:{os.environ["PATH"]}', **job))
    assert [run.wait() for run in runs] == [0, 0]
    assert [run.stdout.split() for run in runs] == [['0', '2', '11.0', 'gloo'], ['1', '2', '11.0', 'gloo']]
