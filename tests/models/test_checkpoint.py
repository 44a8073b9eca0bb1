"""Checkpoints: they name their network, load strictly, and run no code."""

import pickle
from pathlib import Path

import pytest
import torch
from tiny import tiny_frex, tiny_network_options, trained

from frex.errors import FRExError
from frex.models.training_state import archive_later, remove_older
from frex.weights.network_file import NetworkFile, build_frex, read_network, save_checkpoint
from frex.weights.state_dict import load_matching, load_strict
from frex.weights.torch_file import read_torch_file


def test_the_network_is_rebuilt_from_the_file_alone(checkpoint):
    net = build_frex(read_network(checkpoint), 'here')
    expected = trained(tiny_frex()).state_dict()
    assert not net.training
    assert all(torch.equal(value, expected[name]) for name, value in net.state_dict().items())


def test_the_asked_weights_are_taken(checkpoint):
    state = read_network(checkpoint, 'params').state
    assert torch.equal(state['encoder_2d.to_ws.weight'], tiny_frex(seed=1).state_dict()['encoder_2d.to_ws.weight'])


def test_nothing_is_left_behind_by_a_write_that_fails(tmp_path):
    (tmp_path / 'net.pth').mkdir()
    with pytest.raises(IsADirectoryError):
        save_checkpoint(tmp_path / 'net.pth', {'params': {}}, {})
    assert [path.name for path in tmp_path.iterdir()] == ['net.pth']


def test_a_mismatch_is_told_by_prefix():
    net = tiny_frex()
    state = net.state_dict()
    for name in [name for name in state if name.startswith('eg3d.decoder')]:
        del state[name]
    state['eg3d.extra.weight'] = torch.zeros(1)
    state['encoder_2d.to_ws.bias'] = torch.zeros(3)
    before = net.encoder_2d.to_ws.bias.clone()
    message = (
        r'file\.pth: the weights do not fit FREx: 4 missing \(eg3d\.decoder\.\* 4\); 1 unexpected \(eg3d\.extra\.\* 1\); '
        r'1 of another shape \(encoder_2d\.to_ws\.\* 1\)'
    )
    with pytest.raises(FRExError, match=message):
        load_strict(net, state, 'file.pth')
    assert torch.equal(net.encoder_2d.to_ws.bias, before)


class Hostile:
    """Unpickling it would run a command."""

    def __reduce__(self):
        import os

        return os.mkdir, ('pwned',)


@pytest.mark.parametrize(
    'write', [lambda path: torch.save({'params': Hostile()}, path), lambda path: path.write_bytes(pickle.dumps(Hostile()))]
)
def test_a_file_that_would_run_code_is_refused(tmp_path, monkeypatch, write):
    monkeypatch.chdir(tmp_path)
    write(tmp_path / 'hostile.pth')
    with pytest.raises(FRExError, match=r'hostile\.pth: not a file of weights'):
        read_torch_file(tmp_path / 'hostile.pth')
    assert not (tmp_path / 'pwned').exists()


@pytest.mark.parametrize('content', [b'hello', b'Repository not found', b'<!DOCTYPE html>', b'\x80\x02}q\x00'])
def test_a_file_of_something_else_entirely_is_named(tmp_path, content):
    (tmp_path / 'page.pth').write_bytes(content)
    with pytest.raises(FRExError, match=r'page\.pth: not a file of weights'):
        read_torch_file(tmp_path / 'page.pth')


def test_what_fits_can_be_loaded_alone_and_the_rest_is_told():
    net, state = tiny_frex(), tiny_frex(seed=1).state_dict()
    state['encoder_2d.to_ws.bias'] = torch.zeros(3)
    assert load_matching(net, state) == '1 of another shape (encoder_2d.to_ws.* 1)'
    assert torch.equal(net.encoder_2d.to_ws.weight, state['encoder_2d.to_ws.weight'])


KINDS = [torch.int64, torch.bool, torch.complex64]


@pytest.mark.parametrize('kind', KINDS)
def test_numbers_of_another_kind_are_refused(kind):
    net, state = tiny_frex(), tiny_frex(seed=1).state_dict()
    state['encoder_2d.to_ws.weight'] = state['encoder_2d.to_ws.weight'].to(kind)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    message = r'file\.pth: the weights do not fit FREx: 1 of another kind of number \(encoder_2d\.to_ws\.\* 1\)$'
    with pytest.raises(FRExError, match=message):
        load_strict(net, state, 'file.pth')
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())


@pytest.mark.parametrize('kind', KINDS)
def test_numbers_of_another_kind_are_told_and_left_out_where_the_rest_is_loaded(kind):
    net, state = tiny_frex(), tiny_frex(seed=1).state_dict()
    state['encoder_2d.to_ws.weight'] = state['encoder_2d.to_ws.weight'].to(kind)
    before = net.encoder_2d.to_ws.weight.clone()
    assert load_matching(net, state) == '1 of another kind of number (encoder_2d.to_ws.* 1)'
    assert torch.equal(net.encoder_2d.to_ws.weight, before)
    assert torch.equal(net.encoder_2d.to_ws.bias, state['encoder_2d.to_ws.bias'])


def test_numbers_of_another_precision_are_taken():
    net, state = tiny_frex(), tiny_frex(seed=1).state_dict()
    load_strict(net, {name: value.half() if value.is_floating_point() else value for name, value in state.items()}, 'file.pth')
    torch.testing.assert_close(net.encoder_2d.to_ws.weight, state['encoder_2d.to_ws.weight'], rtol=1e-3, atol=1e-7)
    assert net.encoder_2d.to_ws.weight.dtype == torch.float32


@pytest.mark.parametrize('keep', [0, 3, 100, 5000])
def test_a_truncated_file_is_named(checkpoint, tmp_path, keep):
    (tmp_path / 'cut.pth').write_bytes(checkpoint.read_bytes()[:keep])
    with pytest.raises(FRExError, match=r'cut\.pth: not a file of weights, or a damaged one'):
        read_torch_file(tmp_path / 'cut.pth')


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        ({'params_ema': {'a': torch.zeros(1)}}, r'not a network that FREx knows \(it holds a, \.\.\.\)'),
        ({'params_ema': {}}, 'params_ema: a dictionary of weights is needed, not an empty one'),
        ({'params_ema': {'a': 1}}, "params_ema: 'a' is no weight but a int"),
        (
            {'network_g': {'type': 'GFPGANv1Clean'}, 'params_ema': {'a': torch.zeros(1)}},
            "holds the network 'GFPGANv1Clean'",
        ),
        ({'network_g': {'type': ['FREx']}, 'params_ema': {'a': torch.zeros(1)}}, 'not a network that FREx knows'),
        ({'network_g': {'type': 'FREx'}, 'params': {}}, 'has no params_ema; it holds network_g, params'),
        ([1, 2], 'holds a list, not a dictionary'),
    ],
)
def test_a_file_of_something_else_is_told(tmp_path, content, message):
    torch.save(content, tmp_path / 'other.pth')
    with pytest.raises(FRExError, match=rf'other\.pth: {message}'):
        read_network(tmp_path / 'other.pth')


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        ({'use_abw': False}, r"network_g\.use_abw: unknown key; did you mean 'use_awb'"),
        ({'out_size': 100}, 'network_g: .*powers of two.*100'),
        ({'out_size': '64'}, 'network_g: .*64'),
        ({'out_size': 2048}, 'network_g: .*up to 1024, not 2048'),
        ({'eg3d': 5}, r'network_g\.eg3d: a mapping of keys to values is needed, not 5'),
        ({'eg3d': {'depth_samples': 1}}, 'network_g: depth_samples 1 .* at least 2'),
        ({'stylegan2': {'narrow': 0.03}}, 'network_g: 4 heads of attention do not divide'),
        ({'eg3d': {'plane_szie': 3}}, r'network_g\.eg3d\.plane_szie: unknown key'),
    ],
)
def test_bad_network_options_in_a_file_are_told(changes, message):
    with pytest.raises(FRExError, match=message):
        build_frex(NetworkFile('FREx', tiny_network_options(**changes), {}), 'file.pth')


def test_a_missing_file_is_told(tmp_path):
    with pytest.raises(FRExError, match=r'net\.pth: no such file'):
        read_torch_file(tmp_path / 'net.pth')


# --- Which checkpoints stay

FOREIGN = ['net_g_best_psnr.pth', 'net_g_latest.pth', 'my_net_g_100.pth', 'net_g_100.pth.bak', 'net_g_100.safetensors', 'notes.txt']


def checkpoints_of(folder, *numbers):
    """Empty files under the names that training writes."""
    models, states = folder / 'models', folder / 'training_states'
    models.mkdir()
    states.mkdir()
    for number in numbers:
        for path in (models / f'net_g_{number}.pth', models / f'net_d_dual_{number}.pth', states / f'{number}.state'):
            path.touch()
    return models, states


def test_files_of_others_outlive_older_checkpoints(tmp_path):
    models, states = checkpoints_of(tmp_path, 5, 100, 2000)
    kept = [*(models / name for name in FOREIGN), states / 'before_the_change.state', states / 'state_5.txt']
    for path in kept:
        path.touch()
    remove_older([models, states], 1)
    last = {models / 'net_g_2000.pth', models / 'net_d_dual_2000.pth', states / '2000.state'}
    assert {*models.iterdir(), *states.iterdir()} == {*kept, *last}


@pytest.mark.parametrize('removed', range(6))
def test_a_state_has_its_networks_wherever_forgetting_is_broken_off(tmp_path, monkeypatch, removed):
    models, states = checkpoints_of(tmp_path, 5, 100, 2000)
    left = iter(range(removed))
    unlink = Path.unlink

    def unlink_or_stop(path):
        next(left)
        unlink(path)

    monkeypatch.setattr(Path, 'unlink', unlink_or_stop)
    with pytest.raises(StopIteration):
        remove_older([models, states], 1)
    assert len([*models.iterdir(), *states.iterdir()]) == 9 - removed
    for state in states.iterdir():
        assert (models / f'net_g_{state.stem}.pth').exists()
        assert (models / f'net_d_dual_{state.stem}.pth').exists()


def test_what_is_later_than_the_resumed_iteration_is_put_away_and_does_not_count(tmp_path):
    models, states = checkpoints_of(tmp_path, 100, 2000, 5000)
    (models / 'net_g_latest.pth').touch()
    moved = archive_later([models, states], 100, 'NOW')
    assert len(moved) == 6
    assert {path.name for path in (states / 'archived_NOW').iterdir()} == {'2000.state', '5000.state'}
    assert {path.name for path in (models / 'archived_NOW').iterdir()} == {path.name for path in moved if path.parent == models}
    for path in (states / '300.state', models / 'net_g_300.pth'):
        path.touch()
    remove_older([models, states], 2)
    assert {path.name for path in states.iterdir()} == {'archived_NOW', '100.state', '300.state'}
    assert {path.name for path in models.glob('*_g_*')} == {'net_g_latest.pth', 'net_g_100.pth', 'net_g_300.pth'}
    assert archive_later([models, states], 300, 'LATER') == []
    assert not (models / 'archived_LATER').exists()
