"""The model card (README.md) that `frex weights push` uploads with a checkpoint: it describes the network by its arguments."""

import json
import re

import torch
import yaml

from frex.errors import FRExError
from frex.weights.hub import Repository
from frex.weights.network_file import NetworkFile
from frex_arch import FREx

TAGS = ['frex', 'face-restoration', 'blind-face-restoration', 'image-restoration', 'eg3d', 'stylegan2']

# Name of a part of FREx -> what it does.
PARTS = {
    'encoder_3d': "encoder of the 3D prior: EG3D's latent codes and the camera",
    'eg3d': 'EG3D, the 3D prior: the structure',
    'encoder_2d': 'encoder of the degraded face',
    'pyramid_3d': 'features of the structure at each size, for the decoder',
    'decoder_2d': 'decoder of the degraded face, completed by the 3D prior',
    'stylegan2': 'StyleGAN2, the 2D prior: the texture',
    'fusion': 'fusion of both at each size',
    'to_image': 'last convolution, instead of toRGB layers',
}
# Argument of FREx -> the part of the paper's network that False leaves out.
SWITCHES = {
    'use_3d_prior': 'the 3D prior',
    'use_awb': 'the adaptive weighting block (AWB)',
    'use_cross_attention': 'cross-attention',
}

CARD = """
# {title}

A [FREx](https://ojs.aaai.org/index.php/AAAI/article/view/27889) network. It restores faces from images that are nearly lost:
extreme blur, noise, low resolution and head poses. Its results have {size} x {size} pixels.

`frex weights push` wrote this card from the checkpoint.

## Restore with it

Install FREx with its extra `hub`. Then:

```bash
frex weights download --for restore
frex restore -i photos -o results --model_path {repository}
```

```python
from frex import FaceRestorer

restorer = FaceRestorer.from_pretrained('{repository}')
result = restorer.restore('photo.jpg')
```

`model.safetensors` holds the weights and the constructor's arguments. FREx reads it as data: no code in it runs.

## The network

| part | what it does | parameters |
|---|---|---|
{parts}
| **all** | | **{total:,}** |

- Faces: {size} x {size} pixels, in FFHQ alignment.
- Sizes at which the two priors are fused: {fused}.
- Switched off: {off}.
- The numbers are stored in {precision}.

The constructor's arguments:

```json
{arguments}
```

## Limits

- It is not for identification. It invents what the input does not show. A restored face is a plausible face,
  not evidence of who is in the image.
- It restores faces only. It does nothing about the rest of an image.
- A face that holds more detail than {size} x {size} pixels can is left as it is, unless `--force` is given.
- The checkpoint does not say what data it was trained on, nor how good its results are. It may work worse for people whom
  its data show less often. Whoever publishes it should add this here.

## Licence

{licence} Weights that contain or were trained with NVIDIA's EG3D, or were trained on FFHQ, are for non-commercial use.
"""


def check_license(license_id: str | None) -> str | None:
    """Return an identifier of a licence in lower case, as the Hub writes it; None stays None.

    Raises FRExError where the identifier has characters that none has. Whether the Hub knows it is not checked.
    """
    if license_id is not None and not re.fullmatch(r'[A-Za-z0-9][A-Za-z0-9.+-]*', license_id):
        raise FRExError(f'--license {license_id}: give an identifier of the Hub, e.g. apache-2.0, cc-by-nc-sa-4.0 or other')
    return None if license_id is None else license_id.lower()


def write_card(file: NetworkFile, repository: Repository, license_id: str | None = None, half: bool = False) -> str:
    """Return the text of README.md for a FREx that `check_network` has passed: YAML for the Hub, then Markdown.

    `half` says that its numbers are stored in float16. Without `license_id` the card says that no licence is stated.
    """
    with torch.device('meta'):
        net = FREx(**file.arguments)
    counts = {name: sum(value.numel() for value in part.parameters()) for name, part in net.named_children()}
    off = [part for switch, part in SWITCHES.items() if not file.arguments.get(switch, True)]
    metadata = {'library_name': 'frex', **({'license': license_id} if license_id else {}), 'pipeline_tag': 'image-to-image', 'tags': TAGS}
    text = CARD.format(
        title=repository.name.partition('/')[2],
        repository=repository,
        size=net.out_size,
        parts='\n'.join(f'| `{name}` | {PARTS[name]} | {count:,} |' for name, count in counts.items()),
        total=sum(counts.values()),
        fused=', '.join(net.fusion),
        off=', '.join(off) or 'nothing, it is the whole network of the paper',
        precision=_describe_precision(file, half),
        arguments=json.dumps(file.arguments, indent=2, sort_keys=True),
        licence=f'As the uploader states it: `{license_id}`.' if license_id else 'The uploader has not stated a licence.',
    )
    return f'---\n{yaml.safe_dump(metadata, sort_keys=False)}---\n{text}'


def _describe_precision(file: NetworkFile, half: bool) -> str:
    dtypes = {torch.float16} if half else {value.dtype for value in file.state.values() if value.is_floating_point()}
    names = ' and '.join(sorted(str(dtype).removeprefix('torch.') for dtype in dtypes))
    return names if names == 'float32' else f'{names}; FREx calculates with float32'
