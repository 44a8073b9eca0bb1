"""ONNX for the two operators of FREx that PyTorch's exporter has none for."""

from collections.abc import Callable
from typing import Any

import torch
from onnxscript import opset18

# Its types are those of numbers; here it draws a graph.
op: Any = opset18


def cumprod(x: Any, dim: int, dtype: int | None = None) -> Any:
    """Cumulative product of positive numbers: what passes through the intervals of a ray is at least 1e-10."""
    return op.Exp(op.CumSum(op.Log(x), op.Constant(value_int=dim)))


def searchsorted(edges: Any, values: Any, out_int32: bool = False, right: bool = False, side: str | None = None, sorter: Any = None) -> Any:
    """How many of each row's `edges` are at most the value: bisection, all values at once. Raises ValueError for other forms of it."""
    if out_int32 or not right or side is not None or sorter is not None:
        raise ValueError('only searchsorted(edges, values, right=True) can be exported')
    count = edges.shape[-1]
    found = op.Expand(_whole(0), op.Shape(values))
    for power in reversed(range(count.bit_length())):
        more = op.Add(found, _whole(2**power))
        edge = op.GatherElements(edges, op.Min(op.Sub(more, _whole(1)), _whole(count - 1)), axis=-1)
        passed = op.And(op.LessOrEqual(edge, values), op.LessOrEqual(more, _whole(count)))
        found = op.Where(passed, more, found)
    return found


def _whole(number: int) -> Any:
    return op.Constant(value_int=number)


TRANSLATIONS: dict[Callable[..., Any], Callable[..., Any]] = {
    torch.ops.aten.cumprod.default: cumprod,
    torch.ops.aten.searchsorted.Tensor: searchsorted,
}
