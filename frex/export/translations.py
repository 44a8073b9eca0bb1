"""Translate the two operators of FREx that PyTorch's exporter does not know to ONNX."""

from collections.abc import Callable
from typing import Any

import torch
from onnxscript import opset18

# The annotations of opset18 are for numbers; here its functions add nodes to a graph.
op: Any = opset18


def cumprod(x: Any, dim: int, dtype: int | None = None) -> Any:
    """Return the cumulative product of positive numbers; the transmittance of an interval of a ray is at least 1e-10."""
    return op.Exp(op.CumSum(op.Log(x), op.Constant(value_int=dim)))


def searchsorted(edges: Any, values: Any, out_int32: bool = False, right: bool = False, side: str | None = None, sorter: Any = None) -> Any:
    """Return how many of each row's `edges` are at most the value, by bisection for all values at once.

    Raises ValueError for other arguments than `right=True`.
    """
    if out_int32 or not right or side is not None or sorter is not None:
        raise ValueError('only searchsorted(edges, values, right=True) can be exported')
    count = edges.shape[-1]
    found = op.Expand(_constant(0), op.Shape(values))
    for power in reversed(range(count.bit_length())):
        more = op.Add(found, _constant(2**power))
        edge = op.GatherElements(edges, op.Min(op.Sub(more, _constant(1)), _constant(count - 1)), axis=-1)
        passed = op.And(op.LessOrEqual(edge, values), op.LessOrEqual(more, _constant(count)))
        found = op.Where(passed, more, found)
    return found


def _constant(number: int) -> Any:
    """Return an integer constant of the graph."""
    return op.Constant(value_int=number)


TRANSLATIONS: dict[Callable[..., Any], Callable[..., Any]] = {
    torch.ops.aten.cumprod.default: cumprod,
    torch.ops.aten.searchsorted.Tensor: searchsorted,
}
