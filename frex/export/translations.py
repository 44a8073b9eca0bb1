"""Translate to ONNX the two operators that FREx uses and PyTorch's exporter cannot translate.

They are translated for FREx's calls only: `cumprod` of positive numbers, and `searchsorted` with `right=True`. `TRANSLATIONS` is the
table for the exporter.
"""

from collections.abc import Callable
from typing import Any

import torch
from onnxscript import opset18

# `Any`, since the annotations of opset18 are for numbers, while here its functions add nodes to a graph.
op: Any = opset18


def cumprod(x: Any, dim: int, dtype: int | None = None) -> Any:
    """Return the cumulative product of positive numbers, as the exponential of a sum of logarithms: ONNX has no such operator.

    FREx takes it of transmittances, which are at least 1e-10.
    """
    return op.Exp(op.CumSum(op.Log(x), op.Constant(value_int=dim)))


def searchsorted(edges: Any, values: Any, out_int32: bool = False, right: bool = False, side: str | None = None, sorter: Any = None) -> Any:
    """Return for each value how many of its row's sorted `edges` are at most that value, by bisection for all values at once.

    Raises ValueError unless the call is `searchsorted(edges, values, right=True)`, the only one in FREx.
    """
    if out_int32 or not right or side is not None or sorter is not None:
        raise ValueError('only searchsorted(edges, values, right=True) can be exported')
    count = edges.shape[-1]
    found = op.Expand(_make_integer(0), op.Shape(values))
    for power in reversed(range(count.bit_length())):
        more = op.Add(found, _make_integer(2**power))
        edge = op.GatherElements(edges, op.Min(op.Sub(more, _make_integer(1)), _make_integer(count - 1)), axis=-1)
        passed = op.And(op.LessOrEqual(edge, values), op.LessOrEqual(more, _make_integer(count)))
        found = op.Where(passed, more, found)
    return found


def _make_integer(number: int) -> Any:
    """Return an integer constant as a node of the graph."""
    return op.Constant(value_int=number)


TRANSLATIONS: dict[Callable[..., Any], Callable[..., Any]] = {
    torch.ops.aten.cumprod.default: cumprod,
    torch.ops.aten.searchsorted.Tensor: searchsorted,
}
