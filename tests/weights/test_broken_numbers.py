"""Weights that are NaN or infinite are named, and files that are too large for weights are refused without being read."""

import os
import struct
from dataclasses import replace

import pytest
import torch
from tiny import tiny_frex, tiny_network_options

from frex.cli.main import main
from frex.errors import FRExError
from frex.utils.files import sha256
from frex.weights import commands, locate
from frex.weights.manifest import manifest
from frex.weights.network_file import load_network, save_checkpoint
from frex.weights.state_dict import is_finite, load_strict
from frex.weights.torch_file import LEGACY_START

GIB = 1 << 30
FIRST, SECOND = 'encoder_2d.to_ws.bias', 'encoder_2d.to_ws.weight'


def broken_state(value=float('nan')):
    state = tiny_frex(seed=1).state_dict()
    state[FIRST][1] = value
    state[SECOND][0, 0] = -float('inf')
    return state


@pytest.fixture
def broken(tmp_path):
    """A checkpoint with numbers that are not finite in two of its tensors, and a path to convert it to."""
    save_checkpoint(tmp_path / 'net.pth', {'params_ema': broken_state()}, {'network_g': {'type': 'FREx', **tiny_network_options()}})
    return tmp_path / 'net.pth', tmp_path / 'net.safetensors'


def test_no_command_takes_them(broken, capsys):
    path, target = broken
    for command in (['weights', 'check', path], ['weights', 'convert', path, target], ['restore', '--model_path', path, '-i', path]):
        assert main(list(map(str, command))) == 1
        error = capsys.readouterr().err
        number = len(tiny_frex().state_dict())
        assert f'net.pth: 2 of {number} tensors hold numbers that are NaN or infinite, the first: encoder_2d.to_ws.' in error
    assert not target.exists()
    with pytest.raises(FRExError, match='NaN or infinite'):
        load_network(path)


@pytest.mark.parametrize('value', [float('nan'), float('inf'), -float('inf')])
def test_nothing_of_them_is_loaded(value):
    net = tiny_frex()
    with pytest.raises(FRExError, match=r'^here: 2 of \d+ tensors hold numbers that are NaN or infinite'):
        load_strict(net, broken_state(value), 'here')
    assert all(map(is_finite, net.state_dict().values()))


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_numbers_of_each_precision_are_looked_at(dtype):
    assert is_finite(torch.tensor([-1.0, 65504.0], dtype=dtype))
    assert not is_finite(torch.tensor([1.0, float('nan'), 2.0], dtype=dtype))
    assert not is_finite(torch.tensor([float('inf')], dtype=dtype))


def test_whole_numbers_and_empty_tensors_are_finite():
    others = [torch.tensor([2**62]), torch.tensor([True]), torch.zeros(0), torch.zeros(0, dtype=torch.int8)]
    assert all(map(is_finite, others))


# --- Sparse files, which have their size without taking room


def make_sparse(path, size, start=b''):
    path.write_bytes(start)
    os.truncate(path, size)
    return path


@pytest.fixture
def unread(monkeypatch):
    """Let hashing fail."""

    def fail(path):
        raise AssertionError(f'{path} is hashed')

    for module in (commands, locate):
        monkeypatch.setattr(module, 'sha256', fail)


@pytest.mark.parametrize('start', [b'', b'PK\x03\x04', LEGACY_START, b'\x80\x02}.', struct.pack('<q', 16) + b'{"a":{}}        '])
def test_a_file_of_16_gib_is_refused_at_once(tmp_path, start, unread, capsys):
    path = make_sparse(tmp_path / 'net.pth', 16 * GIB, start)
    assert main(['weights', 'check', str(path)]) == 1
    assert f'{path}: not a file of weights, or a damaged one (17,179,869,184 bytes, more than the ' in capsys.readouterr().err


@pytest.mark.parametrize('known', [True, False], ids=['known size', 'unknown size'])
def test_one_with_the_name_of_a_known_file_is_damaged(tmp_path, known, unread, capsys):
    file = next(file for file in manifest().values() if (file.size is not None) == known)
    make_sparse(tmp_path / file.file, 16 * GIB)
    assert main(['weights', 'check', file.key, '--weights', str(tmp_path)]) == 1
    assert '17,179,869,184 bytes instead of ' in capsys.readouterr().err


def test_a_file_that_may_be_known_is_hashed_and_named(tmp_path, monkeypatch):
    path = make_sparse(tmp_path / 'detector', 20)
    assert commands.find_key(path) is None
    entry = next(file for file in manifest().values() if file.size is None and file.sha256)
    monkeypatch.setattr(commands, 'manifest', lambda: {entry.key: replace(entry, sha256=[sha256(path)])})
    assert commands.find_key(path) == entry.key
    assert entry.may_have_size(2 * GIB)
    assert not entry.may_have_size(2 * GIB + 1)


@pytest.mark.parametrize('dtype', [torch.int64, torch.bool, torch.complex64])
def test_numbers_of_another_kind_are_no_weights(dtype):
    state = tiny_frex(seed=1).state_dict()
    state[FIRST] = state[FIRST].to(dtype)
    with pytest.raises(FRExError, match=r'1 of another kind of number \(encoder_2d.to_ws'):
        load_strict(tiny_frex(), state, 'here')
