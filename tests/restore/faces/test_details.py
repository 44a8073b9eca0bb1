"""Tests of the images of the 3D prior, and of the AWB's alpha maps."""

import numpy as np
import pytest
import torch
from tiny import faces, tiny_frex, trained

from frex.restore.faces.details import TURNTABLE, render_alpha_maps, render_structure, turntable
from frex.tensors import to_images
from frex_arch.camera import ffhq_intrinsics, look_at, pack_camera


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


def test_the_image_is_the_3d_priors(output, net):
    assert np.array_equal(render_structure(net, output)['image_3d'], to_images(output.image_3d)[0])


def test_the_turntable_turns_the_head_that_was_found(output, net):
    views = turntable(net, output.ws)
    assert views.shape == (len(TURNTABLE), 3, 64, 64)
    yaw = torch.tensor([TURNTABLE[2]], dtype=torch.float32)
    camera = pack_camera(look_at(yaw, torch.zeros(1)), ffhq_intrinsics()[None])
    with torch.no_grad():
        rendered = net.eg3d.render(net.eg3d.planes(output.ws), camera)
        expected = net.eg3d.super_resolve(rendered.feature_image, output.ws)
    torch.testing.assert_close(views[2:3], expected)
    strip = render_structure(net, output)['turntable']
    assert np.array_equal(strip[:, 128:192], to_images(expected)[0])


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
