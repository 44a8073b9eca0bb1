"""The network between two trained ones."""

import pytest
import torch
from tiny import tiny_frex, tiny_network_options

from frex.cli.main import main
from frex.errors import FRExError
from frex.weights.interpolate import interpolate
from frex.weights.network_file import NetworkFile, read_network, save_safetensors


@pytest.fixture(scope='module')
def networks():
    """Two tiny networks with other weights."""
    return [NetworkFile('FREx', tiny_network_options(), tiny_frex(seed).state_dict()) for seed in (0, 1)]


@pytest.mark.parametrize('ratio', [0, 0.25, 1])
def test_weights_are_the_weighted_mean(networks, ratio):
    first, second = (file.state for file in networks)
    found = interpolate(*networks, ratio, 'here')
    assert found.arguments == tiny_network_options()
    assert list(found.state) == list(second)
    for name, value in found.state.items():
        expected = (1 - ratio) * first[name] + ratio * second[name] if value.is_floating_point() else second[name]
        torch.testing.assert_close(value, expected)


def test_the_command_writes_a_file_that_loads(networks, tmp_path, capsys):
    files = [tmp_path / f'{number}.safetensors' for number in range(2)]
    for path, network in zip(files, networks, strict=True):
        save_safetensors(path, network)
    target = tmp_path / 'between.safetensors'
    command = ['weights', 'interpolate', *map(str, files), str(target), '--ratio', '0.75']
    assert main(command) == 0
    assert capsys.readouterr().out == f'{target}: FREx, 0.25 of {files[0]} and 0.75 of {files[1]}\n'
    expected = interpolate(*networks, 0.75, 'here').state
    found = read_network(target).state
    assert all(torch.equal(found[name], value) for name, value in expected.items())
    assert main([*command, '--half']) == 1
    assert 'exists' in capsys.readouterr().err


def test_networks_that_do_not_fit_are_refused(networks):
    first, second = networks
    with pytest.raises(FRExError, match=r'^--ratio 1\.5: must be from 0 to 1'):
        interpolate(first, second, 1.5, 'here')
    with pytest.raises(FRExError, match=r'^here: the networks differ in out_size'):
        interpolate(first, NetworkFile('FREx', tiny_network_options(out_size=32), second.state), 0.5, 'here')
    with pytest.raises(FRExError, match=r'^here: one is a FREx, the other a EG3D'):
        interpolate(first, NetworkFile('EG3D', {}, second.state), 0.5, 'here')
    with pytest.raises(FRExError, match=r'^here: '):
        interpolate(first, NetworkFile('FREx', tiny_network_options(), dict(list(second.state.items())[1:])), 0.5, 'here')
