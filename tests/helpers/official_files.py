"""Files as EG3D, StyleGAN2-ADA, rosinality and BasicSR write them, made from state dicts."""

import argparse
import math
import pickle
import sys
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar

import numpy as np
import safetensors.torch
import torch
from torch import Tensor, nn

from frex_arch import EG3D

State = dict[str, Tensor]

# Whatever runs the source that a pickle carries ends the process.
SOURCE = "raise SystemExit('the embedded source was executed')\n"
BUFFERS = ('noise_const', 'resample_filter', 'w_avg', 'dataset_label_std', 'p', 'Hz_geom', 'Hz_fbank')

# --- What NVIDIA's pickles name, under the names that they give it


def _reconstruct_persistent_obj(meta: dict[str, Any]) -> None:
    raise AssertionError('only its name is written')


class EasyDict(dict):
    """dnnlib's dictionary."""


class Persistent(nn.Module):
    """A module of a decorated class: pickled as its class's source, its name, and its `__dict__`."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__()
        self._init_args = args
        self._init_kwargs = kwargs

    def __reduce__(self) -> tuple[Any, ...]:
        meta = {'type': 'class', 'version': 6, 'module_src': SOURCE, 'class_name': type(self).__name__, 'state': self.__dict__}
        return _reconstruct_persistent_obj, (meta,)


class OSGDecoder(nn.Module):
    """An ordinary class, as are the following."""


class ImportanceRenderer(nn.Module):
    """Holds a tensor that is neither parameter nor buffer."""


class MipRayMarcher2(nn.Module):
    """Has no weights."""


class RaySampler(nn.Module):
    """Has no weights."""


NAMED = {
    'torch_utils.persistence': _reconstruct_persistent_obj,
    'dnnlib.util': EasyDict,
    'training.triplane': OSGDecoder,
    'training.volumetric_rendering.renderer': ImportanceRenderer,
    'training.volumetric_rendering.ray_marcher': MipRayMarcher2,
    'training.volumetric_rendering.ray_sampler': RaySampler,
}


@contextmanager
def _stand_ins() -> Iterator[None]:
    before, homes = dict(sys.modules), {thing: thing.__module__ for thing in NAMED.values()}
    for name, thing in NAMED.items():
        parts = name.split('.')
        for end in range(1, len(parts) + 1):
            sys.modules.setdefault('.'.join(parts[:end]), ModuleType('.'.join(parts[:end])))
        setattr(sys.modules[name], thing.__name__, thing)
        thing.__module__ = name
    try:
        yield
    finally:
        for thing, home in homes.items():
            thing.__module__ = home
        for name in sys.modules.keys() - before.keys():
            if name.partition('.')[0] in ('torch_utils', 'dnnlib', 'training'):
                del sys.modules[name]


# --- NVIDIA's networks, out of a state dict's names

CLASSES = {
    'affine': 'FullyConnectedLayer',
    'embed': 'FullyConnectedLayer',
    'conv0': 'SynthesisLayer',
    'conv1': 'SynthesisLayer',
    'torgb': 'ToRGBLayer',
    'mapping': 'MappingNetwork',
    'synthesis': 'SynthesisNetwork',
    'backbone': 'Generator',
    'superresolution': 'SuperresolutionHybrid8XDC',
}
ORDINARY = {'decoder': OSGDecoder, 'net': nn.Sequential}


def _module(name: str) -> nn.Module:
    if name in ORDINARY:
        return ORDINARY[name]()
    kind = CLASSES.get(name, 'SynthesisBlock' if name.startswith('b') else 'FullyConnectedLayer')
    return _persistent(kind, 3, name=name)


def _persistent(kind: str, *args: Any, **kwargs: Any) -> nn.Module:
    return type(kind, (Persistent,), {})(*args, **kwargs)


def _fill(root: nn.Module, state: State) -> nn.Module:
    for key, value in state.items():
        *path, name = key.split('.')
        module = root
        for part in path:
            if part not in module._modules:
                module.add_module(part, _module(part))
            module = module._modules[part]
        if name in BUFFERS:
            module.register_buffer(name, value)
        else:
            module.register_parameter(name, nn.Parameter(_stored(value), requires_grad=False))
        if name == 'weight':
            module.weight_gain = np.float64(1 / math.sqrt(value[0].numel()))
    return root


def _stored(value: Tensor) -> Tensor:
    # Convolutions of half-precision blocks are stored so.
    return value.contiguous(memory_format=torch.channels_last) if value.ndim == 4 else value


def eg3d_network(state: State, init_kwargs: dict[str, Any], rendering_kwargs: dict[str, Any], render_size: int) -> nn.Module:
    """Return a TriPlaneGenerator with the weights `state`.

    `rendering_kwargs` and `render_size` are those after training, which may differ from the constructor's arguments `init_kwargs`.
    """
    root = _persistent('TriPlaneGenerator', **init_kwargs)
    root.renderer, root.ray_sampler = ImportanceRenderer(), RaySampler()
    root.renderer.plane_axes = torch.eye(3)[None].repeat(3, 1, 1)
    root.renderer.ray_marcher = MipRayMarcher2()
    _fill(root, state)
    decoder = root.decoder.net
    decoder._modules = OrderedDict([('0', decoder._modules['0']), ('1', nn.Softplus()), ('2', decoder._modules['2'])])
    root.superresolution.register_buffer('scratch', torch.zeros(2, 2), persistent=False)
    root.z_dim, root.c_dim, root.w_dim = (init_kwargs[name] for name in ('z_dim', 'c_dim', 'w_dim'))
    root.neural_rendering_resolution = render_size
    root.rendering_kwargs = rendering_kwargs
    root._last_planes = None
    return root.eval()


def with_label_deviation(state: State) -> State:
    """Return the state dict of a generator as the official training loop of EG3D leaves it: the buffer that it adds comes first."""
    return {'dataset_label_std': torch.linspace(0, 0.3, 25)} | state


def augment_pipe() -> nn.Module:
    """Return the module that StyleGAN2-ADA and EG3D write beside their networks after a training with adaptive augmentation."""
    state = {'p': torch.tensor(0.3), 'Hz_geom': torch.ones(12), 'Hz_fbank': torch.ones(4, 24)}
    return _fill(_persistent('AugmentPipe', xflip=1, rotate90=1, imgfilter_bands=[1, 1, 1, 1]), state)


def stylegan2_network(state: State, **attributes: Any) -> nn.Module:
    """Return StyleGAN2-ADA's generator with the weights `state` and, set at last, these `attributes`."""
    root = _persistent('Generator', c_dim=0, img_channels=3, mapping_kwargs=EasyDict(num_layers=2))
    _fill(root, state)
    for name, value in attributes.items():
        setattr(root, name, value)
    return root.eval()


def _as_torch_1(module: nn.Module) -> None:
    """Make the dictionaries of parameters, buffers and modules ordered ones, as torch had them until 2.0; `module` is changed."""
    for part in module.modules():
        for book in ('_parameters', '_buffers', '_modules'):
            part.__dict__[book] = OrderedDict(part.__dict__[book])


def write_pickle(path: Path, network: nn.Module, protocol: int = 4, **others: Any) -> Path:
    """Write a snapshot of training with `network` as G_ema, and return its path.

    `others` are more entries of the snapshot, or replace its own. With a protocol below 4 `network` is changed as by `_as_torch_1`.
    """
    small = _fill(_persistent('DualDiscriminator', c_dim=25), {'b4.fc.weight': torch.ones(2, 2)})
    networks = {'G': _fill(_persistent('Generator'), {'mapping.w_avg': torch.ones(4)}), 'D': small, 'G_ema': network}
    if protocol < 4:
        _as_torch_1(network)
    content = {'training_set_kwargs': EasyDict(class_name='training.dataset.ImageFolderDataset', resolution=512)}
    with _stand_ins():
        path.write_bytes(pickle.dumps(content | networks | {'augment_pipe': None} | others, protocol=protocol))
    return path


# --- An EG3D of a few channels, as its training writes it

RENDERING = {
    'image_resolution': 512,
    'disparity_space_sampling': False,
    'clamp_mode': 'softplus',
    'superresolution_module': 'training.superresolution.SuperresolutionHybrid8XDC',
    'c_gen_conditioning_zero': False,
    'c_scale': 1.0,
    'superresolution_noise_mode': 'none',
    'decoder_lr_mul': 1,
    'sr_antialias': True,
    'depth_resolution': 12,
    'depth_resolution_importance': 12,
    'ray_start': 2.25,
    'ray_end': 3.3,
    'box_warp': 1,
    'avg_camera_pivot': [0, 0, 0.2],
}
INIT = {
    'z_dim': 32,
    'w_dim': 512,
    'mapping_kwargs': {'num_layers': 2},
    # Training has replaced all of this by the time the file is written.
    'rendering_kwargs': RENDERING | {'depth_resolution': 48, 'depth_resolution_importance': 48, 'box_warp': 2, 'ray_start': 'auto'},
    'num_fp16_res': 0,
    'conv_clamp': None,
    'c_dim': 25,
    'img_resolution': 512,
    'img_channels': 3,
}
MINI_EG3D = {
    'out_size': 16,
    'z_dim': 4,
    'w_dim': 6,
    'plane_size': 8,
    'plane_channels': 2,
    'channel_base': 32,
    'channel_max': 8,
    'feature_channels': 3,
    'superresolution_channels': [2, 2],
}


def mini_eg3d() -> EG3D:
    torch.manual_seed(0)
    return EG3D(**MINI_EG3D)


def write_mini_eg3d(path: Path, init: Any = (), rendering: Any = (), state: State | None = None) -> Path:
    """Write a snapshot of `mini_eg3d`, or of another `state`, and return its path.

    `init` are changes to its constructor's arguments, and `rendering` changes to what it renders with.
    """
    state = mini_eg3d().state_dict() if state is None else state
    return write_pickle(path, eg3d_network(state, INIT | dict(init), RENDERING | dict(rendering), 64))


def assert_same(state: State, expected: State) -> None:
    """Check that two state dicts have the same names and values, bit by bit."""
    assert state.keys() == expected.keys()
    assert [name for name in state if not torch.equal(state[name], expected[name])] == []


# --- torch.save, and safetensors

PTH_FORMS: dict[str, Callable[[State], dict[str, Any]]] = {
    'bare': dict,
    'G_ema': lambda state: {'G_ema': state},
    'params_ema': lambda state: {'params_ema': state},
    'params and params_ema': lambda state: {'params': {name: value + 1 for name, value in state.items()}, 'params_ema': state},
    'module.': lambda state: OrderedDict((f'module.{name}', value) for name, value in state.items()),
}


def write_pth(path: Path, content: Any, legacy: bool = False) -> Path:
    """Write `content` as `torch.save` does since version 1.6, or with `legacy` as it did before, and return the path."""
    torch.save(content, path, _use_new_zipfile_serialization=not legacy)
    return path


def write_safetensors(path: Path, state: State) -> Path:
    """Write a `.safetensors` whose metadata say nothing of its network, and return the path."""
    safetensors.torch.save_file(state, path)
    return path


class OldPickler(pickle._Pickler):
    """Pickles as torch 0.3 did under Python 2: text of bytes, ordered dictionaries of pairs, tensors of four arguments."""

    dispatch: ClassVar = dict(pickle._Pickler.dispatch)

    def __init__(self, stream: Any) -> None:
        super().__init__(stream, 2)
        self.storages: list[Tensor] = []

    def persistent_id(self, value: Any) -> Any:
        if not isinstance(value, Tensor):
            return None
        kind = {torch.float32: torch.FloatStorage, torch.int64: torch.LongStorage}[value.dtype]
        self.storages.append(value)
        return 'storage', kind, str(len(self.storages)), 'cpu', value.numel(), None

    def save_text(self, value: str) -> None:
        content = value.encode('latin1')
        self.write(b'U' + bytes([len(content)]) + content)
        self.memoize(value)

    dispatch[str] = save_text

    def reducer_override(self, value: Any) -> Any:
        if isinstance(value, OrderedDict):
            return OrderedDict, ([[name, item] for name, item in value.items()],)
        return NotImplemented

    def save_tensor(self, value: 'SavedTensor') -> None:
        values = value.values.contiguous()
        # A tensor of no dimension did not exist.
        shape = tuple(values.shape) or (1,)
        stride = values.reshape(shape).stride()
        self.save_reduce(torch._utils._rebuild_tensor, (values.flatten(), 0, shape, stride))


@dataclass
class SavedTensor:
    """A tensor that is pickled as one, where OldPickler takes a bare tensor for a storage."""

    values: Tensor


OldPickler.dispatch[SavedTensor] = OldPickler.save_tensor


def write_old_pth(path: Path, content: Any) -> Path:
    """Write dictionaries of tensors as `torch.save` of torch 0.3 did under Python 2, and return the path."""

    def marked(value: Any) -> Any:
        if isinstance(value, Tensor):
            return SavedTensor(value)
        return type(value)((name, marked(item)) for name, item in value.items()) if isinstance(value, dict) else value

    with path.open('wb') as stream:
        for head in (0x1950A86A20F9469CFC6C, 1001, {'protocol_version': 1001, 'little_endian': True, 'type_sizes': {}}):
            pickle.dump(head, stream, 2)
        pickler = OldPickler(stream)
        pickler.dump(marked(content))
        pickle.dump([str(number + 1) for number in range(len(pickler.storages))], stream, 2)
        for values in pickler.storages:
            stream.write(values.numel().to_bytes(8, 'little') + values.numpy().tobytes())
    return path


# --- The other layouts of StyleGAN2, out of BasicSR's


def rosinality_state(state: State) -> State:
    """Return a state dict in BasicSR's layout under rosinality's names, with the resampling filters that rosinality's have besides."""
    renamed = {}
    for key, value in state.items():
        name = key.replace('style_mlp.', 'style.').replace('constant_input.weight', 'input.input').replace('noises.noise', 'noises.noise_')
        name = name.replace('modulated_conv.', 'conv.').replace('style_conv', 'conv')
        *layer, last = name.split('.')
        is_strength = name.startswith('conv') and len(value.shape) == 1 and 'activate' not in name and 'modulation' not in name
        renamed['.'.join([*layer, 'noise', last] if is_strength else [*layer, last])] = value
        if key.startswith('style_convs.') and key.endswith('activate.bias') and int(layer[1]) % 2 == 0:
            renamed[f'convs.{layer[1]}.conv.blur.kernel'] = torch.ones(4, 4)
        if key.startswith('to_rgbs.') and last == 'bias' and len(layer) == 2:
            renamed[f'to_rgbs.{layer[1]}.upsample.kernel'] = torch.ones(4, 4)
    return renamed


def rosinality_checkpoint(state: State) -> dict[str, Any]:
    """Return what rosinality's training loop saves: networks, optimizers and the script's options, with `state` as g_ema."""
    optimizers = []
    for rate in (0.0016, 0.00188):
        parameter = nn.Parameter(torch.ones(2))
        optimizer = torch.optim.Adam([parameter], lr=rate, betas=(0.0, 0.99))
        parameter.grad = torch.ones(2)
        optimizer.step()
        optimizers.append(optimizer.state_dict())
    args = argparse.Namespace(path='ffhq.lmdb', size=64, r1=10.0, mixing=0.9, ckpt=None, distributed=False, latent=32, n_mlp=2)
    return {
        'g': {name: value + 1 for name, value in state.items()},
        'd': {'convs.0.0.weight': torch.ones(1), 'final_linear.1.bias': torch.ones(1)},
        'g_ema': state,
        'g_optim': optimizers[0],
        'd_optim': optimizers[1],
        'args': args,
        'ada_aug_p': 0.25,
    }


def nvidia_state(state: State) -> State:
    """Return a state dict in BasicSR's layout with StyleGAN2-ADA's names, shapes and scales.

    StyleGAN2-ADA does not divide the weights of its 3 x 3 convolutions at run time.
    """
    count = sum(key.startswith('to_rgbs.') and key.endswith('.bias') and 'modulation' not in key for key in state)
    convolutions = [('b4.conv1', 'style_conv1'), *((f'b{8 << i // 2}.conv{i % 2}', f'style_convs.{i}') for i in range(2 * count))]
    colours = [('b4.torgb', 'to_rgb1'), *((f'b{8 << i}.torgb', f'to_rgbs.{i}') for i in range(count))]
    found = {'synthesis.b4.const': state['constant_input.weight'][0]}
    for i, (their, own) in enumerate(convolutions):
        weight = state[f'{own}.modulated_conv.weight'][0]
        found[f'synthesis.{their}.weight'] = weight / math.sqrt(weight.shape[1] * 9)
        found[f'synthesis.{their}.noise_strength'] = state[f'{own}.weight'][0]
        found[f'synthesis.{their}.bias'] = state[f'{own}.activate.bias']
        found[f'synthesis.{their}.noise_const'] = state[f'noises.noise{i}'][0, 0]
        found[f'synthesis.{their}.resample_filter'] = torch.ones(4, 4)
    for their, own in colours:
        found[f'synthesis.{their}.weight'] = state[f'{own}.modulated_conv.weight'][0]
        found[f'synthesis.{their}.bias'] = state[f'{own}.bias'].flatten()
    for their, own in (*convolutions, *colours):
        for kind in ('weight', 'bias'):
            found[f'synthesis.{their}.affine.{kind}'] = state[f'{own}.modulated_conv.modulation.{kind}']
    for layer in range(sum(key.startswith('style_mlp.') for key in state) // 2):
        for kind in ('weight', 'bias'):
            found[f'mapping.fc{layer}.{kind}'] = state[f'style_mlp.{layer + 1}.{kind}']
    return found | {'mapping.w_avg': torch.ones(len(state['style_mlp.1.bias']))}
