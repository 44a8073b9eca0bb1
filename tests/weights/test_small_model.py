"""The small FREx that comes with the package: how it is made, found and used where no model is named."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny import faces

from frex.cli.main import main
from frex.cli.restore import main as inference
from frex.errors import FRExError
from frex.restore import FaceRestorer
from frex.weights import small_model as shipped
from frex.weights.network_file import NetworkFile, load_network, read_network, read_safetensors, save_safetensors

# Of outputs in [-1, 1]: the largest and the mean difference between a network and its half-precision file.
TOLERANCE, MEAN_TOLERANCE = 0.02, 0.002


# --- Made


@pytest.fixture(scope='module')
def converted(checkpoint, tmp_path_factory):
    path = tmp_path_factory.mktemp('converted') / 'frex-small.safetensors'
    assert main(['weights', 'convert', str(checkpoint), str(path), '--half']) == 0
    return path


def test_a_checkpoint_becomes_one_file_of_half_the_size_that_names_its_network(converted, checkpoint):
    original = read_network(checkpoint)
    metadata, state = read_safetensors(converted)
    assert json.loads(metadata['network']) == {'type': 'FREx', **original.arguments}
    assert state.keys() == original.state.keys()
    for name, value in state.items():
        expected = original.state[name].half() if original.state[name].is_floating_point() else original.state[name]
        assert torch.equal(value, expected)
        assert value.dtype == expected.dtype
    numbers = sum(value.numel() for value in original.state.values() if value.is_floating_point())
    assert 2 * numbers < converted.stat().st_size < 2 * numbers + 500_000


def test_a_half_precision_file_makes_a_network_of_float32_with_nearly_the_same_results(converted, checkpoint):
    full, half = load_network(checkpoint), load_network(converted)
    assert {parameter.dtype for parameter in half.parameters()} == {torch.float32}
    with torch.no_grad():
        difference = (full(faces()).image - half(faces()).image).abs()
    assert 0 < difference.max() < TOLERANCE
    assert difference.mean() < MEAN_TOLERANCE


def test_the_conversion_says_what_it_wrote(checkpoint, tmp_path, capsys):
    path = tmp_path / 'a.safetensors'
    assert main(['weights', 'convert', str(checkpoint), str(path), '--half']) == 0
    assert capsys.readouterr().out == f'{path}: FREx of {checkpoint}, in half precision, {path.stat().st_size:,} bytes\n'


def test_weights_that_are_too_large_for_half_precision_are_refused(tmp_path):
    network = NetworkFile('ArcFace', {}, {'fits': torch.tensor([65504.0]), 'large': torch.tensor([-1e6])})
    with pytest.raises(FRExError, match=r'large: weights up to 1e\+06 do not fit half precision; leave out --half'):
        save_safetensors(tmp_path / 'a.safetensors', network, half=True)
    assert list(tmp_path.iterdir()) == []


# --- Found


def test_what_the_package_ships_is_a_small_frex():
    if not shipped.PATH.is_file():
        pytest.skip('this checkout has no small FREx')
    assert shipped.PATH.stat().st_size <= 30_000_000
    restorer = FaceRestorer.from_pretrained(device='cpu')
    assert restorer.size in (64, 128, 256)
    assert restorer.restore_aligned(np.full((64, 64, 3), 128, np.uint8)).shape == (restorer.size, restorer.size, 3)


def test_without_a_path_the_shipped_model_is_read(small_model, face_folder):
    face = str(face_folder / 'face0.png')
    default = FaceRestorer.from_pretrained(device='cpu').restore_aligned(face)
    assert np.array_equal(default, FaceRestorer.from_pretrained(small_model, device='cpu').restore_aligned(face))


def test_the_list_shows_it(small_model, capsys):
    assert main(['weights', 'list', '--for', 'restore']) == 0
    lines = capsys.readouterr().out.splitlines()
    (place,) = (number for number, line in enumerate(lines) if line.startswith('frex-small '))
    assert lines[place].split()[1:4] == ['there', f'{small_model.stat().st_size:,}', 'restore']
    assert lines[place + 1].strip() == str(small_model)


def test_it_is_checked_by_its_name(small_model, capsys):
    assert main(['weights', 'check', 'frex-small']) == 0
    assert capsys.readouterr().out.startswith(f'frex-small: {small_model}: FREx with ')


def test_it_is_never_downloaded(capsys):
    assert main(['weights', 'download', 'frex-small', '--offline']) == 1
    assert capsys.readouterr().err == 'frex: error: frex-small comes with the package: it cannot be downloaded\n'


# --- Used


def test_a_run_that_names_no_model_uses_it_and_says_so(small_model, face_folder, tmp_path, capsys):
    arguments = ['-i', str(face_folder.with_name('two')), '--aligned', '--device', 'cpu']
    assert inference([*arguments, '-o', str(tmp_path / 'default')]) == 0
    assert capsys.readouterr().err.splitlines()[0] == (
        'No --model_path: using the small FREx that comes with the package (64 x 64 faces, for trying it out; not for identification).'
    )
    assert inference([*arguments, '-o', str(tmp_path / 'named'), '--model_path', str(small_model)]) == 0
    assert 'small FREx' not in capsys.readouterr().err
    one, other = (tmp_path / folder / 'restored_faces/face0_00.png' for folder in ('default', 'named'))
    assert one.read_bytes() == other.read_bytes()
    (run,) = json.loads((tmp_path / 'default/report.json').read_text())['runs'].values()
    assert Path(run['settings']['model_path']) == small_model


def test_its_name_is_taken_for_a_checkpoint_unless_a_file_has_it(small_model, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert shipped.find_model(None) == shipped.find_model('frex-small') == small_model
    (tmp_path / 'frex-small').touch()
    assert shipped.find_model('frex-small') == Path('frex-small')


@pytest.mark.usefixtures('no_small_model')
def test_where_it_is_missing_one_line_says_what_to_do(face_folder, tmp_path, capsys):
    assert inference(['-i', str(face_folder), '-o', str(tmp_path / 'out'), '--aligned', '--device', 'cpu']) == 1
    line = (
        'give a FREx checkpoint by --model_path, e.g. experiments/train_frex/models/net_g_latest.pth: '
        'the small FREx that comes with the package is not in this installation'
    )
    assert capsys.readouterr().err == f'inference_frex.py: error: {line}\n'
    assert not (tmp_path / 'out').exists()
    with pytest.raises(FRExError, match='give a FREx checkpoint by --model_path'):
        FaceRestorer.from_pretrained()
    assert main(['weights', 'check', 'frex-small']) == 1
    assert capsys.readouterr().err.startswith('give a FREx checkpoint by --model_path')
