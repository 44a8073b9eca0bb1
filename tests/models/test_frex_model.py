"""The training step, through BasicSR's own builders."""

import copy
from argparse import Namespace
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny import faces
from tiny_model import batch, build, gradients, gradients_of_a_step, labelled_batch, trained_for_two_steps

from frex.errors import FRExError
from frex.models.critic import frozen
from frex_arch.camera import frontal_camera


@pytest.fixture(scope='module')
def model(tmp_path_factory):
    return trained_for_two_steps(tmp_path_factory.mktemp('run'))


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
        critic.stepper.optimizer.zero_grad()
    with frozen(model.critics):
        output = model.net_g(model.lq, model.crop)
        losses = model.generator_losses(output, labelled_batch(model))
        sum(losses.values()).backward()
    assert all(parameter.grad is None for critic in model.critics for parameter in critic.net.parameters())
    assert all(parameter.requires_grad for critic in model.critics for parameter in critic.net.parameters())


def test_generator_losses_are_those_of_their_formulas(model):
    with torch.no_grad():
        output = model.net_g(model.lq, model.crop)
        losses = model.generator_losses(output, labelled_batch(model))
        dual = model.critics[0].net(torch.cat([output.image, model.lq], dim=1))
        small, large = (critic(output.images_3d[level]) for critic, level in zip(model.critics[1].net.values(), (1, 2), strict=True))
    torch.testing.assert_close(losses['l_g_pix'], (output.image - model.gt).abs().mean())
    torch.testing.assert_close(losses['l_g_camera'], (output.camera - frontal_camera(2)).abs().mean())
    torch.testing.assert_close(losses['l_g_dual'], 0.01 * torch.log1p(torch.exp(-dual)).mean())
    adversarial = [torch.log1p(torch.exp(-logits)).mean() for logits in (small, large)]
    torch.testing.assert_close(losses['l_g_multi_scale'], 0.01 * (adversarial[0] + adversarial[1]))


SCALES = [8, 16, 32, 64]


@pytest.fixture(scope='module')
def multi_scale(tmp_path_factory):
    """A multi-scale critic of four sizes, its batch, and what the generator made of it, as leaves."""
    root = tmp_path_factory.mktemp('multi_scale')
    options = {'network_d_multi_scale': {'sizes': SCALES}, 'train': {'multi_scale_gan_opt': {'loss_weight': 0.1}}}
    model = build(root, **options)
    model.feed_data(batch(size=4))
    with torch.no_grad():
        output = model.net_g(model.lq, model.crop)
    images = tuple(image.requires_grad_() for image in output.images_3d)
    critic = next(critic for critic in model.critics if critic.name == 'multi_scale')
    return critic, labelled_batch(model), output._replace(images_3d=images)


def softplus(x):
    return torch.log1p(torch.exp(x))


def test_each_scale_weighs_as_much_as_a_critic_of_its_own_for_the_generator(multi_scale):
    """Eq. 18: 0.1 for each I_3D^i, whatever the number of scales."""
    critic, labelled, output = multi_scale
    gradients = torch.autograd.grad(critic.generator_loss(output, labelled), output.images_3d)
    assert len(gradients) == len(SCALES)
    for size, image, gradient in zip(SCALES, output.images_3d, gradients, strict=True):
        (expected,) = torch.autograd.grad(0.1 * softplus(-critic.net[str(size)](image)).mean(), image)
        torch.testing.assert_close(gradient, expected, rtol=1e-4, atol=1e-9)


@pytest.mark.parametrize(('iteration', 'r1_weight'), [(1, 0), (16, 10 / 2 * 16)])
def test_each_scale_is_trained_as_a_critic_of_its_own(multi_scale, iteration, r1_weight):
    """softplus(-D(real)) + softplus(D(fake)), every 16 steps with R1 of gamma 10, which is not divided by the number of scales."""
    critic, labelled, output = multi_scale
    expected = {}
    for size, fake in zip(SCALES, output.images_3d, strict=True):
        own = critic.net[str(size)]
        real = torch.nn.functional.avg_pool2d(labelled.gt, 64 // size).requires_grad_()
        (slope,) = torch.autograd.grad(own(real).sum(), real, create_graph=True)
        loss = softplus(-own(real)).mean() + softplus(own(fake.detach())).mean() + r1_weight * slope.square().sum(dim=(1, 2, 3)).mean()
        expected |= dict(zip(*gradients_of(loss, own, f'{size}.'), strict=True))
    critic.step([output], [labelled], iteration)
    for name, parameter in critic.net.named_parameters():
        torch.testing.assert_close(parameter.grad, expected[name], rtol=1e-3, atol=1e-5, msg=name)


def gradients_of(loss, net, prefix):
    names, parameters = zip(*net.named_parameters(), strict=True)
    return [prefix + name for name in names], torch.autograd.grad(loss, parameters)


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
        critic.step([model.output], [labelled_batch(model)], step)
    # Twice in eight steps, each with the gradient gamma / 2 x interval = 20.
    assert len(seen) == 2
    assert critic.probe.grad.item() == pytest.approx(2 * 20)


def test_rates_are_corrected_for_lazy_r1(tmp_path):
    model = build(tmp_path)
    assert model.stepper.optimizer.param_groups[0]['lr'] == 2e-3
    group = model.critics[0].stepper.optimizer.param_groups[0]
    assert group['lr'] == pytest.approx(2e-3 * 16 / 17)
    assert group['betas'] == pytest.approx((0, 0.99 ** (16 / 17)))


def test_the_3d_encoder_may_have_a_rate_of_its_own(tmp_path):
    groups = build(tmp_path, train={'encoder_3d_lr': 1e-4}).stepper.optimizer.param_groups
    assert [group['lr'] for group in groups] == [2e-3, 1e-4]
    model = build(tmp_path, train={'encoder_3d_lr': None})
    (group,) = model.stepper.optimizer.param_groups
    own = [parameter for parameter in model.net_g.encoder_3d.parameters() if parameter.requires_grad]
    assert [len(group['params']) for group in groups] == [len(group['params']) - len(own), len(own)]
    assert {parameter.shape for parameter in groups[1]['params']} == {parameter.shape for parameter in own}


def test_a_batch_in_parts_has_the_same_gradient(tmp_path):
    """The critics' deviation over a batch is one of parts then, so they are looked at without it: at one image a part."""
    losses_alone = [('network_d_dual', None), ('network_d_multi_scale', None)]
    (whole,), (parts,) = (gradients_of_a_step(tmp_path, size=4, changes=losses_alone, accumulate=count) for count in (1, 4))
    assert whole.keys() == parts.keys()
    for name, gradient in whole.items():
        torch.testing.assert_close(parts[name], gradient, rtol=1e-3, atol=1e-6, msg=name)


def test_critics_learn_from_every_part(tmp_path):
    _, *halves = gradients_of_a_step(tmp_path, size=4, accumulate=2)
    _, *whole = gradients_of_a_step(tmp_path, size=4, accumulate=1)
    for half, one in zip(halves, whole, strict=True):
        similarity = [torch.cosine_similarity(half[name].flatten(), one[name].flatten(), dim=0) for name in one]
        assert min(similarity) > 0.9


def test_clipping_keeps_the_direction_and_bounds_the_norm(tmp_path):
    free, clipped = (gradients_of_a_step(tmp_path, size=4, grad_clip=limit)[0] for limit in (None, 0.01))
    norm = torch.stack([gradient.norm() for gradient in free.values()]).norm()
    assert norm > 0.02
    for name, gradient in free.items():
        torch.testing.assert_close(clipped[name], gradient * 0.01 / norm, rtol=1e-3, atol=1e-9, msg=name)


@pytest.mark.slow
def test_bfloat16_comes_close_to_float32(tmp_path):
    full, half = (gradients_of_a_step(tmp_path, size=4, bf16=bf16)[0] for bf16 in (False, True))
    names = [name for name in full if full[name].norm() > 0]
    assert len(names) > 150
    similarity = torch.stack([torch.cosine_similarity(full[name].flatten(), half[name].float().flatten(), dim=0) for name in names])
    assert similarity.median() > 0.98
    assert not torch.equal(full[names[0]], half[names[0]])
    assert all(gradient.dtype == torch.float32 for gradient in half.values())


def test_frozen_layers_are_kept_as_autocast_would_make_them(tmp_path):
    """In bfloat16: the same losses as with layers in float32, of which autocast makes copies in every call."""
    look = {
        'identity_opt': {'type': 'IdentityLoss'},
        'structure_opt': {'type': 'StructureLoss'},
        'perceptual_opt': {'type': 'LPIPSLoss', 'net': 'alex'},
    }
    model = build(tmp_path, train={'bf16': True} | {key: loss | {'weights': None} for key, loss in look.items()})
    layers = [module for module in model.objective.modules() if isinstance(module, torch.nn.Conv2d | torch.nn.Linear)]
    assert len(layers) > 25
    assert {parameter.dtype for layer in layers for parameter in layer.parameters()} == {torch.bfloat16}
    norms = [module for module in model.objective.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    assert {norm.running_mean.dtype for norm in norms} == {torch.float32}
    model.feed_data(batch())

    @torch.no_grad()
    def losses():
        with torch.autocast('cpu', torch.bfloat16):
            # ArcFace takes a CPU minutes in bfloat16.
            return model.objective.losses['perceptual_opt'](faces(seed=3), model.gt)

    kept = losses()
    for layer in layers:
        layer.float()
    # The same bfloat16 numbers, so not one bit is another.
    torch.testing.assert_close(losses(), kept, rtol=0, atol=0)


def test_rendering_again_in_the_backward_pass_changes_nothing(tmp_path):
    def run(checkpoint):
        model = build(tmp_path, train={'checkpoint_renderer': checkpoint, 'frozen_parts': ['encoder_2d']})
        model.feed_data(batch())
        # With the depths' jitter drawn: it must be the same in both passes.
        torch.manual_seed(3)
        model.optimize_parameters(1)
        return gradients(model.net_g)

    kept, again = run(False), run(True)
    assert kept.keys() == again.keys()
    for name, gradient in kept.items():
        torch.testing.assert_close(again[name], gradient, rtol=1e-5, atol=1e-9, msg=name)


def test_frozen_parts_stay_bit_for_bit(tmp_path):
    model = build(tmp_path, train={'frozen_parts': ['encoder_3d', 'fusion.8']})
    before = copy.deepcopy(model.net_g.state_dict())
    model.feed_data(batch())
    for step in (1, 2):
        model.optimize_parameters(step)
    moved = {name for name, value in model.net_g.state_dict().items() if not torch.equal(value, before[name])}
    assert not [name for name in moved if name.startswith(('encoder_3d.', 'fusion.8.', 'eg3d.', 'stylegan2.'))]
    assert {name.split('.')[0] for name in moved} == {'encoder_2d', 'pyramid_3d', 'decoder_2d', 'fusion'}


def test_a_step_without_finite_losses_is_skipped_and_too_many_stop_the_run(tmp_path, caplog):
    model = build(tmp_path, train={'most_bad_steps': 3})
    model.feed_data(batch())
    model.optimize_parameters(1)
    before = copy.deepcopy([net.state_dict() for net in (model.net_g, model.net_g_ema, *(critic.net for critic in model.critics))])
    model.feed_data(batch())
    model.gt[0, 0, 0, 0] = float('nan')
    for step in (2, 3):
        model.optimize_parameters(step)
    after = [net.state_dict() for net in (model.net_g, model.net_g_ema, *(critic.net for critic in model.critics))]
    for old, new in zip(before, after, strict=True):
        assert [name for name, value in old.items() if not torch.equal(value, new[name])] == []
    assert 'iter 2: the losses of FREx are not finite; the step is skipped.' in caplog.text
    with pytest.raises(FRExError, match=r'iter 4: 3 consecutive steps without finite losses.*not_finite_iter4_rank0\.pth'):
        model.optimize_parameters(4)
    kept = torch.load(Path(model.opt['path']['experiments_root']) / 'not_finite_iter4_rank0.pth', weights_only=True)
    assert torch.equal(kept['batches'][0]['lq'], model.lq)


def test_a_finite_step_forgets_the_bad_ones(tmp_path):
    model = build(tmp_path, train={'most_bad_steps': 2})
    for step, bad in enumerate([True, False, True, False], 1):
        model.feed_data(batch())
        model.gt[0, 0, 0, 0] = float('nan') if bad else 0.0
        model.optimize_parameters(step)
    assert model.stepper.bad_steps == 0


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


def test_losses_reach_the_log_as_numbers_in_one_transfer(model, monkeypatch):
    transfers = []
    tolist = torch.Tensor.tolist
    monkeypatch.setattr(torch.Tensor, 'tolist', lambda tensor: transfers.append(1) or tolist(tensor))
    monkeypatch.setattr(torch.Tensor, 'item', lambda tensor: pytest.fail('a loss was fetched alone'))
    found = model.reduce_loss_dict({'a': torch.tensor(1.5), 'b': torch.tensor(-2.0, dtype=torch.bfloat16), 'c': torch.tensor(3.25)})
    assert found == {'a': 1.5, 'b': -2.0, 'c': 3.25}
    assert len(transfers) == 1


def test_a_missing_label_leaves_out_its_term_and_says_so_once(tmp_path, caplog):
    model = build(tmp_path, network_d_dual=None, network_d_multi_scale=None)
    model.feed_data(batch(labels=False))
    for step in (1, 2):
        model.optimize_parameters(step)
    assert set(model.log_dict) == {'l_g_pix', 'l_g_pyramid'}
    assert sum('camera_opt: the training data has no labels' in record.message for record in caplog.records) == 1


def test_terms_that_would_train_nothing_are_left_out(tmp_path, caplog, monkeypatch):
    """With Enc_3D frozen: the 3D prior's own image is not even rendered, and there is no critic of latent codes."""
    gan = {'type': 'GANLoss', 'gan_type': 'wgan_softplus', 'loss_weight': 0.1}
    prior = {'pixel_3d_opt': {'type': 'MSELoss'}, 'offset_norm_opt': {'type': 'OffsetNormLoss'}, 'latent_gan_opt': gan}
    changes = {'network_d_latent': {'type': 'LatentDiscriminator', 'w_dim': 64}, 'network_d_dual': None, 'network_d_multi_scale': None}
    model = build(tmp_path, train=prior | {'frozen_parts': ['encoder_3d']}, **changes)
    monkeypatch.setattr(model.net_g.eg3d, 'super_resolve', lambda *_: pytest.fail('the 3D prior made its own image'))
    model.feed_data(batch())
    model.optimize_parameters(1)
    assert set(model.log_dict) == {'l_g_pix', 'l_g_pyramid'}
    assert not model.critics
    assert 'which train.frozen_parts freezes: pixel_3d_opt, offset_norm_opt, camera_opt.' in caplog.text
    assert 'it would train nothing: network_d_latent.' in caplog.text


def test_losses_that_reach_no_trained_parameter_end_the_run(tmp_path):
    """The images of the decoder, the only ones compared here, do not depend on the fusion, all that is trained."""
    train = {'pixel_opt': None, 'frozen_parts': ['encoder_3d', 'encoder_2d', 'pyramid_3d', 'decoder_2d']}
    model = build(tmp_path, train=train, network_d_dual=None, network_d_multi_scale=None)
    model.feed_data(batch())
    with pytest.raises(FRExError, match='no loss depends on a parameter that is trained'):
        model.optimize_parameters(1)


def test_priors_are_trained_where_the_options_say_so(tmp_path):
    """All of both generators but their mapping networks, also where Enc_3D is frozen: then L_3D trains EG3D alone."""
    train = {'train_priors': True, 'frozen_parts': ['encoder_3d', 'decoder_2d'], 'pixel_3d_opt': {'type': 'L1Loss'}}
    model = build(tmp_path, train=train)
    before = copy.deepcopy(model.net_g.state_dict())
    model.feed_data(batch())
    for step in (1, 2):
        model.optimize_parameters(step)
    assert 'l_g_pix_3d' in model.log_dict
    moved = {name for name, value in model.net_g.state_dict().items() if not torch.equal(value, before[name])}
    untrained = ('encoder_3d.', 'decoder_2d.', 'eg3d.backbone.mapping.', 'stylegan2.style_mlp.')
    assert not [name for name in moved if name.startswith(untrained)]
    priors = [name for name, _ in model.net_g.named_parameters() if name.startswith(('eg3d.', 'stylegan2.'))]
    # A frozen, untrained Enc_3D makes codes of 0, which tell EG3D's affine layers nothing.
    still = [name for name in priors if name not in moved and not name.startswith(untrained)]
    assert not [name for name in still if not (name.startswith('eg3d.') and name.endswith(('affine.weight', 'noise_strength')))]
    averaged = model.net_g_ema.state_dict()
    assert all(not torch.equal(averaged[name], before[name]) for name in priors if name in moved)


def test_super_resolution_is_trained_only_with_a_term_of_it(tmp_path):
    model = build(tmp_path, train={'train_priors': True})
    trained = {name for name, parameter in model.net_g.named_parameters() if parameter.requires_grad}
    assert any(name.startswith('eg3d.backbone.synthesis.') for name in trained)
    assert not [name for name in trained if name.startswith('eg3d.superresolution.')]


def test_what_is_not_trained_is_the_same_memory_in_the_averaged_network(tmp_path):
    model = build(tmp_path, train={'frozen_parts': ['encoder_2d']})
    averaged, shared = dict(model.net_g_ema.named_parameters()), 0
    for name, parameter in model.net_g.named_parameters():
        assert (averaged[name].data_ptr() == parameter.data_ptr()) == (not parameter.requires_grad), name
        shared += name.startswith('encoder_2d.') and not parameter.requires_grad
    assert shared
    buffers = dict(model.net_g_ema.named_buffers())
    assert all(buffers[name].data_ptr() == buffer.data_ptr() for name, buffer in model.net_g.named_buffers() if buffer.numel())


def test_validation_sees_images_in_0_to_1(model):
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


def test_a_critic_starts_from_the_requested_weights_of_its_file(model, tmp_path):
    state = {name: torch.full_like(value, 0.5) for name, value in model.critics[0].net.state_dict().items()}
    torch.save({'params': model.critics[0].net.state_dict(), 'half': state}, tmp_path / 'critic.pth')
    other = build(tmp_path, path={'pretrain_network_d_dual': str(tmp_path / 'critic.pth'), 'param_key_d_dual': 'half'})
    for value in other.critics[0].net.state_dict().values():
        assert (value == 0.5).all()


def test_older_checkpoints_are_forgotten(tmp_path):
    model = build(tmp_path, logger={'keep_last': 2}, network_d_multi_scale=None)
    for step in (3, 20, 100, -1):
        model.save(epoch=0, current_iter=step)
    names = {path.name for folder in ('models', 'training_states') for path in Path(model.opt['path'][folder]).iterdir()}
    networks = {f'net_{net}_{step}.pth' for net in ('g', 'd_dual') for step in (20, 100, 'latest')}
    assert names == networks | {'20.state', '100.state'}


def test_the_best_network_is_kept(tmp_path, monkeypatch):
    model = build(tmp_path, val={'save_best': ['psnr'], 'grid_images': None})
    values = iter([20.0, 25.0, 22.0])
    monkeypatch.setattr('frex.models.validated_model.validate', lambda *_: {'psnr': next(values), 'ssim': 0.5})
    loader = Namespace(dataset=Namespace(opt={'name': 'faces'}))
    best = Path(model.opt['path']['models']) / 'net_g_best_psnr.pth'
    kept = []
    for step in (10, 20, 30):
        with torch.no_grad():
            model.net_g_ema.encoder_2d.to_ws.bias.fill_(step)
        model.validation(loader, step, None)
        kept.append(torch.load(best, weights_only=True)['params_ema']['encoder_2d.to_ws.bias'][0].item())
    assert kept == [10, 20, 20]
