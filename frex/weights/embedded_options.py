"""The options of a network as one more tensor beside its weights, for programs that read the tensors of a file and nothing else.

spandrel is one, and with it chaiNNer and ComfyUI. The tensor holds the bytes of the options' JSON, which `find_options` returns as text.
FREx reads the options from it where the file does not state them otherwise, and leaves the tensor out of the state dict.
"""

import json
from collections.abc import Mapping
from typing import Any

import torch
from jaxtyping import UInt8
from torch import Tensor

# The name of the tensor. No network of FREx has a weight of this name.
OPTIONS_KEY = 'frex_options'
# The longest options in bytes of JSON; those of FREx have some hundred.
MOST_BYTES = 1 << 16


def encode_options(options: Mapping[str, Any]) -> UInt8[Tensor, ' bytes']:
    """Return the `type` and the constructor arguments of a network as a tensor: the bytes of their JSON."""
    return torch.frombuffer(bytearray(json.dumps(options).encode()), dtype=torch.uint8)


def is_options_tensor(name: str, value: Any) -> bool:
    """Return whether an entry of a state dict may be a result of `encode_options`, by its name, dtype and shape."""
    is_bytes = isinstance(value, Tensor) and value.dtype == torch.uint8 and value.ndim == 1
    return name == OPTIONS_KEY and is_bytes and 0 < len(value) <= MOST_BYTES


def find_options(content: Mapping[Any, Any]) -> str | None:
    """Return the options that a state dict holds, as JSON; None where it holds none. Raises ValueError where they are not UTF-8."""
    value = content.get(OPTIONS_KEY)
    return bytes(value.tolist()).decode() if value is not None and is_options_tensor(OPTIONS_KEY, value) else None
