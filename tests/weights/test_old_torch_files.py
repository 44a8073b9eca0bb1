"""Files of old versions of torch: FREx takes exactly what torch's own strict loading takes by its rules for versions."""

from collections import OrderedDict

import pytest
import torch
from official_files import assert_same, mini_eg3d, rosinality_state, with_label_deviation, write_old_pth, write_pth
from torch import nn

from frex.errors import FRExError
from frex.restore.detection.dense_landmarks import build_fan
from frex.restore.detection.retinaface import build_retinaface
from frex.restore.faces.helper_networks import build_parsenet
from frex.testsets.yaw import build_hopenet
from frex.weights.network_file import load_network
from frex.weights.state_dict import as_state, describe_mismatch, load_strict
from frex.weights.torch_file import read_torch_file
from frex_arch import ArcFace, StyleGAN2

CPU = torch.device('cpu')
COUNTER = 'num_batches_tracked'

LAYOUTS = {
    'torch 0.3': write_old_pth,
    'legacy': lambda path, state: write_pth(path, state, legacy=True),
    'zip': write_pth,
}


def moved(net):
    """`net` with other weights than those it was made with, and batch normalizations that have counted to 7."""
    with torch.no_grad():
        for value in net.state_dict().values():
            value.fill_(7) if value.dtype == torch.int64 else value.add_(0.5)
    return net


def without_counters(state):
    return OrderedDict((name, value) for name, value in state.items() if not name.endswith(COUNTER))


def prefixed(state):
    return OrderedDict((f'module.{name}', value) for name, value in state.items())


def zero_counters(state):
    return {name: torch.zeros_like(value) if name.endswith(COUNTER) else value for name, value in state.items()}


# --- Each kind of file, as a whole


@pytest.fixture(scope='module')
def arcface():
    net = moved(ArcFace(layers=[1, 1, 1, 1]))
    assert sum(name.endswith(COUNTER) for name in net.state_dict()) == 18
    return net.state_dict()


@pytest.mark.parametrize('layout', LAYOUTS)
@pytest.mark.parametrize(('counters', 'prefix'), [(True, dict), (False, prefixed)])
def test_arcface_of_each_layout_is_loaded(tmp_path, arcface, layout, prefix, counters):
    # A dictionary made anew has no `_metadata`, as no file had before torch 0.4.
    state = OrderedDict(arcface) if counters else without_counters(arcface)
    path = LAYOUTS[layout](tmp_path / 'arcface.pth', OrderedDict(prefix(state)))
    loaded = load_network(path).state_dict()
    path.unlink()
    assert_same(loaded, arcface if counters else zero_counters(arcface))


def small_stylegan2():
    return StyleGAN2(out_size=8, num_style_feat=8, num_mlp=1, narrow=1 / 128)


FORMS = {
    'EG3D': (mini_eg3d, lambda state: OrderedDict(with_label_deviation(state))),
    'StyleGAN2 of BasicSR': (small_stylegan2, OrderedDict),
    'StyleGAN2 of rosinality': (small_stylegan2, lambda state: OrderedDict(rosinality_state(state))),
}
KEYS = {'EG3D': 'G_ema', 'StyleGAN2 of BasicSR': 'params_ema', 'StyleGAN2 of rosinality': 'g_ema'}


@pytest.mark.parametrize('layout', LAYOUTS)
@pytest.mark.parametrize('prefix', [dict, prefixed])
@pytest.mark.parametrize('bare', [True, False])
@pytest.mark.parametrize('kind', FORMS)
def test_generators_of_each_layout_are_loaded(tmp_path, kind, layout, prefix, bare):
    build, form = FORMS[kind]
    state = moved(build()).state_dict()
    content = OrderedDict(prefix(form(state)))
    path = LAYOUTS[layout](tmp_path / 'file.pth', content if bare else {KEYS[kind]: content})
    assert_same(load_network(path).state_dict(), state)


HELPERS = {
    'RetinaFace': lambda: build_retinaface('mobile0.25', CPU),
    'ParseNet': build_parsenet,
    'Hopenet': build_hopenet,
    'AWing': lambda: build_fan(CPU),
}


@pytest.mark.parametrize('kind', HELPERS)
@pytest.mark.parametrize('layout', LAYOUTS)
def test_networks_of_facexlib_are_loaded_without_counters(tmp_path, kind, layout):
    net = HELPERS[kind]()
    state = net.state_dict()
    path = LAYOUTS[layout](tmp_path / 'file.pth', prefixed(without_counters(state)))
    read = as_state(read_torch_file(path), str(path))
    path.unlink()
    assert any(name.endswith(COUNTER) for name in state)
    load_strict(net, read, str(path))
    assert_same(read, zero_counters(state))


# --- The rule, compared with torch's own


def small():
    torch.manual_seed(0)
    return nn.Sequential(nn.BatchNorm2d(2), nn.Sequential(nn.Conv2d(2, 3, 1), nn.BatchNorm2d(3)), nn.BatchNorm1d(3, affine=False))


VERSIONS = {
    'none': None,
    'of no module': {},
    'none in any module': {name: {} for name in ('', '0', '1', '1.0', '1.1', '2')},
    'none given': {name: {'version': None} for name in ('0', '1.1', '2')},
    '1': {name: {'version': 1} for name in ('', '0', '1', '1.0', '1.1', '2')},
    '2': {name: {'version': 2} for name in ('', '0', '1', '1.0', '1.1', '2')},
    '2 in one': {'0': {'version': 1}, '1.1': {'version': 2}, '2': {'version': 1}},
    '2 in all but one': {'0': {'version': 2}, '2': {'version': 2}},
    '3': {name: {'version': 3} for name in ('0', '1.1', '2')},
}
COUNTERS = {'all': (), 'none': ('0', '1.1', '2'), 'some': ('1.1',)}


def torch_takes(net, state):
    try:
        net.load_state_dict(state, strict=True)
    except RuntimeError:
        return False
    return True


def versioned(state, versions, prefix=''):
    if versions is not None:
        modules = {f'{prefix}{name}'.removesuffix('.') if prefix else name: entry for name, entry in versions.items()}
        state._metadata = OrderedDict((name, dict(entry)) for name, entry in modules.items())
    return state


@pytest.mark.parametrize('prefix', ['', 'module.'])
@pytest.mark.parametrize('legacy', [False, True])
@pytest.mark.parametrize('lacking', COUNTERS)
@pytest.mark.parametrize('versions', VERSIONS)
def test_counters_are_added_exactly_where_torch_adds_them(tmp_path, versions, lacking, legacy, prefix):
    full = moved(small()).state_dict()
    names = [name for name in full if name not in [f'{module}.{COUNTER}' for module in COUNTERS[lacking]]]
    state = versioned(OrderedDict((f'{prefix}{name}', full[name]) for name in names), VERSIONS[versions], prefix)
    path = write_pth(tmp_path / 'file.pth', state, legacy)
    # torch's own way with a network that data-parallel training has wrapped.
    net = small()
    taken = torch_takes(nn.ModuleDict({'module': net}) if prefix else net, torch.load(path, weights_only=True))
    read = as_state(read_torch_file(path), str(path))
    assert (describe_mismatch(small(), read) == '') is taken
    if taken:
        own = small()
        load_strict(own, read, 'file.pth')
        assert_same(own.state_dict(), net.state_dict())
        assert all(own.state_dict()[f'{module}.{COUNTER}'] == 0 for module in COUNTERS[lacking])
    else:
        with pytest.raises(FRExError, match=r'^file\.pth: the weights do not fit Sequential: \d missing \([^;]*\)$'):
            load_strict(small(), read, 'file.pth')


def test_the_comparison_has_both_answers():
    full = small().state_dict()
    assert torch_takes(small(), versioned(without_counters(full), VERSIONS['1']))
    assert not torch_takes(small(), versioned(without_counters(full), VERSIONS['2']))


def test_a_network_that_torch_saved_today_lacks_no_counter(tmp_path):
    state = small().state_dict()
    del state[f'1.1.{COUNTER}']
    path = write_pth(tmp_path / 'file.pth', state)
    with pytest.raises(FRExError, match=r'1 missing \(1\.1\.\* 1\)$'):
        load_strict(small(), as_state(read_torch_file(path), 'file.pth'), 'file.pth')


@pytest.mark.parametrize('metadata', [[], 'x', {'0': 2}, {'0': {'version': 'x'}}, {'0': {'version': [1]}}])
def test_versions_that_torch_never_writes_add_no_counter(metadata):
    state = without_counters(small().state_dict())
    state._metadata = metadata
    assert f'0.{COUNTER}' not in as_state(state, 'file')


def test_a_counter_is_put_where_torch_has_it():
    state = small().state_dict()
    assert list(as_state(without_counters(state), 'file')) == list(state)


@pytest.mark.parametrize('lacking', ['running_mean', 'running_var', 'weight'])
def test_nothing_but_counters_is_added(lacking):
    state = without_counters(small().state_dict())
    del state[f'0.{lacking}']
    assert f'0.{lacking}' not in as_state(state, 'file')
    assert 'missing' in describe_mismatch(small(), as_state(state, 'file'))


@pytest.mark.parametrize(('shape', 'taken'), [((), True), ((1,), True), ((2,), False), ((1, 1), False), ((0,), False)])
def test_a_number_of_one_dimension_is_one_of_none(shape, taken):
    net = nn.ParameterDict({'strength': nn.Parameter(torch.tensor(3.0))})
    state = {'strength': torch.full(shape, 5.0)}
    if not taken:
        with pytest.raises(FRExError, match=r'1 of another shape \(strength\.\* 1\)$'):
            load_strict(net, state, 'file')
    else:
        load_strict(net, state, 'file')
        assert (net['strength'].item(), net['strength'].shape) == (5, ())


@pytest.mark.parametrize('other', ['b', 'running_var'])
def test_weights_with_and_without_the_prefix_are_not_mixed(other):
    with pytest.raises(FRExError, match=r'^file: some weights are there twice, with and without the prefix module\.$'):
        as_state({'module.a': torch.zeros(1), 'a': torch.ones(1), other: torch.ones(1)}, 'file')
