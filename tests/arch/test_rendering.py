"""Volume rendering: answers worked out by hand."""

import math
from functools import partial

import pytest
import torch
import torch.nn.functional as F

from frex_arch import rendering
from frex_arch.camera import FFHQ_FOCAL, frontal_camera, unpack_camera
from frex_arch.crop import pixel_centres


def ramps(size: int = 8) -> torch.Tensor:
    """One plane whose two channels are its column and row coordinates, -0.5 to 0.5."""
    centres = pixel_centres(size, torch.zeros(1)) - 0.5
    return torch.stack([centres.expand(size, size), centres[:, None].expand(size, size)])


@pytest.mark.parametrize(('plane', 'read'), [(0, (0.1, 0.2)), (1, (0.1, 0.3)), (2, (0.3, 0.1))], ids=['xy', 'xz', 'zx'])
def test_planes_read_x_y_and_x_z_and_z_x(plane, read):
    planes = torch.zeros(1, 3, 2, 8, 8)
    planes[:, plane] = ramps()
    features = rendering.sample_planes(planes, torch.tensor([[[0.1, 0.2, 0.3]]]))
    expected = torch.zeros(1, 3, 1, 2)
    expected[:, plane] = torch.tensor(read)
    torch.testing.assert_close(features, expected)


def test_planes_are_zero_outside_their_cube():
    points = torch.tensor([[[0.6, 0.0, 0.0], [0.0, 0.6, 0.0], [0.0, 0.0, 0.6]]])
    features = rendering.sample_planes(torch.ones(1, 3, 1, 8, 8), points)[0, :, :, 0]
    # Each plane does not see the coordinate it leaves out.
    assert torch.equal(features, torch.tensor([[0.0, 0, 1], [0, 1, 0], [0, 1, 0]]))


def test_a_wider_cube_shrinks_the_points():
    torch.manual_seed(0)
    planes, points = torch.randn(2, 3, 4, 8, 8), torch.rand(2, 50, 3) - 0.5
    torch.testing.assert_close(rendering.sample_planes(planes, 2 * points, box_warp=2.0), rendering.sample_planes(planes, points))


def test_the_rays_of_the_frontal_camera_by_hand():
    origins, directions = rendering.pixel_rays(*unpack_camera(frontal_camera()), 2)
    # Pixel centres lie a quarter of the image beside its middle; rows go down, so that y falls.
    side = 0.25 / FFHQ_FOCAL
    expected = torch.tensor([[-side, side, -1], [side, side, -1], [-side, -side, -1], [side, -side, -1]])
    torch.testing.assert_close(directions[0], expected / math.sqrt(1 + 2 * side**2))
    torch.testing.assert_close(origins[0], torch.tensor([[0, 0, 2.7]]).expand(4, 3))


def test_a_ray_through_nothing_has_a_finite_gradient():
    weights = torch.zeros(1, 2, 3)
    weights[0, 1] = 0.2
    weights.requires_grad_()
    rendering.expected_depth(weights, depths := torch.tensor([[[1.0, 2, 3, 4]] * 2]), depths).sum().backward()
    assert torch.isfinite(weights.grad).all()


def test_a_ray_along_an_axis_meets_the_cube():
    origins = torch.tensor([[[0.0, 0.0, 2.7], [0.1, -0.2, 2.7], [0.6, 0.0, 2.7]]])
    depths = rendering.box_depths(origins, torch.tensor([0.0, -0.0, -1.0]).expand(1, 3, 3), 1.0)
    torch.testing.assert_close(torch.stack(depths, dim=2), torch.tensor([[[2.2, 3.2], [2.2, 3.2], [-1.0, -2.0]]]))


def test_a_ray_along_the_diagonal_meets_the_cubes_corners():
    origins, directions = torch.full((1, 1, 3), 2.0), torch.full((1, 1, 3), -1 / math.sqrt(3))
    depths = rendering.box_depths(origins, directions, 2.0)
    torch.testing.assert_close(torch.stack(depths), torch.tensor([math.sqrt(3), 3 * math.sqrt(3)])[:, None, None])


def test_a_ray_that_misses_spans_what_the_others_do():
    # Towards +z with a slight slope: through the cube, through it from farther away, and past it.
    directions = F.normalize(torch.tensor([[[1e-4, 1e-4, 1.0]]]), dim=2).expand(1, 3, 3)
    origins = torch.tensor([[[0.0, 0.0, -2.0], [0.0, 0.0, -3.0], [2.0, 0.0, -2.0]]])
    start, end = rendering.bounded_depths(origins, directions, 1.0)
    torch.testing.assert_close(start, torch.tensor([[1.5, 2.5, 1.5]]))
    torch.testing.assert_close(end, torch.tensor([[2.5, 3.5, 3.5]]))


def test_rays_that_all_miss_still_have_depths():
    directions = F.normalize(torch.tensor([[[0.1, 0.1, 1.0]]]), dim=2)
    start, end = rendering.bounded_depths(torch.full((1, 1, 3), 2.0), directions, 1.0)
    assert (start.item(), end.item()) == (0.0, 1.0)


def limits() -> tuple[torch.Tensor, torch.Tensor]:
    return torch.tensor([[2.0]]), torch.tensor([[4.0]])


def test_stratified_depths_by_hand():
    exact = partial(rendering.stratified_depths, *limits(), 5)
    torch.testing.assert_close(exact(jitter=0.0)[0, 0], torch.tensor([2.0, 2.5, 3.0, 3.5, 4.0]))
    torch.testing.assert_close(exact()[0, 0], torch.tensor([2.25, 2.75, 3.25, 3.75, 4.25]))
    # Evenly in 1 / depth, from 1/2 to 1/4.
    torch.testing.assert_close(1 / exact(jitter=0.0, disparity=True)[0, 0], torch.tensor([0.5, 0.4375, 0.375, 0.3125, 0.25]))


def test_jitter_keeps_each_depth_in_its_bin():
    draws = rendering.uniform((1, 1, 5), torch.zeros(1), torch.Generator().manual_seed(0))
    depths = rendering.stratified_depths(*limits(), 5, jitter=draws)
    torch.testing.assert_close(depths[0, 0], torch.tensor([2.0, 2.5, 3.0, 3.5, 4.0]) + 0.5 * draws[0, 0])
    assert ((draws >= 0) & (draws < 1)).all()


def test_three_samples_by_hand():
    # Raw densities of 1 on average: softplus(1 - 1) = ln 2. Over a length of 2 that lets pass exp(-2 ln 2) = 1/4,
    # over a length of 1 then 1/2 of it.
    densities, depths = torch.tensor([[[0.0, 2.0, 0.0]]]), torch.tensor([[[1.0, 3.0, 4.0]]])
    weights = rendering.compositing_weights(densities, depths)
    torch.testing.assert_close(weights, torch.tensor([[[3 / 4, 1 / 8]]]))
    # Intervals' middles are at 2 and 3.5.
    torch.testing.assert_close(rendering.expected_depth(weights, depths, depths), torch.tensor([[(0.75 * 2 + 0.125 * 3.5) / 0.875]]))
    # An interval's colour is the mean of its two samples', so that each sample counts half in each of its intervals.
    per_sample = rendering.sample_weights(weights)
    torch.testing.assert_close(per_sample, torch.tensor([[[3 / 8, 7 / 16, 1 / 16]]]))
    # Sum: 0.2 * 6/16 + 0.4 * 7/16 + 0.8 * 1/16 = 4.8/16 = 0.3; from 0..1 to -1..1.
    colours = torch.tensor([0.2, 0.4, 0.8])[None, None, :, None]
    total, opacity = rendering.ray_sum(colours, per_sample), weights.sum(dim=2, keepdim=True)
    torch.testing.assert_close(rendering.to_colours(total, opacity), torch.tensor([[[-0.4]]]))
    # One eighth passes, and white shows there: 0.3 + 0.125.
    torch.testing.assert_close(rendering.to_colours(total, opacity, white_background=True), torch.tensor([[[-0.15]]]))


def test_what_a_ray_collects_is_what_all_its_intervals_stop():
    torch.manual_seed(0)
    densities, depths = torch.randn(2, 5, 9).double(), (2 + torch.rand(2, 5, 9).double()).sort(dim=2).values
    stopped = F.softplus((densities[..., 1:] + densities[..., :-1]) / 2 - 1) * (depths[..., 1:] - depths[..., :-1])
    torch.testing.assert_close(rendering.compositing_weights(densities, depths).sum(dim=2), 1 - torch.exp(-stopped.sum(dim=2)))


def test_the_order_of_samples_in_a_sum_does_not_matter():
    torch.manual_seed(0)
    values, weights, order = torch.rand(1, 2, 6, 3), torch.rand(1, 2, 6), torch.randperm(6)
    torch.testing.assert_close(rendering.ray_sum(values[:, :, order], weights[:, :, order]), rendering.ray_sum(values, weights))


def test_an_empty_ray_is_as_far_as_the_farthest_sample():
    depths = torch.tensor([[[1.0, 2.0, 3.0], [2.0, 4.0, 5.0]]])
    weights = torch.tensor([[[0.0, 0.0], [0.5, 0.0]]])
    assert torch.equal(rendering.expected_depth(weights, depths, depths), torch.tensor([[5.0, 3.0]]))


def test_a_uniform_density_is_inverted_by_the_identity():
    u = torch.rand(3, 7, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    bins = torch.linspace(0, 1, 11, dtype=torch.float64).expand(3, 11)
    torch.testing.assert_close(rendering.inverse_cdf(bins, torch.ones(3, 10, dtype=torch.float64), u), u)


def test_an_inverse_cdf_by_hand():
    # Three quarters of the mass on 0..1, one quarter on 1..3.
    bins, weights = torch.tensor([[0.0, 1.0, 3.0]]), torch.tensor([[300.0, 100.0]])
    u = torch.tensor([[0.0, 0.375, 0.75, 0.875, 1.0]])
    torch.testing.assert_close(rendering.inverse_cdf(bins, weights, u), torch.tensor([[0.0, 0.5, 1.0, 2.0, 3.0]]))


def test_fine_samples_look_where_something_is():
    depths = torch.linspace(1, 2, 11).expand(1, 1, 11)
    weights = torch.zeros(1, 1, 10, requires_grad=True) + F.one_hot(torch.tensor(4), 10)
    fine = rendering.importance_depths(depths, weights, 100)[0, 0]
    # The weight lies between depths 1.4 and 1.5 and is blurred by one interval to each side.
    assert ((fine > 1.25) & (fine < 1.55)).float().mean() > 0.95
    assert (fine.diff() >= 0).all()
    # From the middle of the first interval to that of the last but one: EG3D has one edge more than it has use for.
    torch.testing.assert_close(fine[[0, -1]], torch.tensor([1.05, 1.85]))
    assert not fine.requires_grad


def test_fine_samples_follow_the_given_probabilities():
    # Equal weights: evenly from 1.05 to 1.85.
    depths, weights = torch.linspace(1, 2, 11).expand(1, 2, 11), torch.ones(1, 2, 10)
    u = torch.tensor([[[0.25, 0.0], [0.5, 0.75]]])
    expected = torch.tensor([[[1.25, 1.05], [1.45, 1.65]]])
    torch.testing.assert_close(rendering.importance_depths(depths, weights, 2, uniforms=u), expected)


def test_merged_depths_are_sorted_and_say_where_they_stood():
    merged, order = rendering.merge_depths(torch.tensor([[[1.0, 3.0, 5.0]]]), torch.tensor([[[4.0, 2.0]]]))
    assert torch.equal(merged, torch.tensor([[[1.0, 2, 3, 4, 5]]]))
    assert torch.equal(order, torch.tensor([[[0, 4, 1, 3, 2]]]))


def test_gradients_of_the_ray_march():
    torch.manual_seed(0)
    densities, depths = torch.randn(1, 2, 5, dtype=torch.float64, requires_grad=True), torch.linspace(1, 2, 5).double().expand(1, 2, 5)
    colours = torch.rand(1, 2, 5, 3, dtype=torch.float64, requires_grad=True)

    def march(densities, colours):
        weights = rendering.compositing_weights(densities, depths)
        return rendering.ray_sum(colours, rendering.sample_weights(weights)), rendering.expected_depth(weights, depths, depths)

    assert torch.autograd.gradcheck(march, [densities, colours], fast_mode=True)


def test_gradients_of_the_planes():
    torch.manual_seed(0)
    planes = torch.randn(1, 3, 2, 4, 4, dtype=torch.float64, requires_grad=True)
    points = (0.8 * torch.rand(1, 5, 3, dtype=torch.float64) - 0.4).requires_grad_()
    assert torch.autograd.gradcheck(rendering.sample_planes, [planes, points], fast_mode=True)
