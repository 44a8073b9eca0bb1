"""The fast form of rendering on a CPU gives what the plain one gives."""

import pytest
import torch
from tiny import small_eg3d

from frex_arch import rendering
from frex_arch.camera import frontal_camera
from frex_arch.cpu.plane_table import PlaneTable
from frex_arch.triplane_decoder import TriPlaneDecoder


@pytest.mark.parametrize('box_warp', [1.0, 1.6])
def test_a_table_of_folded_planes_holds_the_mean_of_all_inside_at_the_edges_and_outside(box_warp):
    generator = torch.Generator().manual_seed(0)
    planes = torch.randn(3, 5, 8, 8, generator=generator)
    points = (torch.rand(1, 4000, 3, generator=generator) - 0.5) * 2 * box_warp
    edges = torch.cartesian_prod(*[torch.tensor([-0.5, -0.4375, 0.0, 0.4375, 0.5, 0.5626]) * box_warp] * 3)[None]
    points = torch.cat([points, edges, torch.full((1, 1, 3), 1e9)], dim=1)
    expected = rendering.sample_planes(planes[None], points, box_warp).mean(dim=1)
    folded = rendering.merge_planes(planes[None])
    torch.testing.assert_close(rendering.sample_planes(folded, points, box_warp).sum(dim=1), expected, atol=2e-6, rtol=0)
    torch.testing.assert_close(PlaneTable(folded[0], box_warp).look_up(points), expected, atol=2e-6, rtol=0)


def test_a_table_finds_the_texels_of_the_largest_planes():
    # Values are float32, which holds whole numbers up to 2^24.
    plane = torch.arange(2 * 1024**2, dtype=torch.float64).view(2, 1, 1024, 1024)
    points = torch.tensor([[[511.5, 511.5, 511.5], [510.5, 511.5, 511.5], [-511.5, 511.5, -511.5]]]) / 1024
    expected = [[2**20 - 1 + 2**21 - 1], [2**20 - 2 + 2**21 - 2], [2**20 - 1024 + 2**20]]
    assert PlaneTable(plane.float(), 1.0).look_up(points)[0].tolist() == expected


@pytest.mark.parametrize('largest', [1.0, 30.0, 1e3, float('nan')])
def test_the_decoder_decodes_the_same_without_gradient(largest):
    torch.manual_seed(0)
    decoder, features = TriPlaneDecoder(5, 3), torch.randn(2, 40, 5)
    features[0, 0] *= largest
    expected = decoder(features)
    with torch.no_grad():
        torch.testing.assert_close(decoder(features), expected, atol=1e-5, rtol=1e-6, equal_nan=True)


@torch.no_grad()
def test_the_decoder_stays_within_the_range_of_half_precision():
    torch.manual_seed(0)
    decoder, features = TriPlaneDecoder(32, 32), torch.randn(2, 500, 32) * 5
    expected, densities = decoder(features)
    with torch.autocast('cpu', torch.float16):
        found = decoder(features)
    torch.testing.assert_close(found[0].float(), expected, atol=1e-2, rtol=0)
    torch.testing.assert_close(found[1].float(), densities, atol=1e-2, rtol=1e-2)


def plainly_decoded(decoder, sampled):
    decoded = decoder.net(sampled.sum(dim=1))
    return decoded[..., 1:].sigmoid(), decoded[..., 0]


@pytest.mark.parametrize('is_trained', [False, True])
def test_the_decoder_has_the_gradients_of_its_layers(is_trained):
    torch.manual_seed(0)
    decoder = TriPlaneDecoder(5, 3).double().requires_grad_(is_trained)
    sampled = torch.randn(2, 2, 40, 5, dtype=torch.float64, requires_grad=True)
    # The slope of softplus is 1 beyond 20.
    with torch.no_grad():
        sampled[0, 0, 0] *= 100
    inputs = [sampled, *decoder.parameters()] if is_trained else [sampled]
    upstream = torch.randn(2, 40, 3, dtype=torch.float64), torch.randn(2, 40, dtype=torch.float64)
    found, expected = decoder(sampled), plainly_decoded(decoder, sampled)
    torch.testing.assert_close(found, expected)
    gradients = [torch.autograd.grad(outputs, inputs, upstream) for outputs in (found, expected)]
    for mine, theirs in zip(*gradients, strict=True):
        torch.testing.assert_close(mine, theirs)


@torch.no_grad()
@pytest.mark.filterwarnings('ignore:.*torch.jit.trace')
def test_a_traced_decoder_decodes_whatever_it_is_given():
    torch.manual_seed(0)
    decoder, features = TriPlaneDecoder(5, 3), torch.randn(2, 40, 5)
    traced = torch.jit.trace(decoder, features)
    torch.testing.assert_close(traced(features * 1e4), decoder(features * 1e4), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize('grad', [False, True])
def test_points_are_looked_up_in_planes_of_any_shape(grad):
    net, planes = small_eg3d().eval(), torch.ones(1, 3, 4, 5, 7)
    with torch.set_grad_enabled(grad):
        features, densities = net.query(planes, torch.zeros(1, 2, 3))
    expected, expected_densities = net.decoder(torch.ones(1, 2, 4))
    torch.testing.assert_close(features, rendering.widen_sigmoid(expected))
    torch.testing.assert_close(densities, expected_densities)


def test_a_table_has_the_dtype_of_its_planes():
    planes, points = torch.rand(2, 5, 8, 8), torch.rand(1, 9, 3)
    expected = PlaneTable(planes, 1.0).look_up(points)
    torch.set_default_dtype(torch.float64)
    try:
        assert torch.equal(PlaneTable(planes, 1.0).look_up(points), expected)
    finally:
        torch.set_default_dtype(torch.float32)


def heads(**options):
    net = small_eg3d(render_size=32, **options).eval()
    cameras = frontal_camera(2)
    cameras[1, 3] += 0.3
    torch.manual_seed(1)
    return net, net.planes(net.mapping(torch.randn(2, net.z_dim), cameras)).detach(), cameras


@pytest.mark.parametrize('options', [{}, {'depth_range': None, 'box_warp': 1.6}, {'white_background': True}, {'disparity': True}])
@pytest.mark.parametrize('jitter', [False, True])
def test_rays_marched_in_chunks_see_what_all_at_once_see(options, jitter):
    net, planes, cameras = heads(**options)
    plain = net.render(planes.requires_grad_(), cameras, torch.Generator().manual_seed(3), jitter)
    with torch.no_grad():
        in_chunks = net.render(planes, cameras, torch.Generator().manual_seed(3), jitter)
    for one, other in zip(in_chunks, plain, strict=True):
        torch.testing.assert_close(one, other.detach(), atol=1e-4, rtol=0)
    assert plain.feature_image.grad_fn is not None
    assert in_chunks.feature_image.std() > 1e-3


def test_a_camera_that_is_no_number_gives_no_image():
    net, planes, cameras = heads()
    cameras[1, 0] = float('nan')
    with torch.no_grad():
        seen = net.render(planes, cameras).feature_image
    assert seen[0].isfinite().all()
    assert seen[1].isnan().any()


@pytest.mark.parametrize('grad', [False, True])
def test_a_mask_hides_what_is_outside_and_changes_nothing_inside(grad):
    net, planes, cameras = heads()
    mask = torch.zeros(2, 1, 32, 32)
    mask[0, :, 5:20, 3:30], mask[1, :, :, :16] = 1, 1
    with torch.set_grad_enabled(grad):
        seen, whole = net.render(planes.requires_grad_(grad), cameras, mask=mask), net.render(planes, cameras)
    assert seen.feature_image.requires_grad == grad
    inside = mask.bool().expand_as(seen.feature_image)
    torch.testing.assert_close(seen.feature_image[inside], whole.feature_image[inside], atol=1e-5, rtol=0)
    torch.testing.assert_close(seen.depth[mask > 0], whole.depth[mask > 0], atol=1e-5, rtol=0)
    assert not seen.feature_image[~inside].any()
    assert not seen.opacity[mask == 0].any()
    # Half a step beyond the far end of the range.
    farthest = 3.3 + (3.3 - 2.25) / (net.depth_samples - 1) / 2
    torch.testing.assert_close(seen.depth[mask == 0], torch.full((int((mask == 0).sum()),), farthest))


def test_a_mask_may_hide_everything():
    net, planes, cameras = heads()
    with torch.no_grad():
        seen = net.render(planes, cameras, mask=torch.zeros(2, 1, 32, 32))
    assert not seen.feature_image.any()
    assert not seen.opacity.any()
