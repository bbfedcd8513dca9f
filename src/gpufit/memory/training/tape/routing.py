"""torch's operators that route rows to experts and add them up again: topk, indexing by rows, sums.

Mirrors PyTorch 2.13, tools/autograd/derivatives.yaml.
"""

from __future__ import annotations

from gpufit.memory.training.tape.graph import Gradients, Node, only
from gpufit.memory.training.tape.tensor import Shape, Tensor


def top(x: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """``topk``: values and int64 indices, which are saved; the gradient is scattered into zeros."""
    whole = x.shape

    def back(node: Node, grads: Gradients) -> Gradients:
        g = only(grads)
        return (g.tape.empty(whole, g.dtype),)

    node = x.tape.node("topk", (x,), back)
    shape = (*whole[:-1], count)
    values, indices = x.tape.empty(shape, x.dtype), x.tape.empty(shape, "int64")
    x.tape.save(node, indices)
    x.tape.attach(node, values)
    return values, indices


def take(x: Tensor, rows: Tensor) -> Tensor:
    """``x[rows]``: a copy of those rows."""
    return _indexed(x, rows, (rows.elements, *x.shape[1:]))


def pick(x: Tensor, dim: int) -> Tensor:
    """``x[..., [i], :]``: a copy of one place by a list of indices."""
    return _indexed(x, x.tape.empty((1,), "int64"), (*x.shape[:dim], 1, *x.shape[dim + 1 :]))


def _indexed(x: Tensor, index: Tensor, shape: Shape) -> Tensor:
    """Saves the places' numbers; the gradient is added up in zeros of the whole (index_backward)."""
    whole = x.shape

    def back(node: Node, grads: Gradients) -> Gradients:
        g = only(grads)
        kept = g.tape.saved(node)
        out = g.tape.empty(whole, g.dtype)
        del kept
        return (out,)

    node = x.tape.node("index", (x,), back)
    x.tape.save(node, index)
    out = x.tape.empty(shape, x.dtype)
    x.tape.attach(node, out)
    return out


def sum_over(x: Tensor, dim: int, *, keep: bool = False) -> Tensor:
    """``sum``: saves nothing; its gradient is a view with stride 0."""
    whole = x.shape

    def back(node: Node, grads: Gradients) -> Gradients:
        g = only(grads)
        strides = (*g.strides[:dim], 0, *g.strides[dim + int(keep) :])
        return (g.alias(whole, strides),)

    node = x.tape.node("sum", (x,), back)
    out = x.tape.empty((*whole[:dim], *((1,) if keep else ()), *whole[dim + 1 :]), x.dtype)
    x.tape.attach(node, out)
    return out
