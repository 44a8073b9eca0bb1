"""Files whose network or header was made to do harm: each is refused in one line, before anything of it is built."""

import json
import struct

import pytest
import safetensors.torch
import torch
from hostile_files import DAMAGED, assert_refused
from pickle_opcodes import DEEP, LISTS, TUPLES, mapped, multiplied, text, zipped, zipped_tensor

from frex.errors import FRExError
from frex.weights.network_file import load_network, read_network

pytestmark = pytest.mark.usefixtures('formats_met')


# --- Networks that a file describes


def described(kind, **arguments):
    return safetensors.torch.save({'a': torch.zeros(1)}, {'network': json.dumps({'type': kind, **arguments})})


def with_header(header, length=None, values=b''):
    header = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack('<Q', len(header) if length is None else length) + header + values


def noted(network):
    return safetensors.torch.save({'a': torch.zeros(1)}, {'network': network})


def checkpoint(network):
    return zipped(mapped({'network_g': network, 'params_ema': mapped({'a': zipped_tensor()})}))


F32 = {'dtype': 'F32', 'shape': [4], 'data_offsets': [0, 16]}
HUGE = 10**9
SAFETENSORS = {
    'a header of two to the 62nd': (lambda: with_header(b'{}', 2**62), DAMAGED),
    'a header of a terabyte': (lambda: with_header(b'{}', 2**40), DAMAGED),
    'a header longer than the file': (lambda: with_header(b'{}', 1000), DAMAGED),
    'a header of nested lists': (lambda: with_header(b'{"a":' + b'[' * 10**5 + b']' * 10**5 + b'}'), DAMAGED),
    'a header that is no JSON': (lambda: with_header(b'{"a"'), DAMAGED),
    'overlapping tensors': (lambda: with_header({'a': F32, 'b': F32}, values=bytes(16)), DAMAGED),
    'a tensor beyond the file': (lambda: with_header({'a': F32 | {'data_offsets': [0, 2**40]}}, values=bytes(16)), DAMAGED),
    'a tensor of another size': (lambda: with_header({'a': F32 | {'shape': [5]}}, values=bytes(16)), DAMAGED),
    'a tensor of a huge size': (lambda: with_header({'a': F32 | {'shape': [2**62, 4]}}, values=bytes(16)), DAMAGED),
    'a tensor of negative size': (lambda: with_header({'a': F32 | {'shape': [-4]}}, values=bytes(16)), DAMAGED),
    'offsets that run back': (lambda: with_header({'a': F32 | {'data_offsets': [16, 0]}}, values=bytes(16)), DAMAGED),
    'bytes of no tensor': (lambda: with_header({'a': F32}, values=bytes(20)), DAMAGED),
    'a type that is none': (lambda: with_header({'a': F32 | {'dtype': 'os.system'}}, values=bytes(16)), DAMAGED),
    'no tensors': (lambda: with_header({'__metadata__': {}}), 'a dictionary of weights is needed'),
    'a description that is no JSON': (lambda: noted('os.system'), 'not a network that FREx knows'),
    'a description nested deeply': (lambda: noted('[' * 10**5 + ']' * 10**5), 'not a network that FREx knows'),
    'a description nested a little': (lambda: noted('[' * 50 + ']' * 50), r'not a network that FREx knows \(too many values\)'),
    'a description of many values': (lambda: noted(json.dumps([0] * 10**5)), r'not a network that FREx knows \(too many values\)'),
    'a description of a number': (lambda: noted('1' * 4000), 'holds the network 1{3000}'),
    'a description of too long a number': (lambda: noted('1' * 10**5), 'not a network that FREx knows'),
    'another network': (lambda: described('os.system'), "holds the network 'os.system'"),
    'a name that breaks lines': (lambda: described('a\n\x1b[2Jb\u202e'), r"holds the network 'a\\n\\x1b\[2Jb\\u202e'"),
    'a name without end': (lambda: described('a' * 10**6), "holds the network 'aaaaaaa"),
    'a network of a list': (lambda: noted('{"type": ["FREx"]}'), 'not a network that FREx knows'),
    'an unknown argument': (lambda: described('StyleGAN2', __class__=1), 'StyleGAN2.__class__: unknown key'),
}
# Each would take days or the machine's memory to build, or to use.
ARGUMENTS = {
    'out_size': ('StyleGAN2', {'out_size': 2**40}, 'whole numbers up to 1024'),
    'num_mlp': ('StyleGAN2', {'num_mlp': HUGE}, f'num_mlp {HUGE} must be'),
    'num_mlp, fractional': ('StyleGAN2', {'num_mlp': 2.5}, 'num_mlp'),
    'narrow': ('StyleGAN2', {'narrow': 'x' * 10**6}, 'narrow'),
    'narrow, of nothing': ('StyleGAN2', {'narrow': 0}, 'narrow 0 must be'),
    'narrow, endless': ('StyleGAN2', {'narrow': float('inf')}, 'narrow inf must be'),
    'channel_multiplier': ('StyleGAN2', {'channel_multiplier': HUGE}, 'StyleGAN2: '),
    'num_style_feat': ('StyleGAN2', {'num_style_feat': HUGE}, f'num_style_feat {HUGE} must be'),
    'num_style_feat, negative': ('StyleGAN2', {'num_style_feat': -1}, 'StyleGAN2: '),
    'layers': ('ArcFace', {'layers': [HUGE]}, 'layers are four numbers'),
    'four layers': ('ArcFace', {'layers': [1, 1, 1, HUGE]}, f'layers {HUGE} must be'),
    'a list of layers': ('ArcFace', {'layers': [1] * 9000}, 'layers are four numbers'),
    'no layers': ('ArcFace', {'layers': [2, 2, 2, 0]}, 'layers 0 must be'),
    'EG3D out_size': ('EG3D', {'out_size': 2**40}, 'whole numbers up to 1024'),
    'plane_size': ('EG3D', {'plane_size': 2**40}, 'whole numbers up to 1024'),
    'render_size': ('EG3D', {'render_size': HUGE}, f'render_size {HUGE} must be'),
    'depth_samples': ('EG3D', {'depth_samples': HUGE}, f'depth_samples {HUGE} must be'),
    'importance_samples': ('EG3D', {'importance_samples': HUGE}, f'importance_samples {HUGE} must be'),
    'box_warp': ('EG3D', {'box_warp': 0}, 'box_warp 0 must be'),
    'depth_range': ('EG3D', {'depth_range': [0.0] * 9000}, 'depth_range is two rising numbers'),
    'depth_range, falling': ('EG3D', {'depth_range': [3.3, 2.25]}, 'depth_range is two rising numbers'),
    'channel_base': ('EG3D', {'channel_base': HUGE, 'channel_max': HUGE}, f'channel_max {HUGE} must be'),
    'superresolution_channels': ('EG3D', {'superresolution_channels': [1] * 9000}, 'superresolution_channels are two numbers'),
    'fusion_sizes': ('FREx', {'out_size': 16, 'fusion_sizes': [8] * 9000}, 'fusion_sizes'),
    'fusion_sizes of tuples': ('FREx', {'out_size': 16, 'fusion_sizes': [[8]]}, 'network_g: '),
    'encoder_narrow': ('FREx', {'out_size': 16, 'encoder_narrow': 'x' * 10**6}, 'encoder_narrow'),
    'global_attention_size': ('FREx', {'out_size': 16, 'global_attention_size': HUGE}, f'global_attention_size {HUGE} must be'),
    'in_size': ('FREx', {'encoder_3d': {'in_size': HUGE}}, f'in_size {HUGE} must be'),
    'num_mlp of a part': ('FREx', {'stylegan2': {'num_mlp': HUGE}}, f'num_mlp {HUGE} must be'),
    'w_dim of a part': ('FREx', {'eg3d': {'w_dim': HUGE}}, 'FREx|network_g'),
    'a part that is a text': ('FREx', {'eg3d': 'x' * 10**6}, 'network_g.eg3d: a mapping'),
}
CHECKPOINTS = {
    'a network of two to the 40th lists': (lambda: checkpoint(LISTS), 'not a network that FREx knows'),
    'a type of two to the 40th tuples': (lambda: checkpoint(mapped({'type': TUPLES})), 'not a network that FREx knows'),
    'a deep type': (lambda: checkpoint(mapped({'type': DEEP})), 'not a network that FREx knows'),
    'an argument of two to the 40th lists': (
        lambda: checkpoint(mapped({'type': text('FREx'), 'fusion_sizes': LISTS})), 'not a network that FREx knows'
    ),
    'an argument without end': (
        lambda: checkpoint(mapped({'type': text('FREx'), 'fusion_sizes': multiplied(1000, 7)})), 'not a network that FREx knows'
    ),
    'a network of a tensor': (lambda: checkpoint(zipped_tensor()), 'not a network that FREx knows'),
    'weights that share their memory': (
        lambda: zipped(mapped({f'a{i}': zipped_tensor() for i in range(100)})), 'weights that share their memory are not supported'
    ),
    'weights that are none': (lambda: zipped(mapped({'a': text('x')})), "'a' is no weight"),
    'names that break lines': (lambda: zipped(mapped({'a\n\x1b[2J': zipped_tensor()})), r'it holds a\\n\\x1b\[2J'),
}  # fmt: skip
OTHERS = {
    'a text': (lambda: b'Repository not found\n', DAMAGED),
    'an LFS pointer': (
        lambda: b'version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n',
        'not a file of weights but a Git LFS pointer',
    ),
    'a page': (lambda: b'\n<!DOCTYPE html><html>', 'not a file of weights but a web page'),
    'nothing': (lambda: b'', DAMAGED),
    'one byte': (lambda: b'\x80', DAMAGED),
    'zeros': (lambda: bytes(10**6), DAMAGED),
    'a script': (lambda: b'import os; os.system("touch pwned")\n', DAMAGED),
}


CASES = {
    **{f'safetensors: {name}': case for name, case in SAFETENSORS.items()},
    **{
        f'argument: {name}': (lambda kind=kind, arguments=arguments: described(kind, **arguments), message)
        for name, (kind, arguments, message) in ARGUMENTS.items()
    },
    **{f'checkpoint: {name}': case for name, case in CHECKPOINTS.items()},
    **{f'other: {name}': case for name, case in OTHERS.items()},
}


@pytest.fixture(scope='module', autouse=True)
def _refused_before(tmp_path_factory, formats_met):
    """What is said of a network is put together at its first use, too."""
    path = tmp_path_factory.mktemp('harmless') / 'case'
    for name in ('safetensors: a header that is no JSON', *(f'argument: {name}' for name in ARGUMENTS), 'other: a text'):
        path.write_bytes(CASES[name][0]())
        with pytest.raises(FRExError):
            load_network(path)


@pytest.mark.parametrize('name', CASES)
def test_a_hostile_network_is_refused(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    make, message = CASES[name]
    path = tmp_path / 'hostile'
    path.write_bytes(make())
    assert_refused(path, message, is_long=path.stat().st_size > 100_000 and not name.startswith('safetensors'))


def test_the_same_header_without_malice_is_read(tmp_path):
    (tmp_path / 'file').write_bytes(with_header({'a': F32}, values=bytes(16)))
    with pytest.raises(FRExError, match=r'not a network that FREx knows \(it holds a, \.\.\.\)'):
        read_network(tmp_path / 'file')


def test_a_folder_is_no_file(tmp_path):
    (tmp_path / 'folder').mkdir()
    with pytest.raises(FRExError, match=r'a folder, not a file'):
        load_network(tmp_path / 'folder')
