"""Saved codes of heads, and `frex render`."""

import io

import av
import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from tiny import faces, tiny_frex, tiny_network_options, trained

from frex.cli.main import main
from frex.errors import FRExError
from frex.heads.codes import encode_head, head_of, load_head, trained_prior
from frex.heads.views import FILM_VIEWS, encode_film, render_views, turn_cameras
from frex.images import read_image
from frex.tensors import to_images
from frex.weights.network_file import save_checkpoint
from frex_arch.camera import frontal_camera, view_angles


@pytest.fixture(scope='module')
def net():
    net = trained(tiny_frex()).eval()
    with torch.no_grad():
        # Dense enough to be opaque.
        net.eg3d.decoder.net[2].bias[0] = 30.0
    return net


@pytest.fixture(scope='module')
def head(net):
    with torch.no_grad():
        return head_of(net(faces(1)))


@pytest.fixture(scope='module')
def codes(net, head, tmp_path_factory):
    path = tmp_path_factory.mktemp('codes') / 'face_00.safetensors'
    path.write_bytes(encode_head(head, net.eg3d))
    return path


def test_cameras_turn_from_the_persons_right_to_the_left():
    yaw, pitch, _ = view_angles(turn_cameras(5, 30))
    # They look at a point before the origin, so that the direction turns a little more than the position.
    np.testing.assert_allclose(np.degrees(yaw), [-32.1, -16.1, 0, 16.1, 32.1], atol=0.3)
    assert pitch.abs().max() < 1e-4
    # One view is that from the front.
    assert torch.equal(turn_cameras(1, 30), turn_cameras(3, 30)[1:2])


def test_views_are_those_of_eg3d(net, head):
    cameras = turn_cameras(3)
    with torch.no_grad():
        expected = to_images(net.eg3d(head.ws, cameras[2:]).image)[0]
    views = render_views(net.eg3d, head.ws, cameras)
    assert len(views) == 3
    assert np.array_equal(views[2], expected)


def test_codes_are_read_as_they_were_saved(net, head, codes):
    for loaded, saved in zip(load_head(codes, net.eg3d), head, strict=True):
        assert torch.equal(loaded, saved)


def test_codes_fit_the_network_in_half_precision_too(net, codes):
    halved = trained(tiny_frex())
    halved.load_state_dict({name: value.half() for name, value in net.state_dict().items()})
    load_head(codes, halved.eg3d)


def test_codes_of_another_network_are_refused(codes):
    with pytest.raises(FRExError, match='another network'):
        load_head(codes, tiny_frex().eg3d)


def test_a_file_without_codes_is_refused(net, tmp_path):
    save_file({'w': torch.zeros(3)}, tmp_path / 'x.safetensors')
    with pytest.raises(FRExError, match='not the codes of a head'):
        load_head(tmp_path / 'x.safetensors', net.eg3d)


def test_a_random_or_missing_prior_renders_nothing():
    with pytest.raises(FRExError, match='never trained'):
        trained_prior(tiny_frex())
    with pytest.raises(FRExError, match='no 3D prior'):
        trained_prior(tiny_frex(use_3d_prior=False))


def test_the_film_shows_the_views_there_and_back():
    views = [np.full((64, 64, 3), (40, 90, 30 * number), np.uint8) for number in range(5)]
    with av.open(io.BytesIO(encode_film(views))) as film:
        frames = [frame.to_ndarray(format='bgr24') for frame in film.decode(video=0)]
        assert film.streams.video[0].average_rate == 24
    assert len(frames) == 8
    for frame, number in zip(frames, (0, 1, 2, 3, 4, 3, 2, 1), strict=True):
        assert abs(frame.astype(int) - views[number]).mean() < 4


@pytest.fixture(scope='module')
def checkpoint(net, tmp_path_factory):
    path = tmp_path_factory.mktemp('checkpoint') / 'net_g.pth'
    save_checkpoint(path, {'params_ema': net.state_dict()}, {'network_g': {'type': 'FREx', **tiny_network_options()}})
    return path


def test_the_command_writes_views_film_and_meshes(net, head, codes, checkpoint, tmp_path, capsys):
    flags = ['--model_path', checkpoint, '-o', tmp_path, '--views', 3, '--most_yaw', 20, '--film', '--mesh', 'ply', 'glb', '--grid', 16]
    assert main(['render', *map(str, [codes, *flags])]) == 0
    assert capsys.readouterr().out.splitlines() == [str(tmp_path / f'face_00.{suffix}') for suffix in ('png', 'mp4', 'ply', 'glb')]
    views = render_views(net.eg3d, head.ws, turn_cameras(3, 20))
    assert np.array_equal(read_image(tmp_path / 'face_00.png'), np.hstack(views))
    with av.open(str(tmp_path / 'face_00.mp4')) as film:
        assert film.streams.video[0].frames == 2 * FILM_VIEWS - 2
    assert (tmp_path / 'face_00.ply').read_bytes().startswith(b'ply')
    assert (tmp_path / 'face_00.glb').read_bytes().startswith(b'glTF')


def test_two_heads_of_one_name_are_refused(codes, checkpoint, tmp_path, capsys):
    other = tmp_path / codes.name
    other.write_bytes(codes.read_bytes())
    assert main(['render', str(codes), str(other), '--model_path', str(checkpoint), '-o', str(tmp_path / 'out')]) == 1
    assert 'the same name' in capsys.readouterr().err
    assert not (tmp_path / 'out').exists()


def test_the_camera_of_a_head_is_the_one_that_was_found(head):
    assert head.camera.shape == frontal_camera().shape
    assert not torch.equal(head.camera, frontal_camera())
