"""The training step, through BasicSR's own builders."""

import copy
from argparse import Namespace
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny import TINY_OPTIONS, faces

from frex import pipeline
from frex.errors import FRExError
from frex.models.critic import frozen
from frex.options import complete, load_options, merge
from frex_arch.camera import frontal_camera


def build(root, **changes):
    """The model of the tiny option file, with `changes` to its sections, writing below `root`."""
    pipeline.register()
    args = Namespace(opt=str(TINY_OPTIONS), debug=False, auto_resume=False)
    opt = complete(merge(load_options(TINY_OPTIONS), changes), args, Path(root), True, 0)
    opt |= {'dist': False, 'rank': 0, 'world_size': 1}
    for folder in ('models', 'training_states'):
        Path(opt['path'][folder]).mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    return pipeline.basicsr.train.build_model(opt)


def batch(labels=True, size=2):
    data = {'lq': faces(size, seed=1), 'gt': faces(size, seed=2), 'crop': torch.tensor([[1.083, -0.043, -0.129]]).repeat(size, 1)}
    return data | ({'camera': frontal_camera(size), 'gt_path': ['a'] * size} if labels else {})


@pytest.fixture(scope='module')
def model(tmp_path_factory):
    """A model after two steps, the second with R1; `before` holds what it was."""
    model = build(tmp_path_factory.mktemp('run'), train={'net_d_reg_every': 2})
    model.before = copy.deepcopy(model.net_g.state_dict())
    model.before_critics = [copy.deepcopy(critic.net.state_dict()) for critic in model.critics]
    model.feed_data(batch())
    for step in (1, 2):
        model.optimize_parameters(step)
    return model


def test_every_configured_term_is_logged(model):
    critics = {f'{key}_{name}' for key in ('l_g', 'l_d', 'real_score', 'fake_score') for name in ('dual', 'multi_scale')}
    r1 = {'l_d_dual_r1', 'l_d_multi_scale_r1'}
    assert set(model.log_dict) == {'l_g_pix', 'l_g_pyramid', 'l_g_camera'} | critics | r1
    assert all(np.isfinite(value) for value in model.log_dict.values())
    assert model.log_dict['l_d_dual_r1'] > 0


def test_what_is_frozen_stays_bit_for_bit_and_the_rest_moves(model):
    for state in (model.net_g.state_dict(), model.net_g_ema.state_dict()):
        for name, value in state.items():
            prior = name.startswith(('eg3d.', 'stylegan2.'))
            assert torch.equal(value, model.before[name]) or not prior, name
    moved = {name.split('.')[0] for name, value in model.net_g.state_dict().items() if not torch.equal(value, model.before[name])}
    assert moved == {'encoder_3d', 'encoder_2d', 'pyramid_3d', 'decoder_2d', 'fusion'}


def test_critics_are_trained(model):
    for critic, before in zip(model.critics, model.before_critics, strict=True):
        assert all(not torch.equal(value, before[name]) for name, value in critic.net.state_dict().items() if name.endswith('weight'))


def test_the_generators_step_gives_critics_no_gradient(model):
    for critic in model.critics:
        critic.optimizer.zero_grad()
    with frozen(model.critics):
        output = model.net_g(model.lq, model.crop)
        losses = model.generator_losses(output, pipeline_batch(model))
        sum(losses.values()).backward()
    assert all(parameter.grad is None for critic in model.critics for parameter in critic.net.parameters())
    assert all(parameter.requires_grad for critic in model.critics for parameter in critic.net.parameters())


def pipeline_batch(model):
    from frex.models.batch import Batch

    return Batch(model.lq, model.gt, model.crop, model.camera)


def test_generator_losses_are_those_of_their_formulas(model):
    with torch.no_grad():
        output = model.net_g(model.lq, model.crop)
        losses = model.generator_losses(output, pipeline_batch(model))
        dual = model.critics[0].net(torch.cat([output.image, model.lq], dim=1))
        small, large = (critic(output.images_3d[level]) for critic, level in zip(model.critics[1].net.values(), (1, 2), strict=True))
    torch.testing.assert_close(losses['l_g_pix'], (output.image - model.gt).abs().mean())
    torch.testing.assert_close(losses['l_g_camera'], (output.camera - frontal_camera(2)).abs().mean())
    torch.testing.assert_close(losses['l_g_dual'], 0.01 * torch.log1p(torch.exp(-dual)).mean())
    torch.testing.assert_close(losses['l_g_multi_scale'], 0.01 * torch.log1p(torch.exp(-torch.cat([small, large], dim=1))).mean())


def test_lazy_r1_is_half_gamma_times_the_interval(tmp_path, monkeypatch):
    from frex.models import critic as critic_module

    model = build(tmp_path, train={'net_d_reg_every': 4, 'r1_reg_weight': 10})
    model.feed_data(batch())
    model.output = model.net_g(model.lq, model.crop)
    critic = model.critics[0]
    seen = []
    monkeypatch.setattr(critic_module, 'r1_penalty', lambda logits, real: seen.append(logits) or logits.sum() * 0 + critic.probe)
    critic.probe = torch.tensor(3.0, requires_grad=True)
    for step in range(1, 9):
        critic.step(model.output, pipeline_batch(model), step)
    # Twice in eight steps, each with the gradient gamma / 2 x interval = 20.
    assert len(seen) == 2
    assert critic.probe.grad.item() == pytest.approx(2 * 20)


def test_rates_are_corrected_for_lazy_r1(tmp_path):
    model = build(tmp_path)
    assert model.optimizer_g.param_groups[0]['lr'] == 2e-3
    group = model.critics[0].optimizer.param_groups[0]
    assert group['lr'] == pytest.approx(2e-3 * 16 / 17)
    assert group['betas'] == pytest.approx((0, 0.99 ** (16 / 17)))


def test_moving_average_is_an_average(tmp_path):
    model = build(tmp_path)
    with torch.no_grad():
        for parameter in model.net_g.parameters():
            parameter.add_(1.0)
    before = copy.deepcopy(model.net_g_ema.state_dict())
    model.model_ema(0.75)
    for name, value in model.net_g_ema.state_dict().items():
        trained = model.net_g.state_dict()[name]
        prior = name.startswith(('eg3d.', 'stylegan2.')) or not dict(model.net_g.named_parameters()).get(name, trained).requires_grad
        expected = trained if prior else 0.75 * before[name] + 0.25 * trained
        torch.testing.assert_close(value, expected, msg=name)


def test_a_missing_label_leaves_out_its_term_and_says_so_once(tmp_path, caplog):
    model = build(tmp_path, network_d_dual=None, network_d_multi_scale=None)
    model.feed_data(batch(labels=False))
    for step in (1, 2):
        model.optimize_parameters(step)
    assert set(model.log_dict) == {'l_g_pix', 'l_g_pyramid'}
    assert sum('camera_opt: the training data has no labels' in record.message for record in caplog.records) == 1


def test_validation_sees_pictures_in_0_to_1(model):
    model.feed_data(batch(size=1))
    model.test()
    visuals = model.get_current_visuals()
    torch.testing.assert_close(visuals['gt'], (batch(size=1)['gt'] + 1) / 2)
    torch.testing.assert_close(visuals['result'], (model.net_g_ema(model.lq, model.crop).image + 1) / 2)
    model.feed_data(batch())


def test_a_saved_network_can_be_loaded_back(model, tmp_path):
    model.save(epoch=0, current_iter=7)
    folder = Path(model.opt['path']['models'])
    assert sorted(path.name for path in folder.iterdir()) == ['net_d_dual_7.pth', 'net_d_multi_scale_7.pth', 'net_g_7.pth']
    other = build(tmp_path, path={'pretrain_network_g': str(folder / 'net_g_7.pth'), 'param_key_g': 'params_ema'})
    for name, value in other.net_g.state_dict().items():
        assert torch.equal(value, model.net_g_ema.state_dict()[name])


def test_one_kind_of_weights_never_stands_for_another(model, tmp_path):
    model.save(epoch=0, current_iter=8)
    critic = str(Path(model.opt['path']['models']) / 'net_d_dual_8.pth')
    with pytest.raises(FRExError, match='has no params_ema; it holds network_d_dual, params'):
        build(tmp_path, path={'pretrain_network_g': critic, 'param_key_g': 'params_ema'})
    with pytest.raises(FRExError, match=r'do not fit FREx: \d+ missing \(.*\d+ unexpected \(conv_body'):
        build(tmp_path, path={'pretrain_network_g': critic})
