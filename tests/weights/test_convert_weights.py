"""Networks written anew as safetensors, by `save_safetensors` and by `frex weights convert`."""

import os
from pathlib import Path

import numpy as np
import pytest
from official_files import assert_same, nvidia_state, stylegan2_network, write_mini_eg3d, write_pickle, write_pth, write_safetensors
from tiny import tiny_frex, trained
from watch import largest_file

from frex.cli.main import main
from frex.errors import FRExError
from frex.restore import FaceRestorer
from frex.weights.network_file import load_network, read_network, read_safetensors, read_state, save_safetensors
from frex_arch import ArcFace, StyleGAN2


def write_stylegan2(path):
    state = StyleGAN2(out_size=8, num_style_feat=8, num_mlp=2, narrow=1 / 64).state_dict()
    return write_pickle(path, stylegan2_network(nvidia_state(state)))


# Functions that write a file of each network, small.
NETWORKS = {
    'EG3D': lambda path: write_mini_eg3d(path, rendering={'white_back': True, 'ray_start': 'auto'}),
    'StyleGAN2': write_stylegan2,
    'ArcFace': lambda path: write_pth(path, ArcFace(layers=[1, 1, 1, 1]).state_dict()),
}


@pytest.mark.parametrize('kind', ['EG3D', 'StyleGAN2', 'ArcFace', 'FREx'])
def test_a_file_written_anew_makes_the_same_network_alone(tmp_path, checkpoint, kind):
    source = NETWORKS[kind](tmp_path / 'source') if kind in NETWORKS else checkpoint
    file = read_network(source)
    save_safetensors(tmp_path / 'anew.safetensors', file)
    again = read_network(tmp_path / 'anew.safetensors')
    assert (again.kind, again.arguments) == (kind, file.arguments)
    assert_same(again.state, file.state)
    assert_same(load_network(tmp_path / 'anew.safetensors').state_dict(), load_network(source).state_dict())
    assert sorted(path.name for path in tmp_path.glob('anew*')) == ['anew.safetensors']


def test_the_settings_of_rendering_outlive_being_written_anew(tmp_path):
    save_safetensors(tmp_path / 'anew.safetensors', read_network(NETWORKS['EG3D'](tmp_path / 'eg3d.pkl')))
    net = load_network(tmp_path / 'anew.safetensors')
    assert (net.render_size, net.depth_samples, net.depth_range, net.white_background) == (64, 12, None, True)


def test_faces_are_restored_from_a_safetensors_as_from_the_checkpoint(tmp_path, checkpoint):
    save_safetensors(tmp_path / 'frex.safetensors', read_network(checkpoint))
    image = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    expected = FaceRestorer.from_pretrained(checkpoint, 'cpu').restore_aligned(image)
    assert np.array_equal(FaceRestorer.from_pretrained(tmp_path / 'frex.safetensors', 'cpu').restore_aligned(image), expected)
    assert expected.std() > 0


def test_faces_are_not_restored_with_another_network(tmp_path):
    with pytest.raises(FRExError, match=r'arcface\.pth: not a FREx checkpoint but the weights of ArcFace'):
        FaceRestorer.from_pretrained(NETWORKS['ArcFace'](tmp_path / 'arcface.pth'), 'cpu')


def test_safetensors_without_a_network_is_told_by_its_weights(tmp_path):
    state = trained(tiny_frex()).state_dict()
    write_safetensors(tmp_path / 'frex.safetensors', state)
    assert_same(read_state(tmp_path / 'frex.safetensors'), state)
    assert read_safetensors(tmp_path / 'frex.safetensors')[0] == {}
    with pytest.raises(FRExError, match=r'frex\.safetensors: not a network that FREx knows \(it holds '):
        read_network(tmp_path / 'frex.safetensors')


# --- Writing anew, by the command


def files_below(folder):
    return sorted((str(path.relative_to(folder)), path.is_dir()) for path in folder.rglob('*'))


def test_a_converted_network_goes_into_a_folder_that_is_made(tmp_path, checkpoint, capsys):
    target = tmp_path / 'not/there yet/net.safetensors'
    assert main(['weights', 'convert', str(checkpoint), str(target)]) == 0
    assert capsys.readouterr() == (f'{target}: FREx of {checkpoint}\n', '')
    assert_same(read_network(target).state, read_network(checkpoint).state)
    assert [path.name for path in target.parent.iterdir()] == ['net.safetensors']


@pytest.mark.parametrize(
    'target',
    ['file/net.safetensors', 'file/below/net.safetensors', 'folder.safetensors', 'x' * 240 + '.safetensors', '/proc/net.safetensors'],
    ids=['below a file', 'far below a file', 'a folder', 'too long a name', 'a folder that takes no files'],
)
def test_a_target_that_cannot_be_written_is_one_line_and_nothing_is_left(tmp_path, checkpoint, capsys, target):
    (tmp_path / 'file').write_text('no folder')
    (tmp_path / 'folder.safetensors/kept').mkdir(parents=True)
    before = files_below(tmp_path)
    assert main(['weights', 'convert', '--overwrite', str(checkpoint), str(tmp_path / target)]) == 1
    output = capsys.readouterr()
    assert output.out == ''
    assert output.err.startswith(f'frex: error: {tmp_path / target}: cannot be written (')
    assert len(output.err.splitlines()) == 1
    assert files_below(tmp_path) == before
    assert (tmp_path / 'file').read_text() == 'no folder'


def test_on_a_full_disk_the_older_file_stays(tmp_path, checkpoint, capsys):
    target = tmp_path / 'net.safetensors'
    target.write_text('of before')
    with largest_file(4096):
        status = main(['weights', 'convert', '--overwrite', str(checkpoint), str(target)])
    assert status == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f'frex: error: {target}: cannot be written (')
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [('net.safetensors', 'of before')]


@pytest.mark.parametrize(
    'make', [Path.touch, lambda target: target.symlink_to('nowhere'), Path.mkdir], ids=['file', 'broken link', 'folder']
)
def test_what_is_there_is_not_replaced_unasked(tmp_path, checkpoint, capsys, make):
    target = tmp_path / 'net.safetensors'
    make(target)
    before = target.lstat()
    assert main(['weights', 'convert', str(checkpoint), str(target)]) == 1
    assert capsys.readouterr().err == f'frex: error: {target}: exists already; --overwrite replaces it\n'
    assert target.lstat() == before
    assert list(tmp_path.iterdir()) == [target]


@pytest.mark.parametrize(('umask', 'mode'), [(0o022, 0o644), (0o077, 0o600)])
def test_who_may_read_the_file_is_what_the_users_umask_says(tmp_path, checkpoint, umask, mode):
    before = os.umask(umask)
    try:
        assert main(['weights', 'convert', str(checkpoint), str(tmp_path / 'frex.safetensors')]) == 0
    finally:
        os.umask(before)
    assert (tmp_path / 'frex.safetensors').stat().st_mode & 0o777 == mode


def test_weights_of_a_compiled_module_are_named_as_such(tmp_path):
    state = {f'_orig_mod.{name}': value for name, value in ArcFace(layers=[1, 1, 1, 1]).state_dict().items()}
    with pytest.raises(FRExError, match=r'^.*arcface\.pth: the weights of a compiled module, whose names have _orig_mod\. in them'):
        read_network(write_pth(tmp_path / 'arcface.pth', state))
