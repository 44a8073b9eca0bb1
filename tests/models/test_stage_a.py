"""Stage A: Enc_3D alone, against the 3D prior's own image and latent codes (L_3D, Eqs. 10-13)."""

import pytest
import torch
from tiny import TINY_STAGE_A, faces, tiny_frex, tiny_network_options, trained
from tiny_model import batch, labelled_batch, trained_for_two_steps

from frex.models.batch import Batch
from frex.models.latents import LatentPool, draw_latents
from frex.models.objective import in_eg3d_crop
from frex_arch import EG3D, FREx3D
from frex_arch.camera import frontal_camera
from frex_arch.crop import mask_in_eg3d_crop, mask_in_ffhq_frame, mean_crop, warp_to_crop


@pytest.fixture(scope='module')
def model(tmp_path_factory):
    return trained_for_two_steps(tmp_path_factory.mktemp('stage_a'), path_of_options=TINY_STAGE_A)


def test_every_term_of_l_3d_is_logged(model):
    critic = {'l_g_latent', 'l_d_latent', 'l_d_latent_r1', 'real_score_latent', 'fake_score_latent'}
    assert set(model.log_dict) == {'l_g_pix_3d', 'l_g_camera', 'l_g_offset_norm'} | critic


def test_only_the_encoder_is_trained(model):
    moved = {name.split('.')[0] for name, value in model.net_g.state_dict().items() if not torch.equal(value, model.before[name])}
    assert moved == {'encoder_3d'}
    assert all(not torch.equal(value, model.before_critics[0][name]) for name, value in model.critics[0].net.state_dict().items())


def test_the_latent_critic_has_a_rate_of_its_own(model):
    assert model.critics[0].stepper.optimizer.param_groups[0]['lr'] == pytest.approx(5e-4 * 2 / 3)


def test_losses_are_those_of_their_formulas(model):
    with torch.no_grad():
        output = model.net_g.eval()(model.lq, model.crop)
        losses = model.generator_losses(output, labelled_batch(model))
        logits = model.critics[0].net(model.net_g.eg3d.w_avg + output.z_3d)
    model.net_g.train()
    inside = mask_in_eg3d_crop(model.crop, 64).expand(-1, 3, -1, -1) > 0
    error = (output.image_3d - warp_to_crop(model.gt, model.crop, 64)).square()
    torch.testing.assert_close(losses['l_g_pix_3d'], torch.where(inside, error, 0).mean())
    torch.testing.assert_close(losses['l_g_latent'], 0.1 * torch.log1p(torch.exp(-logits)).mean())
    torch.testing.assert_close(losses['l_g_offset_norm'], 2e-4 * output.offsets.norm(dim=2).sum(dim=1).mean())


def test_validation_compares_in_eg3ds_crop(model):
    model.feed_data(batch(size=1))
    model.test()
    visuals = model.get_current_visuals()
    torch.testing.assert_close(visuals['result'], (model.output.image_3d + 1) / 2)
    inside = mask_in_eg3d_crop(model.crop, 64).expand(-1, 3, -1, -1) > 0
    torch.testing.assert_close(visuals['gt'][inside], (warp_to_crop(model.gt, model.crop, 64)[inside] + 1) / 2)
    assert torch.equal(visuals['gt'][~inside], visuals['result'][~inside])


def test_nothing_is_compared_where_the_image_has_no_pixels():
    crop = mean_crop(faces())
    image = torch.zeros(2, 3, 64, 64)
    target = in_eg3d_crop(Batch(faces(), faces(seed=2), crop, None), image)
    mask = mask_in_eg3d_crop(crop, 64).expand(-1, 3, -1, -1) > 0
    assert torch.equal(target[~mask], image[~mask])
    assert torch.equal(target[mask], warp_to_crop(faces(seed=2), crop, 64)[mask])
    assert torch.equal(in_eg3d_crop(Batch(faces(), faces(seed=2), None, None), image), target)


def test_the_frames_are_each_others_inverse():
    crop = torch.tensor([[1.25, -0.25, 0.25], [0.5, 0.25, 0.25]])
    # x_e = 1.25 x_f - 0.25 lies in 0..1 for all of x_f from 0.2; y_e reaches from 0.25 on beyond 1.
    first = mask_in_eg3d_crop(crop, 8)[0, 0]
    assert first.tolist() == [[float(row >= 2)] * 8 for row in range(8)]
    # Twice as far away, the image is the middle of the crop.
    second = mask_in_eg3d_crop(crop, 8)[1, 0]
    assert second.tolist() == [[float(2 <= row < 6 and 2 <= column < 6) for column in range(8)] for row in range(8)]
    assert torch.equal(mask_in_ffhq_frame(crop[1:], 8), torch.ones(1, 1, 8, 8))


def test_frex_and_frex3d_image_the_same_head():
    whole = trained(tiny_frex())
    options = tiny_network_options()
    branch = FREx3D(**{key: options[key] for key in ('out_size', 'eg3d', 'encoder_3d')})
    branch.load_state_dict({name: value for name, value in whole.state_dict().items() if name.startswith(('eg3d.', 'encoder_3d.'))})
    with torch.no_grad():
        output, alone = whole.eval()(faces(), image_3d=True), branch.eval()(faces())
    for name in ('image_3d', 'camera', 'ws', 'z_3d', 'offsets'):
        assert torch.equal(getattr(output, name), getattr(alone, name)), name
    assert whole(faces()).image_3d is None


def test_real_latents_are_the_mapping_networks_from_near_the_front():
    torch.manual_seed(0)
    eg3d = EG3D(**tiny_network_options()['eg3d'], out_size=64).eval()
    drawn = draw_latents(eg3d, 64)
    assert drawn.shape == (64, 64)
    assert not drawn.requires_grad
    frontal = eg3d.mapping(torch.randn(64, 32), frontal_camera(64))[:, 0]
    torch.testing.assert_close(drawn.mean(), frontal.mean(), rtol=0, atol=0.1)
    torch.testing.assert_close(drawn.std(), frontal.std(), rtol=0.1, atol=0)


def test_the_pool_gives_back_older_codes_half_of_the_time():
    torch.manual_seed(0)
    pool = LatentPool(size=10)
    first = torch.arange(10.0)[:, None]
    assert torch.equal(pool.exchange(first), first)
    later = torch.arange(10.0, 1010.0)[:, None]
    given = pool.exchange(later)
    kept = (given == later).float().mean().item()
    assert 0.45 < kept < 0.55
    assert (given <= later).all()
    # Nothing is lost: what was not given back yet lies in the pool.
    assert sorted(torch.cat([given, torch.stack(pool.codes)]).flatten().tolist()) == list(range(1010))
