"""The rehearsal on a fake GPU: it counts what it should, finds what a GPU would refuse, and full-size steps pass it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import fake_device
import pytest
import torch
import torch.nn.functional as F
from fake_device import MismatchError

BENCHMARKS = Path(fake_device.__file__).parent


def kernels_of(function, *shapes, frames=1):
    """The kernels of `function` on parameters of these shapes, without a backward pass."""
    with fake_device.fake_cuda((Path(__file__).parent,), frames) as recorder:
        tensors = [torch.ones(shape, device='cuda', requires_grad=True) for shape in shapes]
        recorder.start()
        function(*tensors)
    return recorder


def test_kernels_and_their_work_are_those_of_the_operations():
    product, addition = kernels_of(lambda a, b: (a @ b).view(-1) + 1, (256, 512), (512, 128)).kernels
    assert (product.name, product.flops, product.bytes) == ('mm', 2 * 256 * 512 * 128, 4 * (256 * 512 + 512 * 128 + 256 * 128))
    assert (addition.name, addition.flops, addition.bytes) == ('add', 0, 2 * 4 * 256 * 128)
    assert product.shapes == ((256, 512), (512, 128))
    assert product.line.startswith('benchmarks/test_rehearsal.py:')


def test_the_modelled_time_is_the_largest_of_three():
    (small,) = kernels_of(lambda a: a.exp(), (4,)).kernels
    assert small.seconds == fake_device.SHORTEST
    (large,) = kernels_of(lambda a: a.exp(), (1 << 28,)).kernels
    assert large.seconds == pytest.approx((1 << 31) / (0.85 * 4.3e12))
    (product,) = kernels_of(lambda a, b: a @ b, (8192, 8192), (8192, 8192)).kernels
    assert product.seconds == pytest.approx(2 * 8192**3 / (0.6 * fake_device.rate('mm', torch.float32)))


def test_the_peak_of_memory_counts_what_is_alive():
    def three_after_one_another(a):
        for _ in range(3):
            a.exp()
        return a.exp().exp().sum()

    recorder = kernels_of(three_after_one_another, (1 << 20,))
    # The parameter was there before the start. Of the results two are alive at once.
    assert recorder.memory.peak == 2 * 4 * (1 << 20) + 512


def test_weights_are_cast_once_under_autocast():
    def twice(x, weight):
        with torch.autocast('cuda', dtype=torch.bfloat16):
            return F.linear(F.linear(x, weight), weight)

    kernels = kernels_of(twice, (16, 16), (16, 16)).kernels
    assert [kernel.name for kernel in kernels] == ['_to_copy', '_to_copy', 'mm', 'mm']
    assert {kernel.dtype for kernel in kernels} == {'bfloat16'}


@pytest.mark.parametrize(('bf16', 'chosen'), [(False, 'efficient'), (True, 'flash')])
def test_attention_is_what_a_gpu_chooses(bf16, chosen):
    def attend(query, key, value):
        with torch.autocast('cuda', dtype=torch.bfloat16, enabled=bf16):
            return F.scaled_dot_product_attention(query, key, value)

    names = [kernel.name for kernel in kernels_of(attend, *[(2, 4, 64, 32)] * 3).kernels]
    assert names[-1] == f'_scaled_dot_product_{chosen}_attention'


@pytest.mark.parametrize(
    ('mistake', 'message'),
    [
        (lambda x: x + torch.ones(8, 8), 'an input is on the CPU'),
        (lambda x: x[torch.zeros(3, dtype=torch.int64)], 'an input is on the CPU'),
        (lambda x: x @ torch.ones(8, 8, device='cuda', dtype=torch.bfloat16), 'inputs of different dtypes'),
        (lambda x: x @ torch.ones(9, 8, device='cuda'), r'test_rehearsal.py:\d+'),
    ],
)
def test_what_a_gpu_refuses_is_refused(mistake, message):
    with pytest.raises(MismatchError, match=message):
        kernels_of(mistake, (8, 8))


def test_copies_and_waits_are_reported():
    def transfer(x):
        x.sum().item()
        x.cpu()
        torch.ones(3).to('cuda')

    assert [key.partition(',')[0] for key in kernels_of(transfer, (8, 8)).transfers] == ['synchronization', 'to the host', 'to the device']


# --- In a process without an accelerator, where backward passes run

BACKWARD = """
import sys
import torch
import fake_device

def product(x, weight):
    return x @ weight

with fake_device.fake_cuda(({tests!r},)) as recorder:
    x, weight = (torch.ones(64, 64, device='cuda', requires_grad=True) for _ in range(2))
    recorder.start()
    with recorder.part('forward'), recorder.part('product'):
        loss = product(x, weight).sum()
    with recorder.part('backward'):
        loss.backward()
print([(kernel.name, kernel.part) for kernel in recorder.kernels])
"""

MISTAKE = """
import sys
import torch
from frex.losses.encoder_3d_losses import CameraLoss
import rehearsal

CameraLoss.forward = lambda self, camera, target, is_labelled: (camera - torch.zeros(2, 25)).abs().mean()
rehearsal.main()
"""


def in_own_process(code, *arguments, tmp_path):
    """Run `code` without an accelerator; return its exit status and what it prints."""
    script = tmp_path / 'script.py'
    script.write_text(code)
    start = 'import sys, fake_device; sys.exit(fake_device.run_without_accelerator(sys.argv[1:]))'
    paths = os.pathsep.join([str(BENCHMARKS), str(BENCHMARKS.parent)])
    done = subprocess.run(
        [sys.executable, '-W', 'ignore', '-c', start, sys.executable, '-W', 'ignore', str(script), *map(str, arguments)],
        env=os.environ | {'PYTHONPATH': paths, 'OMP_NUM_THREADS': '1'},
        capture_output=True,
        text=True,
    )
    return done.returncode, done.stdout, done.stderr


@pytest.mark.rehearsal
def test_a_backward_pass_belongs_to_the_parts_of_its_forward_pass(tmp_path):
    status, out, err = in_own_process(BACKWARD.format(tests=str(tmp_path)), tmp_path=tmp_path)
    assert status == 0, err
    forward, backward = ('forward', 'product'), ('backward', 'product')
    assert out.strip().splitlines()[-1] == str(
        [('mm', forward), ('sum', forward), ('ones_like', ('backward',)), ('mm', backward), ('mm', backward)]
    )


@pytest.mark.rehearsal
@pytest.mark.timeout(600)
def test_a_tensor_on_the_cpu_in_a_step_fails_the_rehearsal(tmp_path):
    arguments = ('--options', 'options/train_frex_tiny.yml', '--batch_size', 2, '--precision', 'fp32')
    status, _, err = in_own_process(MISTAKE, *arguments, '--force_yml', 'train:camera_opt={type: CameraLoss}', tmp_path=tmp_path)
    assert status == 1
    assert 'train_frex_tiny, fp32: aten.sub.Tensor at frex/models/objective.py' in err
    assert 'an input is on the CPU' in err


def test_a_compiler_is_asked_for_where_there_is_none(monkeypatch):
    monkeypatch.setenv('PATH', '')
    with pytest.raises(SystemExit, match='A C compiler is needed'):
        fake_device.run_without_accelerator(['true'])


# --- The steps themselves


@pytest.mark.rehearsal
@pytest.mark.timeout(900)
def test_full_size_steps_and_restoring_pass(tmp_path):
    """Both stages in bfloat16, with R1, which is in float32: so the steps without it pass, too."""
    output = tmp_path / 'rehearsal.json'
    command = [sys.executable, '-W', 'ignore', BENCHMARKS / 'rehearsal.py', '-o', output, '--only', 'stage A', 'stage B', 'restoring']
    command += ['--iterations', '16', '--precision', 'bf16']
    done = subprocess.run(command, env=os.environ | {'OMP_NUM_THREADS': '1'}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    records = {record['step']: record for record in json.loads(output.read_text())['records']}
    assert list(records) == ['stage A with R1', 'stage B with R1', 'restoring']
    parts = records['stage B with R1']['parts']
    critics = ['critic dual', 'critic multi_scale', 'critic latent']
    assert {'forward', 'losses', 'backward', *critics, 'moving average'} <= parts.keys()
    assert all('R1' in parts[critic]['parts'] for critic in critics)
    for record in records.values():
        assert record['kernels'] == sum(part['kernels'] for part in record['parts'].values())
