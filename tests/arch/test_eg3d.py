"""The 3D prior against the official EG3D, and scenes whose image is known."""

import math
from collections.abc import Callable, Iterator
from functools import cache

import pytest
import torch
import torch.nn.functional as F
from golden import SAMPLE_COUNT, SAMPLE_STEP, Golden, load_official
from tiny import small_eg3d
from torch import Tensor

from frex_arch import rendering
from frex_arch.camera import ffhq_intrinsics, frontal_camera, look_at, pack_camera, unpack_camera
from frex_arch.cpu.weight_layout import prepare_for_inference
from frex_arch.eg3d import EG3D
from frex_arch.eg3d_backbone import MappingNetwork, SynthesisNetwork
from frex_arch.rendering import pixel_rays, sample_planes
from frex_arch.triplane_decoder import TriPlaneDecoder

TINY_BACKBONE = {'z_dim': 32, 'channel_base': 1024, 'channel_max': 32}
OPTIONS = {'eg3d_tiny': {**TINY_BACKBONE, 'depth_samples': 12, 'importance_samples': 12, 'render_size': 32}, 'eg3d_full': {}}
INPUTS = {'seed', 'c', 'z', 'w_plus', 'points'}
VIEWS = ('cam0', 'cam1', 'cam2', 'wplus_cam1')
UNRECORDED = {'wplus_cam1_image_raw', 'wplus_cam1_sr0_img'}

# Largest differences allowed where nothing is rendered.
LIMITS = {
    **dict.fromkeys(('ws', 'ws_psi0.7', 'ws_psi0.7_cutoff7', 'points_rgb'), 1e-5),
    **dict.fromkeys(('ray_origins', 'ray_directions'), 1e-6),
    **dict.fromkeys(('planes', 'planes_noise_none', 'points_features'), 1e-4),
    **{f'wplus_b{2**k}_{kind}': 5e-5 for k in range(2, 9) for kind in ('x', 'img')},
    'points_sigma': 4e-4,
}
RENDERED = ('feature_image', 'image_raw', 'image_depth', 'weights_sum')
ENLARGED = ('sr0_x', 'sr0_img', 'sr1_x', 'image')
# The same for a view, rendered and enlarged, and in the mean: tiny's planes are so unsmooth that a ray direction's last bit shows.
VIEW_LIMITS = {'eg3d_tiny': (2e-3, 5e-3, 1e-4), 'eg3d_full': (1e-3, 1e-3, 2e-5)}

# The views that are enlarged: super-resolution is one network in both files, and costs as much as all the rest.
ENLARGED_VIEWS = {'eg3d_tiny': ('cam0', 'wplus_cam1'), 'eg3d_full': ('cam0',)}


def of_views(name: str) -> list[str]:
    """Records of the views of a file that are compared."""
    kinds = {view: (*RENDERED, *(ENLARGED if view in ENLARGED_VIEWS[name] else ())) for view in VIEWS}
    return [f'{view}_{kind}' for view in VIEWS for kind in kinds[view] if f'{view}_{kind}' not in UNRECORDED]


def in_the_mean(name: str) -> list[str]:
    return [record for record in of_views(name) if record.endswith(('feature_image', *ENLARGED))]


def view_outputs(net: EG3D, view: str, planes: Tensor, ws: Tensor, camera: Tensor, enlarge: bool) -> Iterator[tuple[str, Tensor]]:
    rendered = net.render(planes, camera)
    values = (rendered.feature_image, rendered.feature_image[:, :3], rendered.depth, rendered.opacity)
    yield from zip((f'{view}_{kind}' for kind in RENDERED), values, strict=True)
    if enlarge:
        first, second = net.superresolution.blocks(rendered.feature_image, ws)
        yield from zip((f'{view}_{kind}' for kind in ENLARGED), (*first, *second), strict=True)


def outputs(net: EG3D, golden: Golden, enlarged_views: tuple[str, ...]) -> Iterator[tuple[str, Tensor]]:
    """What is compared, in the official layout."""
    camera, points, w_plus = golden['c'], golden['points'], golden['w_plus']
    ws = net.mapping(golden['z'], camera)
    yield 'ws', ws
    yield 'ws_psi0.7', net.mapping(golden['z'], camera, 0.7)
    yield 'ws_psi0.7_cutoff7', net.mapping(golden['z'], camera, 0.7, 7)
    yield from zip(('ray_origins', 'ray_directions'), pixel_rays(*unpack_camera(camera), net.render_size), strict=True)

    planes = net.planes(ws[: golden.arrays['planes@shape'][0]])
    yield 'planes', planes.flatten(1, 2)
    planes, ws = planes[:1], ws[:1]
    yield 'planes_noise_none', net.planes(ws, 'none').flatten(1, 2)
    yield 'points_features', sample_planes(planes, points)
    colours, densities = net.query(planes, points)
    yield 'points_rgb', colours
    yield 'points_sigma', densities[..., None]
    for i in range(3):
        yield from view_outputs(net, f'cam{i}', planes, ws, camera[i : i + 1], f'cam{i}' in enlarged_views)

    blocks = net.backbone.synthesis.blocks(w_plus)
    for k, (feature, image) in enumerate(blocks, start=2):
        yield f'wplus_b{2**k}_x', feature
        yield f'wplus_b{2**k}_img', image
    planes = blocks[-1][1].unflatten(1, (3, -1))
    yield from view_outputs(net, 'wplus_cam1', planes, w_plus, camera[1:2], 'wplus_cam1' in enlarged_views)


def depth_difference(golden: Golden, record: str, depth: Tensor) -> float:
    """Largest difference where the official opacity is above 0.01: elsewhere depth is a quotient of two roundings."""
    opacity = record.replace('image_depth', 'weights_sum')
    places = torch.arange(SAMPLE_COUNT) * SAMPLE_STEP % depth.numel()
    parts = {'': depth, '@sample': depth.flatten()[places], '@crop': depth[..., 32:96, 32:96]}
    recorded = [part for part in parts if record + part in golden.arrays]
    return max((parts[part] - golden[record + part])[golden[opacity + part] > 0.01].abs().amax().item() for part in recorded)


@cache
@torch.no_grad()
def compare(name: str) -> tuple[dict[str, tuple[float, float]], ...]:
    """Difference and limit of each record of one file, the largest and the mean."""
    golden, net = Golden(name), EG3D(**OPTIONS[name])
    load_official(net, golden.keys)
    rendered, enlarged, mean = VIEW_LIMITS[name]
    largest, means = {}, {}
    for record, value in outputs(net, golden, ENLARGED_VIEWS[name]):
        limit = LIMITS.get(record, enlarged if record.endswith(ENLARGED) else rendered)
        if record in in_the_mean(name):
            means[record] = golden.mean_difference(record, value), mean
        if record not in UNRECORDED:
            measure = depth_difference if record.endswith('image_depth') else Golden.difference
            largest[record] = measure(golden, record, value), limit
    heads = golden.arrays['planes@shape'][0]
    planes = prepare_for_inference(net, torch.device('cpu')).planes(net.mapping(golden['z'], golden['c'])[:heads])
    seen = net.render(planes[:1], golden['c'][:1]).feature_image
    restoring = {
        'planes': (golden.difference('planes', planes.flatten(1, 2)), LIMITS['planes']),
        'cam0_feature_image': (golden.difference('cam0_feature_image', seen), rendered),
    }
    return largest, means, restoring


@pytest.mark.parametrize('name', OPTIONS)
def test_no_official_output_is_forgotten(name):
    left_out = {f'{view}_{kind}' for view in VIEWS if view not in ENLARGED_VIEWS[name] for kind in ENLARGED}
    assert {*LIMITS, *of_views(name)} == {key.partition('@')[0] for key in Golden(name).arrays} - INPUTS - left_out


def each(records: Callable[[str], list[str]]) -> pytest.MarkDecorator:
    """Run a test for each of the `records` of each file."""
    return pytest.mark.parametrize(('name', 'record'), [(name, record) for name in OPTIONS for record in records(name)])


@each(lambda name: [*LIMITS, *of_views(name)])
def test_equals_the_official_eg3d(name, record):
    difference, limit = compare(name)[0][record]
    assert difference <= limit


@each(in_the_mean)
def test_equals_the_official_eg3d_in_the_mean(name, record):
    difference, limit = compare(name)[1][record]
    assert difference <= limit


@each(lambda name: ['planes', 'cam0_feature_image'])
def test_as_it_restores_equals_the_official_eg3d(name, record):
    difference, limit = compare(name)[2][record]
    assert difference <= limit


@pytest.fixture
def small():
    return small_eg3d()


def latent_codes(net: EG3D, batch: int = 1) -> Tensor:
    return torch.randn(batch, net.num_ws, net.w_dim, generator=torch.Generator().manual_seed(1))


def turned(yaw: float = 0.4, pitch: float = 0.1) -> Tensor:
    return pack_camera(look_at(torch.tensor([yaw]), torch.tensor([pitch])), ffhq_intrinsics()[None])


def test_the_same_input_gives_the_same_bytes(small):
    state = torch.get_rng_state()
    first, second = small(latent_codes(small), turned()), small(latent_codes(small), turned())
    assert all(torch.equal(x, y) for x, y in zip(first, second, strict=True))
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize('draws', [{'jitter': True}, {'noise': 'random'}])
def test_draws_come_from_the_generator_alone(small, draws):
    for block in small.backbone.synthesis.children():
        torch.nn.init.ones_(block.conv1.noise_strength)

    def image(seed):
        return small(latent_codes(small), turned(), generator=torch.Generator().manual_seed(seed), **draws).image

    state = torch.get_rng_state()
    assert torch.equal(image(1), image(1))
    assert not torch.equal(image(1), image(2))
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize(
    'options', [{'depth_range': None}, {'depth_range': None, 'disparity': True}, {'disparity': True}, {'box_warp': 2.0}]
)
@pytest.mark.parametrize('jitter', [False, True])
def test_every_way_to_bound_the_rays_gives_finite_values(options, jitter):
    net = small_eg3d(**options)
    output = net(latent_codes(net), turned(), generator=torch.Generator().manual_seed(0), jitter=jitter)
    assert all(torch.isfinite(value).all() for value in output)


def test_shapes_follow_from_the_options(small):
    output = small(latent_codes(small, 2), frontal_camera(2))
    assert small.num_ws == 2 * 3
    assert small.planes(latent_codes(small)).shape == (1, 3, 4, 16, 16)
    assert output.image.shape == (2, 3, 32, 32)
    assert output.feature_image.shape == (2, 4, 8, 8)
    assert output.depth.shape == (2, 1, 8, 8)
    assert torch.equal(output.image_raw, output.feature_image[:, :3])


def test_a_batch_is_its_samples(small):
    ws, cameras = latent_codes(small, 2), torch.cat([turned(), turned(-0.3)])
    together = small(ws, cameras)
    alone = [small(ws[i : i + 1], cameras[i : i + 1]) for i in range(2)]
    torch.testing.assert_close(together.image, torch.cat([output.image for output in alone]), rtol=0, atol=1e-5)
    torch.testing.assert_close(together.depth, torch.cat([output.depth for output in alone]), rtol=0, atol=1e-5)


def test_mixed_precision_stays_near(small):
    whole = small(latent_codes(small), turned())
    with torch.autocast('cpu', dtype=torch.bfloat16):
        mixed = small(latent_codes(small), turned())
    assert mixed.image.dtype == torch.bfloat16
    for exact, rounded in zip(whole, mixed, strict=True):
        torch.testing.assert_close(rounded.float(), exact, rtol=0, atol=0.05)


def test_another_size_is_named():
    with pytest.raises(ValueError, match='100'):
        small_eg3d(out_size=100)


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        ({'plane_channels': 0}, 'plane_channels 0 must be a whole number of at least 1'),
        ({'channel_base': 1}, 'channel_base 1 must be a whole number of at least 16'),
        ({'channel_max': 0}, 'channel_max 0 must'),
        ({'z_dim': 0}, 'z_dim 0 must'),
        ({'feature_channels': 2}, 'feature_channels 2 must be a whole number of at least 3'),
        ({'superresolution_channels': (4, 0)}, 'superresolution_channels 0 must'),
    ],
)
def test_channels_that_a_network_cannot_have_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        small_eg3d(**options)


@pytest.mark.parametrize(('near', 'samples'), [(0, 48), (0.01, 48), (1.65, 2)])
def test_a_near_limit_that_would_put_disparity_samples_behind_the_camera_is_refused(near, samples):
    limits = {'depth_range': (near, 3.3), 'depth_samples': samples}
    with pytest.raises(ValueError, match=rf'depth_range \[{near}, 3\.3\]: with disparity and {samples} samples it must begin above '):
        small_eg3d(disparity=True, **limits)
    small_eg3d(**limits)


def test_all_disparity_samples_rise_above_the_least_near_limit():
    net = small_eg3d(disparity=True, depth_range=(3.31 / 48, 3.3), depth_samples=48)
    limits = torch.full((2, 1, 1), 1.0) * torch.tensor(net.depth_range)[:, None, None]
    for jitter in (0.0, 0.5, 0.999):
        assert (rendering.stratified_depths(*limits, 48, jitter=jitter, disparity=True).diff() > 0).all()


def test_super_resolution_uses_the_last_latent_code_alone(small):
    feature_image, ws = torch.randn(1, 4, 8, 8), latent_codes(small)
    image = small.super_resolve(feature_image, ws)
    others, last = ws.clone(), ws.clone()
    others[:, :-1] += 1
    last[:, -1] += 1
    assert torch.equal(small.super_resolve(feature_image, others), image)
    assert not torch.allclose(small.super_resolve(feature_image, last), image)


def test_a_feature_image_of_another_size_is_resized_with_antialiasing(small):
    feature_image, ws = torch.randn(1, 4, 16, 16), latent_codes(small)
    resized = F.interpolate(feature_image, size=(8, 8), mode='bilinear', align_corners=False, antialias=True)
    assert torch.equal(small.super_resolve(feature_image, ws), small.super_resolve(resized, ws))


def test_each_block_takes_the_next_ones_first_latent_code_for_its_colours():
    torch.manual_seed(0)
    network = SynthesisNetwork(w_dim=8, size=16, image_channels=3, channel_base=64, channel_max=8)
    ws = torch.randn(1, 6, 8, requires_grad=True)

    def used(output):
        (gradient,) = torch.autograd.grad(output.square().sum(), ws, retain_graph=True)
        return gradient[0].abs().amax(dim=1).nonzero().flatten().tolist()

    assert network.num_ws == 6
    blocks = network.blocks(ws)
    # One convolution at 4 x 4, two at 8 x 8 and at 16 x 16.
    assert [used(feature) for feature, _ in blocks] == [[0], [0, 1, 2], [0, 1, 2, 3, 4]]
    assert [used(image) for _, image in blocks] == [[0, 1], [0, 1, 2, 3], [0, 1, 2, 3, 4, 5]]


def test_gradients_reach_latent_codes_and_camera_of_a_frozen_network(small):
    ws, camera = latent_codes(small).requires_grad_(), turned().requires_grad_()
    small(ws, camera).image.square().mean().backward()
    assert torch.isfinite(ws.grad).all()
    assert torch.isfinite(camera.grad).all()
    assert (ws.grad.abs().amax(dim=2) > 0).all()
    # The last row of the pose is 0, 0, 0, 1 for every camera.
    assert (camera.grad[0, :12] != 0).all()
    assert all(parameter.grad is None for parameter in small.parameters())


def test_full_truncation_leaves_the_mean_code(small):
    small.w_avg.copy_(torch.arange(16.0))
    z = torch.randn(2, 8)
    ws = small.mapping(z, frontal_camera(2), truncation_psi=0.0, truncation_cutoff=4)
    torch.testing.assert_close(ws[:, :4], torch.arange(16.0).expand(2, 4, 16))
    torch.testing.assert_close(ws[:, 4:], small.mapping(z, frontal_camera(2))[:, 4:])


def test_a_mapping_conditioned_on_the_camera_asks_for_one():
    with pytest.raises(ValueError, match='camera'):
        MappingNetwork(8, 25, 16, num_ws=6)(torch.randn(2, 8))


def test_the_decoder_by_hand():
    decoder = TriPlaneDecoder(channels=2, feature_channels=1, hidden=1)
    state = {
        'net.0.weight': torch.tensor([[math.sqrt(2), 0.0]]),
        'net.0.bias': torch.tensor([-1.0]),
        'net.2.weight': torch.tensor([[2.0], [1.0]]),
        'net.2.bias': torch.tensor([0.5, -math.log(2)]),
    }
    decoder.load_state_dict(state)
    # softplus(1 - 1) = ln 2. Density 2 ln 2 + 0.5, colour sigmoid(0) = 1/2, of a range that will be widen_sigmoid to 1.002.
    colours, densities = decoder(torch.tensor([[[1.0, 5.0]]]))
    torch.testing.assert_close(colours, torch.tensor([[[0.5]]]))
    torch.testing.assert_close(rendering.widen_sigmoid(colours), torch.tensor([[[0.5 * 1.002 - 0.001]]]))
    torch.testing.assert_close(densities, torch.tensor([[2 * math.log(2) + 0.5]]))


class Scene(torch.nn.Module):
    """A decoder of planes that hold the points themselves, whose colours tell where they are: x, y, z of -1/2..1/2 give 0..1."""

    def __init__(self, density: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.density = density

    def forward(self, points: Tensor) -> tuple[Tensor, Tensor]:
        points = points.sum(dim=1) if points.ndim == 4 else points
        return (points + 0.5 + 0.001) / 1.002, self.density(points)


def scene(density: Callable[[Tensor], Tensor], **options) -> EG3D:
    """A network that renders `density` of points in a cube wide enough for all samples."""
    net = small_eg3d(render_size=16, depth_samples=48, importance_samples=48, box_warp=4.0, **options)
    net.decoder = Scene(density)
    return net


def planes_of_points(size: int = 32, side: float = 4.0) -> Tensor:
    """Planes whose mean is the point itself: the first tells x and y, the second z."""
    along = 3 * side * ((torch.arange(size) + 0.5) / size - 0.5)
    planes = torch.zeros(1, 3, 3, size, size)
    planes[0, 0, 0], planes[0, 0, 1], planes[0, 1, 2] = along[None], along[:, None], along[:, None]
    return planes


def solid(inside: Tensor) -> Tensor:
    """Raw densities: opaque within half a step inside, nothing outside."""
    return torch.where(inside, 3000.0, -1000.0)


# A depth is known to a step of the coarse samples.
STEP = (3.3 - 2.25) / 47
POINTS = planes_of_points()


@pytest.mark.parametrize('camera', [frontal_camera(), turned(), turned(-1.0, -0.3)], ids=['front', 'left', 'far right and above'])
def test_a_ball_looks_like_a_ball(camera):
    radius = 0.25
    rendered = scene(lambda points: solid(points.norm(dim=2) < radius)).render(POINTS, camera)
    origins, directions = pixel_rays(*unpack_camera(camera), 16)
    # A ray comes nearest to the ball's middle at depth -o.d, at a distance whose square is o.o - (o.d)^2.
    nearest = -(origins * directions).sum(dim=2)
    chord = radius**2 - (origins.square().sum(dim=2) - nearest**2)
    missed, hit = chord < 0, chord > STEP**2
    depth, opacity, colours = (image.flatten(2)[0] for image in (rendered.depth, rendered.opacity, rendered.feature_image))
    assert missed.sum() > 100
    assert hit.sum() > 50

    assert not opacity[:, missed[0]].any()
    assert (colours[:, missed[0]] == -1).all()
    assert (opacity[:, hit[0]] > 0.999).all()
    surface_depth = nearest[hit] - chord[hit].sqrt()
    torch.testing.assert_close(depth[0, hit[0]], surface_depth, rtol=0, atol=STEP)
    # Colours 0..1 become -1..1, twice the position.
    surface = origins[hit] + surface_depth[:, None] * directions[hit]
    torch.testing.assert_close(colours[:, hit[0]].T, 2 * surface, rtol=0, atol=2 * STEP)


@pytest.mark.parametrize('raw_density', [-2.0, 1.0, 3.0])
def test_a_fog_that_fills_everything_lets_light_pass_exponentially(raw_density):
    rendered = scene(lambda points: torch.full_like(points[..., 0], raw_density)).render(POINTS, frontal_camera())
    density = math.log1p(math.exp(raw_density - 1))
    # From the first sample, half a step beyond 2.25, over the whole length of 1.05.
    passing = math.exp(-1.05 * density)
    torch.testing.assert_close(rendered.opacity, torch.full((1, 1, 16, 16), 1 - passing))
    # Mean of t under density exp(-density t), 0 < t < 1.05.
    mean = 1 / density - 1.05 * passing / (1 - passing)
    torch.testing.assert_close(rendered.depth, torch.full((1, 1, 16, 16), 2.25 + STEP / 2 + mean), rtol=0, atol=1e-3)


@pytest.mark.parametrize(('white_background', 'colour'), [(False, -1.0), (True, 1.0)])
def test_an_empty_scene_is_black_unless_white_is_asked_for(white_background, colour):
    empty = scene(lambda points: solid(torch.zeros_like(points[..., 0], dtype=torch.bool)), white_background=white_background)
    rendered = empty.render(POINTS, frontal_camera())
    assert torch.equal(rendered.feature_image, torch.full((1, 3, 16, 16), colour))
    # As far as the last sample, half a step beyond the range.
    torch.testing.assert_close(rendered.depth, torch.full((1, 1, 16, 16), 3.3 + STEP / 2))


def test_the_nearer_of_two_walls_hides_the_other():
    walls = scene(lambda points: solid(((points[..., 2] - 0.2).abs() < 0.05) | ((points[..., 2] + 0.2).abs() < 0.05)))
    front = walls.render(POINTS, frontal_camera())
    behind = walls.render(POINTS, turned(math.pi, 0.0))
    # The near wall's face is at z = +-0.25, and shows the colour of its place.
    torch.testing.assert_close(front.feature_image[:, 2], torch.full((1, 16, 16), 0.5), rtol=0, atol=2 * STEP)
    torch.testing.assert_close(behind.feature_image[:, 2], torch.full((1, 16, 16), -0.5), rtol=0, atol=2 * STEP)
    # Image right is +x from the front and -x from behind; down is -y from both.
    assert (front.feature_image[:, 0].diff(dim=2) > 0).all()
    assert (behind.feature_image[:, 0].diff(dim=2) < 0).all()
    assert (front.feature_image[:, 1].diff(dim=1) < 0).all()
    assert (behind.feature_image[:, 1].diff(dim=1) < 0).all()
