"""Options that make a training step faster, against the plain step."""

import copy

import pytest
import torch
from tiny_model import assert_equal_steps, batch, build, gradients_of_a_step

from frex.errors import FRExError
from frex.models import acceleration
from frex.options import convert


@pytest.fixture(scope='module', params=[1, 16], ids=['without R1', 'with R1'])
def plain(request, tmp_path_factory):
    return request.param, gradients_of_a_step(tmp_path_factory.mktemp('plain'), request.param)


def test_a_step_in_channels_last_order_is_the_plain_step(plain, tmp_path):
    iteration, expected = plain
    assert_equal_steps(gradients_of_a_step(tmp_path, iteration, channels_last=True), expected)


def is_channels_last(tensor):
    return tensor.is_contiguous(memory_format=torch.channels_last) and not tensor.is_contiguous()


@pytest.mark.parametrize('channels_last', [False, True])
def test_images_and_weights_have_the_order_that_is_asked_for(tmp_path, channels_last):
    model = build(tmp_path, train={'channels_last': channels_last})
    model.feed_data(batch())
    weights = [
        model.net_g.encoder_2d.final[0].weight,
        model.critics[0].net.final_conv[0].weight,
        model.net_g.stylegan2.to_rgb1.modulated_conv.weight[0],
    ]
    assert {is_channels_last(tensor) for tensor in (model.lq, model.gt, *weights[:2])} == {channels_last}
    model.optimize_parameters(1)
    states = [state['exp_avg'] for state in model.stepper.optimizer.state.values()]
    assert any(map(is_channels_last, states)) == channels_last


@pytest.mark.parametrize('channels_last', [False, True])
def test_a_run_resumed_in_the_other_order_has_its_optimizers_state_in_that_order(tmp_path, channels_last):
    """A fused optimiser takes weights and its state element by element as they lie in memory."""
    first = build(tmp_path / 'first', train={'channels_last': channels_last})
    first.feed_data(batch())
    first.optimize_parameters(1)
    first.save(epoch=0, current_iter=1)
    saved = torch.load(f'{first.opt["path"]["training_states"]}/1.state', weights_only=True)
    model = build(tmp_path / 'second', train={'channels_last': not channels_last})
    model.resume_training(copy.deepcopy(saved))
    moved = 0
    for optimizer, state in zip(model.optimizers, saved['optimizers'], strict=True):
        for found, expected in zip(optimizer.state.items(), state['state'].values(), strict=True):
            parameter, values = found
            for name in ('exp_avg', 'exp_avg_sq'):
                assert values[name].stride() == parameter.stride()
                assert torch.equal(values[name], expected[name])
                moved += values[name].stride() != expected[name].stride()
    assert moved > 50


COMPILED_STEP = """
import torch
from tiny_model import assert_equal_steps, gradients_of_a_step

# The tiny form at half of its size.
SMALL = {
    'network_g': {'out_size': 32, 'eg3d': {'plane_size': 16}, 'encoder_3d': {'in_size': 32}},
    'network_d_dual': {'out_size': 32},
    'network_d_multi_scale': {'sizes': [8]},
}

compiled = set()
compile_for_real = torch.compile


def compile_eagerly(target, **options):
    compiled.add(type(target.__self__).__name__ if target.__name__ == '_call_impl' else target.__name__)
    return compile_for_real(target, **options, backend='aot_eager')


expected = gradients_of_a_step('plain', changes=SMALL)
torch.compile = compile_eagerly
assert_equal_steps(gradients_of_a_step('compiled', changes=SMALL, compile=True), expected)
counters = torch._dynamo.utils.counters
print(sorted(compiled), dict(counters['graph_break']), counters['stats']['unique_graphs'])
"""


@pytest.mark.slow
def test_a_compiled_step_is_the_plain_step(interpreter, tmp_path):
    """With the graphs and gradients that code would be generated from, and with R1, which must not be compiled."""
    # A process of its own: here all functions check the shapes of their arguments, which would be compiled with them.
    printed = interpreter.check_output(COMPILED_STEP, folder=tmp_path)
    networks = ['DualDiscriminator', 'MultiScaleDiscriminator', 'SuperResolution', 'SynthesisNetwork', 'TriPlaneDecoder']
    compiled, graphs = printed.splitlines()[-1].rsplit(' ', 1)
    assert compiled == f'{[*networks, "refine", "start", "upsample"]} {{}}'
    assert int(graphs) >= 8


def test_checkpoints_of_a_compiled_network_are_those_of_a_plain_one(tmp_path):
    plain, compiled = (build(tmp_path / name, train={'compile': name == 'compiled'}) for name in ('plain', 'compiled'))
    for mine, theirs in ((compiled.net_g, plain.net_g), *((a.net, b.net) for a, b in zip(compiled.critics, plain.critics, strict=True))):
        assert list(mine.state_dict()) == list(theirs.state_dict())


@pytest.fixture
def tf32_as_it_was():
    before = torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32
    yield before
    torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32 = before


@pytest.mark.parametrize('tf32', [True, False, None])
def test_tf32_is_decided_and_logged(tf32_as_it_was, tf32, monkeypatch, caplog):
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: True)
    with caplog.at_level('INFO', logger='basicsr'):
        monkeypatch.setattr(acceleration.get_root_logger(), 'propagate', True)
        acceleration.set_tf32(tf32)
    now = torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32
    assert now == (tf32_as_it_was if tf32 is None else (tf32, tf32))
    convolutions, products = ('in TF32' if lowered else 'in float32' for lowered in now)
    assert f'convolutions {convolutions}, matrix products {products}' in caplog.text


def test_an_old_torch_is_refused_for_compile(monkeypatch):
    from frex.options.train import TrainOptions

    monkeypatch.delattr(torch.compiler, 'set_stance')
    options = {'optim_g': {'type': 'Adam', 'lr': 1e-3}, 'scheduler': {}, 'total_iter': 1}
    assert convert(TrainOptions, options, 'train').compile is False
    with pytest.raises(FRExError, match=r'torch 2\.6'):
        convert(TrainOptions, options | {'compile': True}, 'train')
