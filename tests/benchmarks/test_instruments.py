"""What the benchmarks compare with is right, and their instruments read what they should."""

import time
from argparse import Namespace
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import pytest
import reference_eg3d
import thread_waits
import timing
import tiny_training
import torch
from candidates import build_frex_parts
from isolated_process import IsolatedProcess
from tiny import small_eg3d, tiny_network_options
from training import Stopwatch, Traffic

from frex_arch.camera import frontal_camera

CPU = torch.device('cpu')


def test_the_plain_restatement_is_eg3d():
    net, camera = small_eg3d(render_size=16).eval(), frontal_camera(2)
    z = torch.randn(2, net.z_dim, generator=torch.Generator().manual_seed(0))
    for block in net.backbone.synthesis.children():
        for layer in (block.conv1, getattr(block, 'conv0', block.conv1)):
            layer.noise_strength.fill_(0.3)
            layer.bias.normal_()
    ws = net.mapping(z, camera)
    torch.testing.assert_close(reference_eg3d.planes(net, ws), net.planes(ws), atol=1e-4, rtol=0)
    rendered = net.render(net.planes(ws), camera)
    assert rendered.feature_image.std() > 1e-3
    feature_image, depth = reference_eg3d.render(net, reference_eg3d.planes(net, ws), camera)
    torch.testing.assert_close(feature_image, rendered.feature_image, atol=1e-4, rtol=0)
    torch.testing.assert_close(depth, rendered.depth, atol=1e-4, rtol=0)
    assert torch.equal(reference_eg3d.feature_image(net, z, camera), feature_image)


def two_numbers(first, second):
    return {'sum': lambda: first + second, 'product': lambda: first @ second}


@pytest.mark.slow
def test_a_booth_runs_its_contestants_in_a_process_of_its_own():
    process = IsolatedProcess(two_numbers, torch.ones(2, 3), torch.ones(3, 2), device=CPU, keep_memory=True)
    assert process.names == ['sum', 'product']
    assert torch.equal(process.result('product'), torch.full((2, 2), 3.0))
    assert process.flops('product') == 24
    assert 0 < process.timers()['product']() < 1


@pytest.mark.slow
def test_a_failure_in_a_booth_ends_the_benchmark(capfd):
    process = IsolatedProcess(two_numbers, torch.ones(2, 3), torch.ones(3, 2), device=CPU, keep_memory=False)
    with pytest.raises(SystemExit, match='ended'):
        process.seconds('sum')
    assert 'must match the size' in capfd.readouterr().err
    with pytest.raises(SystemExit, match='ended'):
        IsolatedProcess(two_numbers, torch.ones(2, 3), device=CPU, keep_memory=False)
    assert 'missing 1 required positional argument' in capfd.readouterr().err


def test_contestants_take_turns_and_the_first_round_does_not_count():
    order = []
    times = timing.take_turns({'a': lambda: order.append('a') or len(order), 'b': lambda: order.append('b') or len(order)}, 3)
    assert order == ['a', 'b'] * 4
    assert times == {'a': [3, 5, 7], 'b': [4, 6, 8]}


def test_ratios_are_of_the_same_round():
    found = timing.compute_ratios({'slow': [2.0, 30.0, 4.0], 'fast': [1.0, 10.0, 4.0]}, 'fast')
    assert found['slow'] == {'ratio': 2.0, 'least': 1.0, 'most': 3.0, 'seconds': 4.0}
    assert found['fast']['ratio'] == 1


def large_tensor(mebibytes):
    return {'ones': lambda: torch.ones(mebibytes << 18).sum()}


@pytest.mark.parametrize('keep_memory', [False, True])
@pytest.mark.slow
def test_memory_beyond_what_was_there_is_counted(keep_memory, forked):
    process = IsolatedProcess(large_tensor, 400, device=CPU, keep_memory=keep_memory)
    process.seconds('ones')
    assert 390 << 20 < process.measure_peak_bytes('ones') < 450 << 20


def test_operations_are_those_of_the_product():
    a, b = torch.ones(3, 5), torch.ones(5, 7)
    assert timing.count_flops(lambda: a @ b) == 2 * 3 * 5 * 7


def test_bytes_are_those_of_what_is_taken_and_made_and_views_are_none():
    a, b = torch.ones(10), torch.ones(10)
    with Traffic() as traffic:
        (a + b).view(2, 5)
    assert traffic.bytes == 3 * 40


def test_the_stopwatch_adds_up_what_it_surrounds():
    watch = Stopwatch(CPU)
    sleep = watch.around('sleep', lambda seconds: time.sleep(seconds) or seconds)
    assert [sleep(0.02), sleep(0.03)] == [0.02, 0.03]
    assert watch.seconds['sleep'] == pytest.approx(0.05, abs=0.04)
    assert watch.seconds['sleep'] >= 0.05


def test_the_parts_of_frex_make_its_image():
    parts = build_frex_parts(CPU, 1, **tiny_network_options())
    assert parts['whole']().std() > 1e-3
    assert torch.equal(parts['StyleGAN2 with fusion'](), parts['whole']())


class FakeTrainer:
    """Takes no steps, always in the same time."""

    def __init__(self, settings):
        self.settings = settings

    def seconds(self, steps):
        return 0.5

    def close(self):
        pass


@pytest.mark.parametrize('name', [None, 'results/waits.json'])
def test_thread_waits_are_printed_and_written_only_where_a_file_is_named(name, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(thread_waits, 'Trainer', FakeTrainer)
    monkeypatch.setattr(thread_waits, 'busy_process', nullcontext)
    monkeypatch.setattr(thread_waits.time, 'sleep', lambda _: None)
    thread_waits.run(Namespace(output=name and Path(name), rounds=1, number=1, spins=[0]))
    assert '1.00' in capsys.readouterr().out
    assert [path.name for path in tmp_path.rglob('*.json')] == ([] if name is None else ['waits.json'])


def test_the_title_of_a_tiny_training_has_the_number_of_its_faces(tmp_path, monkeypatch):
    faces = [tmp_path / f'{number}.png' for number in range(3)]
    titles = []
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(tiny_training, 'list_images', lambda *_: faces)
    monkeypatch.setattr(tiny_training, 'train_stage', lambda *_: None)
    monkeypatch.setattr(tiny_training, 'FaceRestorer', SimpleNamespace(from_pretrained=lambda *_, **__: None))
    monkeypatch.setattr(tiny_training, 'degrade_and_restore', lambda *_: SimpleNamespace(psnr=(1.0, 2.0), ssim=(0.1, 0.2)))
    monkeypatch.setattr(tiny_training, 'write_grid', lambda trials, path, title: titles.append(title))
    monkeypatch.setattr(tiny_training, 'draw_curves', lambda *_: {})
    folders = {name: tmp_path / name for name in ('ffhq', 'ffhq_labels', 'eg3d', 'output')}
    tiny_training.run(Namespace(**folders, iterations=(8, 8), work=tmp_path / 'work'))
    assert titles == ['tiny FREx, both stages, on 3 faces']
