"""Tests of the images of the 3D prior, and of the AWB's alpha maps."""

import numpy as np
import pytest
import torch
from tiny import faces, tiny_frex, trained

from frex.heads.views import render_views, turn_cameras
from frex.restore.faces.details import render_alpha_maps, render_structure
from frex.tensors import to_images


@pytest.fixture(scope='module')
def net():
    return trained(tiny_frex()).eval()


@pytest.fixture(scope='module')
def output(net):
    with torch.no_grad():
        return net(faces(1), image_3d=True, alphas=True)


def test_the_depth_is_dark_where_it_is_near(output, net):
    depth = render_structure(net, output)['depth']
    assert depth.shape == (64, 64, 3)
    seen = output.depth.masked_fill(output.mask == 0, float('nan')).numpy()[0, 0]
    near, far = (np.unravel_index(index, seen.shape) for index in (np.nanargmin(seen), np.nanargmax(seen)))
    cell = 64 // output.depth.shape[-1]
    assert (depth[cell * near[0], cell * near[1]] == 0).all()
    assert (depth[cell * far[0], cell * far[1]] == 255).all()
    # The depth is white outside of EG3D's crop.
    assert 0 < (output.mask == 0).sum() < output.mask.numel()
    assert (depth[::cell, ::cell][(output.mask[0, 0] == 0).numpy()] == 255).all()


def test_the_depth_is_white_where_nothing_is_in_eg3ds_crop(output, net):
    nothing = output._replace(mask=torch.zeros_like(output.mask), depth=torch.ones_like(output.depth))
    assert (render_structure(net, nothing)['depth'] == 255).all()


def test_the_image_is_the_3d_priors(output, net):
    assert np.array_equal(render_structure(net, output)['image_3d'], to_images(output.image_3d)[0])


def test_the_turntable_shows_the_head_that_was_found_from_nine_sides(output, net):
    views = render_views(net.eg3d, output.ws, turn_cameras(9))
    assert np.array_equal(render_structure(net, output)['turntable'], np.hstack(views))


def test_the_map_is_grey_where_alpha_is_one():
    net = tiny_frex().eval()
    with torch.no_grad():
        strip = render_alpha_maps(net, net(faces(1), alphas=True))['weights_map']
    assert strip.shape == (64, 4 * 64, 3)
    assert (strip == 128).all()


def test_without_its_part_there_is_no_image():
    for switch in ('use_3d_prior', 'use_awb'):
        net = tiny_frex(**{switch: False}).eval()
        with torch.no_grad():
            output = net(faces(1), image_3d=True, alphas=True)
        assert (render_structure(net, output) == {}) == (switch == 'use_3d_prior')
        assert (render_alpha_maps(net, output) == {}) == (switch == 'use_awb')
