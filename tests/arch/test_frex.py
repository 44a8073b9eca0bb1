"""What the paper says of the whole network, on its tiny form and once at full size."""

import copy

import pytest
import torch
from tiny import faces, tiny_frex, trained

from frex_arch import FREx
from frex_arch.camera import frontal_camera, look_at, mirror_camera, pack_camera, recrop_camera, unpack_camera
from frex_arch.cpu import attention as attention_forms
from frex_arch.cpu.weight_layout import prepare_for_inference
from frex_arch.crop import mean_crop, mirror_crop
from frex_arch.fusion import AdaptiveWeighting, ConcatFusion, CrossAttention


@pytest.fixture(scope='module')
def net():
    return trained(tiny_frex()).eval()


@pytest.fixture(scope='module')
def output(net):
    with torch.no_grad():
        return net(faces())


def test_starts_as_the_stylegan2_prior():
    net = tiny_frex().eval()
    with torch.no_grad():
        image = net(faces()).image
        prior = net.stylegan2(net.encoder_2d(faces())[2])
    assert torch.equal(image, prior)


@pytest.mark.parametrize('switches', [{'use_awb': False}, {'use_cross_attention': False}, {'use_3d_prior': False}])
def test_every_ablation_starts_as_the_prior_too(switches):
    net = tiny_frex(**switches).eval()
    with torch.no_grad():
        torch.testing.assert_close(net(faces()).image, net.stylegan2(net.encoder_2d(faces())[2]), rtol=0, atol=1e-5)


def test_starts_at_the_mean_face_and_the_frontal_camera():
    net = tiny_frex().eval()
    with torch.no_grad():
        output = net(faces())
    assert torch.equal(output.ws, net.eg3d.w_avg.expand_as(output.ws))
    rotation_position = output.camera[0, :16].reshape(4, 4)
    expected = torch.tensor([[1.0, 0, 0, 0], [0, -1, 0, 0], [0, 0, -1, 2.7], [0, 0, 0, 1]])
    torch.testing.assert_close(rotation_position, expected, rtol=0, atol=1e-6)


def test_latent_codes_are_base_code_plus_offsets_and_the_first_has_none(net, output):
    torch.testing.assert_close(output.ws, net.eg3d.w_avg + output.z_3d[:, None] + output.offsets)
    assert not output.offsets[:, 0].any()
    assert (output.offsets[:, 1:].abs().amax(dim=2) > 0).all()


def test_every_predicted_camera_is_valid(output):
    rotation = output.camera[:, :16].reshape(-1, 4, 4)[:, :3, :3]
    torch.testing.assert_close(rotation @ rotation.transpose(1, 2), torch.eye(3).expand_as(rotation), rtol=0, atol=1e-5)
    torch.testing.assert_close(torch.linalg.det(rotation), torch.ones(len(rotation)))
    torch.testing.assert_close(output.camera[:, [3, 7, 11]].norm(dim=1), torch.full([2], 2.7))
    expected = torch.tensor([4.2647, 0, 0.5, 0, 4.2647, 0.5, 0, 0, 1]).expand(2, 9)
    torch.testing.assert_close(output.camera[:, 16:], expected, rtol=0, atol=1e-4)


def test_shapes_follow_from_the_options(output):
    assert [tuple(image.shape) for image in output.images_3d] == [(2, 3, size, size) for size in (8, 16, 32, 64)]
    assert output.image.shape == (2, 3, 64, 64)
    assert output.feature_image.shape == (2, 8, 16, 16)
    assert output.mask.shape == output.depth.shape == (2, 1, 16, 16)


def plain(module):
    """Attributes of a module that are its own: not parameters, buffers, sub-modules or hooks."""
    return {name: value for name, value in vars(module).items() if not name.startswith('_')}


def test_same_input_gives_the_same_bytes_and_changes_nothing(net, output):
    before = copy.deepcopy(net.state_dict())
    attributes = {name: repr(sorted(plain(module).items())) for name, module in net.named_modules()}
    lq, crop = faces(), mean_crop(faces())
    lq_before, crop_before = lq.clone(), crop.clone()
    torch.manual_seed(123)
    with torch.no_grad():
        again = net(lq, crop)
    assert torch.equal(again.image, output.image)
    assert torch.equal(again.depth, output.depth)
    assert torch.equal(lq, lq_before)
    assert torch.equal(crop, crop_before)
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert {name: repr(sorted(plain(module).items())) for name, module in net.named_modules()} == attributes


def test_a_given_code_takes_the_place_of_the_predicted_one(net, output):
    with torch.no_grad():
        code = net.encode_3d(faces())
        same = net(faces(), code=code)
        other = net(faces(), code=code._replace(z_3d=code.z_3d.flip(0)))
    assert torch.equal(same.image, output.image)
    torch.testing.assert_close(other.ws, net.eg3d.w_avg + output.z_3d.flip(0)[:, None] + output.offsets)
    assert not torch.equal(other.image, output.image)


def test_batch_order_does_not_matter(net, output):
    with torch.no_grad():
        swapped = net(faces().flip(0))
    torch.testing.assert_close(swapped.image.flip(0), output.image, rtol=0, atol=1e-5)


def test_a_batch_is_its_samples(net, output):
    with torch.no_grad():
        single = net(faces()[:1])
    torch.testing.assert_close(single.image, output.image[:1], rtol=0, atol=1e-5)


def test_training_mode_draws_from_the_generator_alone(net):
    drawn = copy.deepcopy(net).train()
    # Noise counts once its strength is not zero, as in a trained prior.
    drawn.stylegan2.style_convs[0].weight.data.fill_(0.5)

    def image(seed):
        with torch.no_grad():
            return drawn(faces(), generator=torch.Generator().manual_seed(seed)).image

    assert torch.equal(image(1), image(1))
    assert not torch.equal(image(1), image(2))


@pytest.mark.parametrize('switches', [{}, {'use_3d_prior': False}, {'use_awb': False, 'use_cross_attention': False}, {'output': 'conv'}])
def test_every_trainable_parameter_gets_a_finite_gradient_and_no_frozen_one_does(switches):
    net = trained(tiny_frex(**switches)).train()
    output = net(faces())
    (output.image.square().mean() + sum(image.square().mean() for image in output.images_3d) + output.camera.square().mean()).backward()
    for name, parameter in net.named_parameters():
        frozen = name.startswith(('eg3d.', 'stylegan2.'))
        assert parameter.requires_grad is not frozen, name
        assert (parameter.grad is None) is frozen, name
        assert frozen or (torch.isfinite(parameter.grad).all() and parameter.grad.any()), name


def test_alpha_and_beta_depend_on_the_camera_and_the_3d_features():
    torch.manual_seed(0)
    weighting = AdaptiveWeighting(channels_2d=6, channels_3d=4)
    torch.nn.init.normal_(weighting.conv2.weight)
    features, embedding = torch.randn(1, 4, 8, 8), torch.randn(1, 225)
    alpha, beta = weighting.modulation(features, embedding)
    for other in (weighting.modulation(features, embedding + 0.1), weighting.modulation(features + 0.1, embedding)):
        assert not torch.allclose(other[0], alpha)
        assert not torch.allclose(other[1], beta)


def test_alpha_is_one_and_beta_zero_at_the_start():
    alpha, beta = AdaptiveWeighting(6, 4).modulation(torch.randn(2, 4, 8, 8), torch.randn(2, 225))
    assert torch.equal(alpha, torch.ones(2, 6, 8, 8))
    assert torch.equal(beta, torch.zeros(2, 6, 8, 8))


def test_cross_attention_answers_within_its_window_only():
    torch.manual_seed(0)
    attention = CrossAttention(channels_2d=8, channels_3d=4, global_size=8, heads=2)
    torch.nn.init.normal_(attention.to_output.weight)
    hidden, features = torch.randn(1, 8, 16, 16), torch.randn(1, 4, 16, 16)
    changed = features.clone()
    changed[:, :, :8, 8:] += 1
    difference = (attention(hidden, changed) - attention(hidden, features)).abs().amax(dim=1)[0]
    assert (difference[:8, 8:] > 0).all()
    assert not difference[:8, :8].any()
    assert not difference[8:].any()


@torch.no_grad()
def test_attention_takes_no_faces_at_all():
    nothing = torch.zeros(0, 2, 16, 4)
    assert attention_forms.small_window_attention(nothing, nothing, nothing).shape == nothing.shape


def test_cross_attention_equals_softmax_attention_written_out():
    torch.manual_seed(0)
    attention = CrossAttention(channels_2d=4, channels_3d=4, global_size=8, heads=1).double()
    torch.nn.init.normal_(attention.to_output.weight)
    hidden, features = torch.randn(2, 1, 4, 4, 4, dtype=torch.float64)
    tokens = attention.norm_query(hidden.flatten(2).transpose(1, 2))
    keys = attention.norm_key(features.flatten(2).transpose(1, 2))
    scores = attention.to_query(tokens) @ attention.to_key(keys).transpose(1, 2) / 2
    answer = attention.to_output(scores.softmax(dim=2) @ attention.to_value(keys))
    torch.testing.assert_close(attention(hidden, features), hidden + answer.transpose(1, 2).reshape(1, 4, 4, 4))


@pytest.mark.parametrize('sharpness', [1.0, 1e3])
def test_attention_a_row_of_windows_at_a_time_is_attention_all_at_once(sharpness):
    torch.manual_seed(0)
    attention = CrossAttention(channels_2d=8, channels_3d=4, global_size=8)
    torch.nn.init.normal_(attention.to_output.weight)
    attention.norm_query.weight.data *= sharpness
    hidden, features = torch.randn(2, 8, 32, 32), torch.randn(2, 4, 32, 32)
    expected = attention(hidden, features)
    with torch.no_grad():
        torch.testing.assert_close(attention(hidden, features), expected.detach(), atol=1e-5, rtol=0)
    assert expected.requires_grad


def test_many_windows_are_attended_to_in_chunks(monkeypatch):
    torch.manual_seed(0)
    attention = CrossAttention(channels_2d=8, channels_3d=4, global_size=8)
    torch.nn.init.normal_(attention.to_output.weight)
    hidden, features = torch.randn(2, 8, 32, 32), torch.randn(2, 4, 32, 32)
    expected = attention(hidden, features)
    seen, whole = [], attention_forms.F.scaled_dot_product_attention
    monkeypatch.setattr('frex_arch.fusion.MOST_WINDOWS', 12)
    monkeypatch.setattr(attention_forms.F, 'scaled_dot_product_attention', lambda *given: seen.append(len(given[0])) or whole(*given))
    torch.testing.assert_close(attention(hidden, features), expected)
    assert seen == [12, 12, 8]


def test_a_network_prepared_for_inference_keeps_its_numbers_and_gives_the_same_image():
    net, lq = trained(tiny_frex()).eval(), faces()[:1]
    before, state = net(lq).image.detach(), {key: value.clone() for key, value in net.state_dict().items()}
    prepare_for_inference(net, torch.device('cpu'))
    assert all(torch.equal(value, state[key]) for key, value in net.state_dict().items())
    assert net.fusion['64'].weighting.conv1.weight[0].is_contiguous(memory_format=torch.channels_last)
    assert net.stylegan2.style_convs[0].modulated_conv.weight[0].transpose(0, 1).is_contiguous(memory_format=torch.channels_last)
    with torch.no_grad():
        torch.testing.assert_close(net(lq).image, before, atol=1e-4, rtol=0)


def parts(net):
    return {name.split('.')[0] for name, _ in net.named_parameters()}


def test_each_switch_removes_exactly_its_part():
    whole = tiny_frex()
    assert {type(fusion.weighting) for fusion in whole.fusion.values()} == {AdaptiveWeighting}

    without_3d = tiny_frex(use_3d_prior=False)
    assert parts(whole) - parts(without_3d) == {'eg3d', 'pyramid_3d'}
    assert without_3d.state_dict().keys() < whole.state_dict().keys()
    assert without_3d.encoder_3d.num_ws == 0
    output = without_3d.eval()(faces())
    assert output.ws is output.feature_image is output.mask is output.depth is None
    assert output.camera.shape == (2, 25)

    without_awb = tiny_frex(use_awb=False)
    assert {type(fusion.weighting) for fusion in without_awb.fusion.values()} == {ConcatFusion}
    assert all(fusion.attention is not None for fusion in without_awb.fusion.values())

    without_attention = tiny_frex(use_cross_attention=False)
    assert without_attention.state_dict().keys() < whole.state_dict().keys()
    removed = whole.state_dict().keys() - without_attention.state_dict().keys()
    assert removed == {name for name in whole.state_dict() if name.startswith('fusion.') and '.attention.' in name}


def test_fusion_acts_at_its_sizes_only():
    net = trained(tiny_frex(fusion_sizes=[64])).eval()
    assert list(net.fusion) == ['64']
    with torch.no_grad():
        assert not torch.equal(net(faces()).image, net.stylegan2(net.encoder_2d(faces())[2]))
    with pytest.raises(ValueError, match='128'):
        tiny_frex(fusion_sizes=[64, 128])


def test_structure_reaches_the_image(net, output):
    turned = copy.deepcopy(net)
    turned.eg3d.backbone.synthesis.b4.const.data += 1
    with torch.no_grad():
        assert not torch.allclose(turned(faces()).image, output.image, atol=1e-4)


def test_where_the_3d_prior_was_not_trained_its_features_are_zero(net, output):
    outside = (output.mask == 0).expand_as(output.feature_image)
    # The mean crop leaves out 57 to 66 of 512 rows at the top: two of sixteen, by pixel centres.
    assert torch.equal(output.mask[0, 0, :, 8], torch.tensor([0.0] * 2 + [1.0] * 14))
    assert not output.feature_image[outside].any()
    assert (output.feature_image[~outside] != 0).all()


def test_mirroring_camera_and_crop_mirrors_the_rendering(net):
    torch.manual_seed(0)
    planes = torch.randn(1, 3, 8, 32, 32)
    # A head that is its own mirror image: x is the column of planes XY and XZ, and the row of plane ZX.
    symmetric = planes + torch.stack([planes[:, 0].flip(-1), planes[:, 1].flip(-1), planes[:, 2].flip(-2)], dim=1)
    intrinsics = unpack_camera(frontal_camera())[1]
    camera = pack_camera(look_at(torch.tensor([0.4]), torch.tensor([0.1])), intrinsics)
    crop = torch.tensor([[1.05, -0.08, -0.11]])
    seen = net.eg3d.render(symmetric, recrop_camera(camera, crop))
    mirror = net.eg3d.render(symmetric, recrop_camera(mirror_camera(camera), mirror_crop(crop)))
    torch.testing.assert_close(mirror.feature_image.flip(-1), seen.feature_image, rtol=0, atol=1e-4)
    torch.testing.assert_close(mirror.depth.flip(-1), seen.depth, rtol=0, atol=1e-4)
    assert not torch.allclose(mirror.feature_image, seen.feature_image, atol=1e-2)


def test_rendering_keeps_its_geometry_under_autocast(net):
    planes = torch.randn(1, 3, 8, 32, 32, generator=torch.Generator().manual_seed(0))
    exact = net.eg3d.render(planes, frontal_camera())
    with torch.autocast('cpu', torch.bfloat16):
        mixed = net.eg3d.render(planes, frontal_camera())
    assert torch.equal(mixed.feature_image, exact.feature_image)
    assert torch.equal(mixed.depth, exact.depth)


def test_rendering_in_another_crop_is_recropping_the_image(net):
    torch.manual_seed(0)
    planes = torch.randn(1, 3, 8, 32, 32)
    wide = copy.deepcopy(net.eg3d)
    wide.render_size = 32
    # s = 1/2, t = 1/4: the middle half of EG3D's image, at twice its resolution.
    part = net.eg3d.render(planes, recrop_camera(frontal_camera(), torch.tensor([[0.5, 0.25, 0.25]])))
    whole = wide.render(planes, frontal_camera())
    torch.testing.assert_close(part.feature_image, whole.feature_image[:, :, 8:24, 8:24], rtol=0, atol=1e-4)


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        ({'out_size': 100}, '100'),
        ({'encoder_3d': {'backbone': 'swin_v2_x'}}, 'swin_v2_x'),
        ({'encoder_narrow': 1e-3}, 'channels: none at 4 x 4; .*narrow$'),
        ({'stylegan2': {'num_style_feat': 0}}, 'num_style_feat 0 must'),
    ],
)
def test_a_wrong_option_is_named(changes, message):
    with pytest.raises(ValueError, match=message):
        tiny_frex(**changes)


@pytest.mark.slow
def test_full_size_forward():
    torch.manual_seed(0)
    net = FREx().eval()
    with torch.no_grad():
        output = net(faces(1, 512))
        prior = net.stylegan2(net.encoder_2d(faces(1, 512))[2])
    assert torch.equal(output.image, prior)
    assert torch.isfinite(output.image).all()
    assert output.ws.shape == (1, 14, 512)
    assert output.feature_image.shape == (1, 32, 128, 128)
    assert [image.shape[-1] for image in output.images_3d] == [8, 16, 32, 64, 128, 256, 512]


def test_without_structure_the_2d_prior_is_alone():
    net = trained(tiny_frex()).eval()
    lq = faces()
    with torch.no_grad():
        ws = net.encoder_2d(lq)[2]
        codes = ws.unbind(1)
        feature, image = net.stylegan2.start(codes, 'const', None)
        for size in net.stylegan2.sizes:
            feature, image = net.stylegan2.refine(
                size, net.stylegan2.upsample(size, feature, codes, 'const', None), image, codes, 'const', None
            )
        alone, whole = net(lq, structure=0.0).image, net(lq).image
    torch.testing.assert_close(alone, image)
    assert not torch.allclose(alone, whole, atol=1e-2)


def test_without_fidelity_the_skips_are_gone():
    net = trained(tiny_frex()).eval()
    lq = faces()
    with torch.no_grad():
        half, none, whole = (net(lq, fidelity=weight).images_3d[-1] for weight in (0.5, 0.0, 1.0))
        net.encoder_2d.register_forward_hook(lambda *call: (call[2][0], {size: 0 * skip for size, skip in call[2][1].items()}, call[2][2]))
        without = net(lq).images_3d[-1]
    torch.testing.assert_close(none, without)
    assert not torch.allclose(none, whole, atol=1e-2)
    assert (half - whole).norm() < (none - whole).norm()


def test_attention_can_be_left_out_where_it_costs_most():
    net = tiny_frex(attention_size=16)
    assert {int(size): fusion.attention is not None for size, fusion in net.fusion.items()} == {8: True, 16: True, 32: False, 64: False}
