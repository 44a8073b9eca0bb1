"""NVIDIA's pickles: what they name, and the tensors, arguments and attributes that are read out of them."""

import pickletools

import numpy as np
import pytest
import torch
from golden import FOLDER
from official_files import INIT, RENDERING, SOURCE, eg3d_network, mini_eg3d, stylegan2_network, write_mini_eg3d, write_pickle

from frex.errors import FRExError
from frex.weights.network_file import read_network
from frex.weights.nvidia_pickle import read_nvidia_pickle

OFFICIAL_GLOBALS = {
    'torch_utils.persistence _reconstruct_persistent_obj',
    'dnnlib.util EasyDict',
    'collections OrderedDict',
    'torch._utils _rebuild_tensor_v2',
    'torch._utils _rebuild_parameter',
    'torch.storage _load_from_bytes',
    'numpy._core.multiarray scalar',
    'numpy dtype',
    'training.triplane OSGDecoder',
    'training.volumetric_rendering.renderer ImportanceRenderer',
    'training.volumetric_rendering.ray_marcher MipRayMarcher2',
    'training.volumetric_rendering.ray_sampler RaySampler',
    'torch.nn.modules.container Sequential',
    'torch.nn.modules.activation Softplus',
}


def test_the_pickles_of_these_tests_name_what_official_ones_name(tmp_path):
    write_pickle(tmp_path / 'file.pkl', eg3d_network(mini_eg3d().state_dict(), INIT, RENDERING, 64), 3)
    content = (tmp_path / 'file.pkl').read_bytes()
    named = {argument for opcode, argument, _ in pickletools.genops(content) if opcode.name == 'GLOBAL'}
    assert {name.replace('numpy.core', 'numpy._core') for name in named} == OFFICIAL_GLOBALS | {'builtins set'}
    assert content.count(SOURCE.encode()) == 1


def test_a_pickle_of_the_official_layout_is_read_and_its_source_is_not_run():
    network = read_nvidia_pickle(FOLDER / 'eg3d_fake_small.pkl')
    shapes = {
        'backbone.synthesis.b4.const': (4, 4, 4),
        'backbone.synthesis.b4.resample_filter': (4, 4),
        'backbone.synthesis.b4.conv1.weight': (4, 4, 3, 3),
        'backbone.synthesis.b4.conv1.noise_strength': (),
        'backbone.synthesis.b4.conv1.bias': (4,),
        'backbone.synthesis.b4.conv1.noise_const': (4, 4),
        'backbone.synthesis.b4.conv1.affine.weight': (4, 8),
        'backbone.synthesis.b4.torgb.weight': (96, 4, 1, 1),
        'backbone.mapping.w_avg': (8,),
        'backbone.mapping.fc0.weight': (8, 16),
        'superresolution.block0.conv0.weight': (4, 4, 3, 3),
        'decoder.net.0.weight': (6, 4),
        'decoder.net.2.bias': (5,),
    }
    assert network.class_name == 'TriPlaneGenerator'
    assert network.arguments['mapping_kwargs'] == {'num_layers': 2}
    assert network.attributes['neural_rendering_resolution'] == 128
    assert network.attributes['rendering_kwargs'] == {'box_warp': 1, 'ray_start': 2.25}
    assert [(name, tuple(value.shape)) for name, value in network.state.items()] == list(shapes.items())
    assert all(value.dtype == torch.float32 and value.isfinite().all() for value in network.state.values())


def test_a_pickle_that_lacks_what_a_network_needs_is_told():
    with pytest.raises(FRExError, match=r"eg3d_fake_small\.pkl: not a network that FREx knows \(it lacks 'ray_end'\)"):
        read_network(FOLDER / 'eg3d_fake_small.pkl')


@pytest.mark.parametrize('protocol', [2, 3, 4, 5])
def test_plain_attributes_are_read_with_their_values(tmp_path, protocol):
    values = {'z_dim': 7, 'gain': 0.1, 'name': 'x', 'sizes': [4, 8], 'pair': (1, None), 'nested': {'a': {'b': True}}}
    numbers = {'f8': np.float64(1 / 3), 'f4': np.float32(0.5), 'i8': np.int64(-5), 'i4': np.int32(9), 'b1': np.bool_(True)}
    network = stylegan2_network({'mapping.w_avg': torch.zeros(2)}, **values, **numbers, tensor=torch.zeros(2), module=torch.nn.ReLU)
    read = read_nvidia_pickle(write_pickle(tmp_path / 'file.pkl', network, protocol))
    expected = values | {'f8': 1 / 3, 'f4': 0.5, 'i8': -5, 'i4': 9, 'b1': True, 'training': False}
    assert read.attributes == expected
    assert read.arguments == {'c_dim': 0, 'img_channels': 3, 'mapping_kwargs': {'num_layers': 2}}


def test_another_network_of_the_file_can_be_asked_for(tmp_path):
    path = write_mini_eg3d(tmp_path / 'file.pkl')
    assert read_nvidia_pickle(path, 'D').class_name == 'DualDiscriminator'
    assert read_nvidia_pickle(path, 'G').state.keys() == {'mapping.w_avg'}
    with pytest.raises(
        FRExError, match=r'file\.pkl: has no network augment_pipe; it holds training_set_kwargs, G, D, G_ema, augment_pipe$'
    ):
        read_nvidia_pickle(path, 'augment_pipe')


BASE = torch.arange(24.0)
VIEWS = {
    'an offset': BASE[5:11],
    'an offset and strides': BASE[3:].as_strided((3, 2), (4, 7), 3),
    'transposed': BASE.reshape(4, 6).T,
    'every other': BASE[::2],
    'channels last': BASE.reshape(2, 3, 2, 2).contiguous(memory_format=torch.channels_last),
    'expanded': torch.arange(3.0).expand(2, 3).T[:, :1],
    'a number': BASE[7],
    'nothing': BASE[:0],
    'half precision': BASE[::3].half(),
    'brain floats': BASE[::3].bfloat16(),
    'double precision': BASE.double()[1:],
    'whole numbers': torch.arange(6)[2:],
    'bytes': torch.arange(6, dtype=torch.uint8),
    'truth': torch.tensor([True, False, True]),
}


@pytest.mark.parametrize('view', VIEWS)
@pytest.mark.parametrize('protocol', [2, 3, 4, 5])
def test_offset_size_stride_and_type_of_a_tensor_are_kept(tmp_path, view, protocol):
    expected = VIEWS[view]
    network = stylegan2_network({})
    network.register_buffer('value', expected)
    read = read_nvidia_pickle(write_pickle(tmp_path / 'file.pkl', network, protocol)).state['value']
    assert (read.dtype, read.shape) == (expected.dtype, expected.shape)
    assert read.is_contiguous()
    assert torch.equal(read, expected)
