"""Golden records: outputs of the official EG3D, StyleGAN2 and ArcFace on weights made from their parameters' names.

No weights are stored. `fill` draws each of them from its official name and a seed, with numpy's frozen legacy
generator, exactly as was done where the records were made.
"""

import json
import re
import zlib
from pathlib import Path

import numpy as np
import torch
from torch import nn

FOLDER = Path(__file__).parent.parent / 'goldens'
SEED = 20250501

# A big tensor is recorded by samples at these positions (C order) and its mean and deviation.
SAMPLE_COUNT = 4096
SAMPLE_STEP = 1000003

# Name pattern -> offset, scale; the first match wins, anything else is 0, 1.
RULES = [
    (r'(^|\.)noise_strength$', 0.1, 0.03),
    (r'(^|\.)style_conv(1|s\.\d+)\.weight$', 0.1, 0.03),
    (r'(^|\.)(noise_const|noises\.noise\d+)$', 0.0, 1.0),
    (r'(^|\.)w_avg$', 0.0, 0.1),
    (r'(^|\.)(mapping\.fc|style_mlp\.)\d+\.weight$', 0.0, 100.0),
    (r'(^|\.)(mapping\.fc|style_mlp\.)\d+\.bias$', 0.0, 10.0),
    (r'(^|\.)(affine|modulation)\.bias$', 1.0, 0.1),
    (r'(^|\.)running_mean$', 0.0, 0.1),
    (r'(^|\.)prelu\.weight$', 0.25, 0.05),
    (r'(^|\.)bias$', 0.0, 0.1),
]


def _draw(name: str, shape: tuple[int, ...]) -> np.ndarray:
    return np.random.RandomState([SEED, zlib.crc32(name.encode())]).standard_normal(shape).reshape(shape)


def _value(name: str, shape: tuple[int, ...], equalized: bool, batch_norm: bool) -> np.ndarray:
    draw = _draw(name, shape)
    if name.endswith('resample_filter'):
        taps = np.array([1.0, 3.0, 3.0, 1.0])
        return np.outer(taps, taps) / 64
    if name.endswith('num_batches_tracked'):
        return np.zeros(shape)
    if name.endswith('running_var'):
        return np.abs(draw) + 0.5
    if batch_norm and name.endswith('.weight'):
        return 1.0 + 0.1 * draw
    for pattern, offset, scale in RULES:
        if re.search(pattern, name):
            return offset + scale * draw
    if not equalized and draw.ndim >= 2:
        draw = draw / np.sqrt(np.prod(shape[1:]))
    if name.endswith('decoder.net.2.weight'):
        draw[0] *= 16.0  # density: so that rays meet something solid
    return draw


def fill(keys: dict[str, dict], prefix: str = '', equalized: bool = True) -> dict[str, torch.Tensor]:
    """Return the state dict for official `keys` (name -> shape and dtype), drawn as if their names began with `prefix`.

    With `equalized` the weights of convolutions and linear layers have a standard deviation of 1, as for layers that scale them at run
    time; else it falls with the number of inputs.
    """
    state = {}
    for name, info in keys.items():
        batch_norm = name.rpartition('.')[0] + '.running_var' in keys
        value = _value(prefix + name, tuple(info['shape']), equalized, batch_norm)
        state[name] = torch.from_numpy(np.asarray(value, dtype=info['dtype']))
    return state


def load_official(net: nn.Module, keys: dict[str, dict], prefix: str = '', equalized: bool = True) -> nn.Module:
    """Load the weights that `fill` draws for official `keys` into `net` and return it; names, order and shapes must be its own."""
    state = fill(keys, prefix, equalized)
    assert [(name, value.shape) for name, value in net.state_dict().items()] == [(name, value.shape) for name, value in state.items()]
    net.load_state_dict(state)
    return net


class Golden:
    """The records of the file `name` in FOLDER; `keys` are the official names of weights, with shapes and dtypes."""

    def __init__(self, name: str) -> None:
        self.arrays = dict(np.load(FOLDER / f'{name}.npz'))
        keys = FOLDER / f'{name}.keys.json'
        self.keys = json.loads(keys.read_text()) if keys.exists() else {}

    def __getitem__(self, record: str) -> torch.Tensor:
        """Return a record that is stored whole; raise KeyError for one that is stored by samples."""
        return torch.from_numpy(self.arrays[record])

    def difference(self, record: str, value: torch.Tensor) -> float:
        """Return the largest difference of `value` to all that is recorded of `record`: its values, samples, statistics and crop."""
        got = value.detach().numpy().astype(np.float64)
        found = []
        if record in self.arrays:
            assert self.arrays[record].shape == got.shape, (record, self.arrays[record].shape, got.shape)
            found.append(np.abs(got - self.arrays[record]).max())
        if f'{record}@sample' in self.arrays:
            assert tuple(self.arrays[f'{record}@shape']) == got.shape, (record, got.shape)
            positions = (np.arange(SAMPLE_COUNT, dtype=np.int64) * SAMPLE_STEP) % got.size
            found.append(np.abs(got.reshape(-1)[positions] - self.arrays[f'{record}@sample']).max())
            found.append(np.abs(np.array([got.mean(), got.std()]) - self.arrays[f'{record}@stat'][:2]).max())
        if f'{record}@crop' in self.arrays:
            top, bottom, left, right = self.arrays[f'{record}@crop_at']
            found.append(np.abs(got[..., top:bottom, left:right] - self.arrays[f'{record}@crop']).max())
        assert found, f'no record {record}'
        return float(np.max(found))

    def mean_difference(self, record: str, value: torch.Tensor) -> float:
        """Return the mean difference of `value` over the samples of `record`; raise KeyError where it has none."""
        got = value.detach().numpy().astype(np.float64).reshape(-1)
        positions = (np.arange(SAMPLE_COUNT, dtype=np.int64) * SAMPLE_STEP) % got.size
        return float(np.abs(got[positions] - self.arrays[f'{record}@sample']).mean())
