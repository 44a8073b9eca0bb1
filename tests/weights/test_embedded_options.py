"""The options of a FREx among its weights: written for programs that read tensors alone, and dropped by FREx's own reading."""

import json

import pytest
import safetensors.torch
import torch
from official_files import assert_same, mini_eg3d, write_pth, write_safetensors
from tiny import tiny_frex, tiny_network_options, trained

from frex.errors import FRExError
from frex.options import SHIPPED_FOLDER, arguments_of, load_options
from frex.weights import known_networks
from frex.weights.embedded_options import MOST_BYTES, OPTIONS_KEY, encode_options
from frex.weights.known_networks import arguments_by_shapes, known_arguments
from frex.weights.network_file import (
    NetworkFile,
    build_frex,
    embedded_network,
    load_network,
    read_network,
    read_safetensors,
    read_state,
    save_safetensors,
)
from frex.weights.state_dict import as_state


@pytest.fixture(scope='module')
def state():
    """The weights of a tiny FREx."""
    return trained(tiny_frex()).state_dict()


@pytest.fixture(scope='module')
def options(state):
    """The options of a tiny FREx as a tensor."""
    return encode_options({'type': 'FREx', **tiny_network_options()})


def test_the_file_holds_the_options_and_every_reader_drops_them(tmp_path, state, options):
    path = tmp_path / 'frex.safetensors'
    save_safetensors(path, NetworkFile('FREx', tiny_network_options(), state))
    stored = safetensors.torch.load_file(path)
    assert stored.keys() - state.keys() == {OPTIONS_KEY}
    assert json.loads(bytes(stored[OPTIONS_KEY].tolist())) == {'type': 'FREx', **tiny_network_options()}
    for read in (read_network(path).state, read_safetensors(path)[1], read_state(path), as_state(stored, 'here')):
        assert_same(read, state)
    assert_same(load_network(path).state_dict(), state)


def test_other_networks_get_no_such_tensor(tmp_path):
    state = mini_eg3d().state_dict()
    save_safetensors(tmp_path / 'eg3d.safetensors', NetworkFile('EG3D', {}, state))
    assert safetensors.torch.load_file(tmp_path / 'eg3d.safetensors').keys() == state.keys()


@pytest.mark.parametrize(
    ('write', 'prefix'), [(write_safetensors, ''), (write_pth, ''), (write_pth, 'module.')], ids=['safetensors', 'pth', 'module.']
)
def test_a_file_that_another_program_wrote_names_its_network(tmp_path, state, options, write, prefix):
    # As after chaiNNer's node that saves a model: no metadata.
    content = {f'{prefix}{name}': value for name, value in state.items()} | {OPTIONS_KEY: options}
    file = read_network(write(tmp_path / 'saved', content))
    assert (file.kind, file.arguments) == ('FREx', tiny_network_options())
    assert_same(file.state, state)


def test_metadata_wins_over_the_tensor(tmp_path, state, options):
    other = {'type': 'FREx', **tiny_network_options(global_attention_size=8)}
    safetensors.torch.save_file(state | {OPTIONS_KEY: options}, tmp_path / 'frex.safetensors', {'network': json.dumps(other)})
    assert read_network(tmp_path / 'frex.safetensors').arguments['global_attention_size'] == 8


@pytest.mark.parametrize(
    'value',
    [
        torch.zeros(3),
        torch.zeros(2, 2, dtype=torch.uint8),
        torch.zeros(0, dtype=torch.uint8),
        torch.zeros(MOST_BYTES + 1, dtype=torch.uint8),
    ],
    ids=['floats', 'two axes', 'empty', 'too long'],
)
def test_a_tensor_of_this_name_and_another_kind_is_refused_like_any_other(tmp_path, state, value):
    safetensors.torch.save_file(
        state | {OPTIONS_KEY: value}, tmp_path / 'frex.safetensors', {'network': json.dumps({'type': 'FREx', **tiny_network_options()})}
    )
    with pytest.raises(FRExError, match=rf'the weights do not fit FREx: 1 unexpected \({OPTIONS_KEY}\.\* 1\)$'):
        load_network(tmp_path / 'frex.safetensors')


def test_all_other_unknown_weights_are_refused_still(state, options):
    file = embedded_network(state | {OPTIONS_KEY: options, 'frex_option': options.clone()}, 'here')
    with pytest.raises(FRExError, match=r'^here: the weights do not fit FREx: 1 unexpected \(frex_option\.\* 1\)$'):
        build_frex(file, 'here')


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        (b'\xff', 'its frex_options cannot be read'),
        (b'{"type": ', 'its frex_options cannot be read'),
        (b'[' * 5000, 'its frex_options cannot be read'),
        (b'{"type": "GFPGAN"}', "holds the network 'GFPGAN'"),
        (b'3', 'holds the network 3'),
    ],
    ids=['no text', 'cut', 'deep', 'another network', 'a number'],
)
def test_options_that_cannot_be_read_are_one_line(text, message):
    tensor = torch.frombuffer(bytearray(text), dtype=torch.uint8)
    with pytest.raises(FRExError, match=rf'^here: {message}'):
        embedded_network({'a': torch.zeros(1), OPTIONS_KEY: tensor}, 'here')


# --- Without the tensor: by the shapes of the weights


def test_the_known_networks_are_those_of_the_option_files():
    files = ['train_frex.yml', 'ablations/without_3d_prior.yml', 'ablations/without_awb.yml', 'small/4_finish.yml', 'train_frex_tiny.yml']
    for file in files:
        assert arguments_of(load_options(SHIPPED_FOLDER / file)['network_g']) in known_arguments()
    # Full size is the default.
    assert {} in known_arguments()


def test_each_is_recognised_by_its_shapes_alone():
    assert len(known_arguments()) >= 6
    for number, arguments in enumerate(known_arguments()):
        assert arguments_by_shapes(known_networks._build_known(number).state_dict(), 'here') == arguments


@pytest.mark.parametrize('changes', [{'use_awb': False}, {'out_size': 32}], ids=['other parts', 'another size'])
def test_shapes_of_no_shipped_network_are_refused_with_what_to_do(changes):
    state = tiny_frex(**changes).state_dict()
    with pytest.raises(FRExError, match=r'^here: the weights alone do not say which FREx this is: no network .*: frex weights convert$'):
        arguments_by_shapes(state, 'here')


def test_shapes_of_two_networks_are_refused_with_what_to_do(state, monkeypatch):
    two = (tiny_network_options(), tiny_network_options(global_attention_size=8))
    monkeypatch.setattr(known_networks, 'known_arguments', lambda: two)
    monkeypatch.setattr(known_networks, '_build_known', lambda number: tiny_frex())
    with pytest.raises(FRExError, match=r'2 networks of its option files have weights of these shapes; .*: frex weights convert$'):
        arguments_by_shapes(state, 'here')
