"""A measure of identity that FREx is not trained with: dlib's face recognition network, from the npm package @vladmandic/face-api.

    python benchmarks/small/identity.py --weights FOLDER --faces FOLDER --manifest manifest.csv

checks it on aligned faces of known people: pairs of one person must be closer than pairs of two. Missing files of the network are fetched
into `--weights`. The network takes a 150 x 150 chip (crop) of the face and returns a descriptor of 128 numbers (D. King, dlib's
dnn_face_recognition_ex, 2017).
"""

import csv
import hashlib
import io
import json
import tarfile
from argparse import ArgumentParser, Namespace
from collections import defaultdict
from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import requests
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from frex.errors import FRExError
from frex.images import read_image
from frex.tensors import to_tensor
from frex.utils.files import write_atomically
from frex.weights.state_dict import load_strict

PACKAGE = 'https://registry.npmjs.org/@vladmandic/face-api/-/face-api-1.7.15.tgz'
MANIFEST, BINARY = 'face_recognition_model-weights_manifest.json', 'face_recognition_model.bin'
SHA256 = {
    MANIFEST: 'cbaffa501b0b9275a12b63357a6843e7e30c054e1c9151e1a5f879b26e32986b',
    BINARY: 'b413e420d6840b2775fba32008db6f3cddb07d485967fb42cfcf379c16a8c589',
}
# In widths of a face in FFHQ alignment, dlib's chip is the square from (0.18, 0.25), 0.69 wide: by the similarity that brings the eyes,
# the nose and the corners of the mouth of FFHQ's mean face nearest to those of dlib's (with its padding of 0.25, by least squares).
# A face resized to `FACE` has that square at its full size, from `TOP`, `LEFT`.
CHIP, FACE, TOP, LEFT = 150, 216, 54, 34
# The mean colour that the network subtracts, RGB, of 255.
MEAN = (122.782, 117.001, 104.298)
# Name, width and stride of each residual block.
BLOCKS = (
    *((f'conv32_{number}', 32, 1) for number in (1, 2, 3)),
    ('conv64_down', 64, 2),
    *((f'conv64_{number}', 64, 1) for number in (1, 2, 3)),
    ('conv128_down', 128, 2),
    *((f'conv128_{number}', 128, 1) for number in (1, 2)),
    ('conv256_down', 256, 2),
    *((f'conv256_{number}', 256, 1) for number in (1, 2)),
    ('conv256_down_out', 256, 2),
)


class ScaledConvolution(nn.Module):
    """A convolution, then a factor and an offset for each channel: batch normalization with its statistics fixed after training."""

    def __init__(self, inputs: int, outputs: int, size: int, stride: int) -> None:
        super().__init__()
        # Convolutions with a stride are not padded, the others with zeros.
        self.conv = nn.Conv2d(inputs, outputs, size, stride, padding=0 if stride == 2 else size // 2)
        self.weights, self.biases = nn.Parameter(torch.ones(outputs)), nn.Parameter(torch.zeros(outputs))

    def forward(self, x: Float[Tensor, 'batch channel height width']) -> Float[Tensor, 'batch _ _ _']:
        """Return the scaled features, before an activation."""
        return self.conv(x) * self.weights[:, None, None] + self.biases[:, None, None]


class Residual(nn.Module):
    """A residual block of two convolutions; where they halve the image, the shortcut averages 2 x 2 pixels."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.stride = stride
        self.conv1 = ScaledConvolution(inputs, outputs, 3, stride)
        self.conv2 = ScaledConvolution(outputs, outputs, 3, 1)

    def forward(self, x: Float[Tensor, 'batch channel height width']) -> Float[Tensor, 'batch _ _ _']:
        """Return the sum of both branches after a ReLU; channels, rows or columns that one of them lacks count as zeros."""
        inner = self.conv2(F.relu(self.conv1(x)))
        outer = x if self.stride == 1 else F.avg_pool2d(x, 2)
        shape = [max(sizes) for sizes in zip(inner.shape[1:], outer.shape[1:], strict=True)]
        return F.relu(_pad_with_zeros(inner, shape) + _pad_with_zeros(outer, shape))


def _pad_with_zeros(x: Tensor, shape: Sequence[int]) -> Tensor:
    """Append zeros to channels, rows and columns up to `shape` (channel, height, width)."""
    lacking = [most - there for most, there in zip(shape, x.shape[1:], strict=True)]
    return F.pad(x, (0, lacking[2], 0, lacking[1], 0, lacking[0])) if any(lacking) else x


class FaceDescriptor(nn.Module):
    """dlib's network of 29 convolutions: chips of faces in, descriptors of 128 numbers out."""

    mean: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.conv32_down = ScaledConvolution(3, 32, 7, 2)
        inputs = 32
        for name, outputs, stride in BLOCKS:
            self.add_module(name, Residual(inputs, outputs, stride))
            inputs = outputs
        self.fc = nn.Linear(256, 128, bias=False)
        self.register_buffer('mean', torch.tensor(MEAN).view(1, 3, 1, 1), persistent=False)

    def forward(self, chip: Float[Tensor, 'batch 3 150 150']) -> Float[Tensor, 'batch 128']:
        """Return the descriptors of RGB chips in [0, 255]."""
        x = F.relu(self.conv32_down((chip - self.mean) / 256))
        x = F.max_pool2d(x, 3, stride=2)
        for name, _, _ in BLOCKS:
            x = self.get_submodule(name)(x)
        return self.fc(x.mean(dim=(2, 3)))


def cut_chips(faces: Float[Tensor, 'batch 3 size size']) -> Float[Tensor, 'batch 3 150 150']:
    """Return dlib's chips, RGB in [0, 255], of faces in FFHQ alignment, RGB in [-1, 1]."""
    resized = F.interpolate(faces, (FACE, FACE), mode='bilinear', align_corners=False, antialias=True)
    return (resized[:, :, TOP : TOP + CHIP, LEFT : LEFT + CHIP] + 1) * 127.5


class Identity:
    """Computes descriptors of faces by dlib's network, whose files are in the folder `weights` or are fetched into it."""

    def __init__(self, weights: Path) -> None:
        self.net = FaceDescriptor().requires_grad_(False).eval()
        manifest, binary = (read_or_fetch(weights, name) for name in (MANIFEST, BINARY))
        load_strict(self.net, _to_state_dict(read_quantized(json.loads(manifest), binary)), BINARY)

    @torch.inference_mode()
    def describe(self, faces: Float[Tensor, 'batch 3 size size']) -> Float[Tensor, 'batch 128']:
        """Return the descriptors of faces of any size in FFHQ alignment, RGB in [-1, 1]."""
        return self.net(cut_chips(faces))


def read_or_fetch(folder: Path, name: str) -> bytes:
    """Return the content of a file of the network, fetched where it is missing; raise FRExError for another content than the published."""
    path = folder / name
    if not path.is_file():
        fetch(folder)
    content = path.read_bytes()
    if hashlib.sha256(content).hexdigest() != SHA256[name]:
        raise FRExError(f'{path}: damaged, or another version; delete it, and it is fetched again')
    return content


def fetch(folder: Path) -> None:
    """Extract the two files of the network from the npm package into `folder`; raise FRExError where it cannot be fetched."""
    try:
        response = requests.get(PACKAGE, timeout=60)
        response.raise_for_status()
        with tarfile.open(fileobj=io.BytesIO(response.content)) as archive:
            members = {name: archive.extractfile(f'package/model/{name}') for name in SHA256}
            contents = {name: member.read() for name, member in members.items() if member is not None}
    except (requests.RequestException, tarfile.TarError, KeyError, OSError) as error:
        raise FRExError(f'{PACKAGE}: cannot be fetched ({error}); put {MANIFEST} and {BINARY} into {folder}') from None
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in contents.items():
        with write_atomically(folder / name) as part:
            part.write_bytes(content)


def read_quantized(manifest: Sequence[Mapping[str, Any]], content: bytes) -> dict[str, np.ndarray]:
    """Return the arrays of a weight file of TensorFlow.js by name.

    The file holds one after the other, as float32, or as uint8 with a scale and a minimum in the manifest. Raises FRExError where file and
    manifest do not fit.
    """
    arrays, offset = {}, 0
    for entry in (entry for group in manifest for entry in group['weights']):
        quantization = entry.get('quantization')
        kind = np.dtype(quantization['dtype'] if quantization else entry['dtype']).newbyteorder('<')
        count = int(np.prod(entry['shape']))
        values = np.frombuffer(content, kind, count, offset).reshape(entry['shape']).astype(np.float32)
        if quantization:
            values = values * np.float32(quantization['scale']) + np.float32(quantization['min'])
        arrays[entry['name']] = values
        offset += count * kind.itemsize
    if offset != len(content):
        raise FRExError(f'a weights file of {len(content)} bytes, of which its manifest describes {offset}')
    return arrays


def _to_state_dict(arrays: Mapping[str, np.ndarray]) -> dict[str, Tensor]:
    """Rename and transpose TensorFlow's weights: (height, width, in, out) of convolutions, (in, out) of the dense layer."""
    state = {}
    for name, values in arrays.items():
        key = name.replace('/scale/', '/').replace('filters', 'weight').replace('/', '.')
        axes = {4: (3, 2, 0, 1), 2: (1, 0)}.get(values.ndim, (0,))
        state['fc.weight' if key == 'fc' else key] = torch.from_numpy(np.ascontiguousarray(values.transpose(axes)))
    return state


# --- The check on known people


def area_under_curve(same: np.ndarray, different: np.ndarray) -> float:
    """Return the area under the ROC curve: how often a pair of one person scores above a pair of two, ties counted half."""
    ranks = np.searchsorted(np.sort(different), same, side='left') + np.searchsorted(np.sort(different), same, side='right')
    return float(ranks.mean() / (2 * len(different)))


def read_people(manifest: Path, faces: Path, most: int) -> dict[str, list[Path]]:
    """Return up to four files of each of up to `most` people, by the manifest's column `person`.

    Only people with at least two files below the folder `faces` count. Which of them are taken is random, with a fixed seed. The column
    `file` holds paths relative to the manifest's folder.
    """
    people = defaultdict(list)
    with manifest.open(newline='') as stream:
        for row in csv.DictReader(stream):
            path = manifest.parent / row['file']
            if path.resolve().is_relative_to(faces.resolve()):
                people[row['person']].append(path)
    several = [person for person, paths in sorted(people.items()) if len(paths) > 1]
    chosen = np.random.default_rng(0).permutation(len(several))[:most]
    return {several[place]: people[several[place]][:4] for place in chosen}


def check(args: Namespace) -> dict[str, Any]:
    """Compare pairs of one person with pairs of two people, by the cosine and by the distance of their descriptors.

    Returns the numbers of people, faces and pairs and, for cosine and distance, the means of both kinds of pairs and the area under the
    ROC curve.
    """
    identity = Identity(args.weights)
    people = read_people(args.manifest, args.faces, args.people)
    paths = [path for files in people.values() for path in files]
    owners = np.array([person for person, files in people.items() for _ in files])
    faces = [to_tensor(read_image(path)) for path in paths]
    found = torch.cat([identity.describe(torch.stack(faces[first : first + 32])) for first in range(0, len(faces), 32)])
    pairs = np.array(list(combinations(range(len(paths)), 2)))
    is_same = owners[pairs[:, 0]] == owners[pairs[:, 1]]
    cosines = (F.normalize(found) @ F.normalize(found).T).numpy()[pairs[:, 0], pairs[:, 1]]
    distances = torch.cdist(found, found).numpy()[pairs[:, 0], pairs[:, 1]]
    pairs_of_one = int(is_same.sum())
    counts = {'pairs of one': pairs_of_one, 'pairs of two': len(pairs) - pairs_of_one}
    results: dict[str, Any] = {'people': len(people), 'faces': len(paths), **counts}
    for name, values, sign in (('cosine', cosines, 1), ('distance', distances, -1)):
        same, different = values[is_same], values[~is_same]
        results[name] = {
            'mean of one': round(float(same.mean()), 4),
            'mean of two': round(float(different.mean()), 4),
            'area under curve': round(area_under_curve(sign * same, sign * different), 4),
        }
    return results


if __name__ == '__main__':
    parser = ArgumentParser(description=__doc__.partition('\n')[0], allow_abbrev=False)
    parser.add_argument('--weights', required=True, type=Path, metavar='DIR', help='folder of the network; fetched if missing')
    parser.add_argument('--faces', required=True, type=Path, metavar='DIR', help='aligned faces, at any depth below the manifest')
    parser.add_argument('--manifest', required=True, type=Path, metavar='FILE', help='CSV with the columns file and person')
    parser.add_argument('--people', type=int, default=300, metavar='N', help='how many people are compared (default: 300)')
    print(json.dumps(check(parser.parse_args()), indent=2))
