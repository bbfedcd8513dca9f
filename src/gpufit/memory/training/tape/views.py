"""torch's views and what their gradients cost: another look at the same storage, or a copy where strides forbid one.

Mirrors PyTorch 2.13, tools/autograd/derivatives.yaml and torch/csrc/autograd/FunctionsManual.cpp.
"""

from __future__ import annotations

from math import prod

from gpufit.memory.training.tape.graph import Backward, Gradients, Node, only, passed
from gpufit.memory.training.tape.ops import promoted
from gpufit.memory.training.tape.tensor import Shape, Tensor, viewed


def _view(x: Tensor, name: str, shape: Shape, strides: Shape, backward: Backward) -> Tensor:
    node = x.tape.node(name, (x,), backward)
    out = x.alias(shape, strides)
    x.tape.attach(node, out)
    return out


def _back_to(shape: Shape) -> Backward:
    def run(node: Node, grads: Gradients) -> Gradients:
        return (reshaped(only(grads), shape),)

    return run


def reshaped(x: Tensor, shape: Shape) -> Tensor:
    """``reshape`` outside the graph: a view where strides allow, else a copy."""
    if x.shape == shape:
        return x
    strides = viewed(x.shape, x.strides, shape)
    return x.alias(shape, strides) if strides is not None else x.tape.empty(shape, x.dtype)


def view(x: Tensor, *shape: int) -> Tensor:
    """``view``; ``reshape`` where strides allow."""
    shape = _fill(x, shape)
    strides = viewed(x.shape, x.strides, shape)
    if strides is None:
        raise ValueError(f"{x.shape} with strides {x.strides} has no view of shape {shape}")
    return _view(x, "view", shape, strides, _back_to(x.shape))


def reshape(x: Tensor, *shape: int) -> Tensor:
    """``reshape``: a view, or a clone seen in the new shape."""
    shape = _fill(x, shape)
    if viewed(x.shape, x.strides, shape) is not None:
        return view(x, *shape)
    return view(contiguous(x), *shape)


def _fill(x: Tensor, shape: Shape) -> Shape:
    if -1 not in shape:
        return shape
    known = -prod(shape)
    return tuple(x.elements // known if size == -1 else size for size in shape)


def contiguous(x: Tensor) -> Tensor:
    """``contiguous``: itself, or a clone."""
    return x if x.contiguous else clone(x)


def clone(x: Tensor) -> Tensor:
    """``clone``, row by row."""
    node = x.tape.node("clone", (x,), passed)
    out = x.tape.empty(x.shape, x.dtype)
    x.tape.attach(node, out)
    return out


def transpose(x: Tensor, left: int, right: int) -> Tensor:
    """``transpose``: a view."""

    def swap(t: Tensor) -> Tensor:
        shape, strides = list(t.shape), list(t.strides)
        shape[left], shape[right] = shape[right], shape[left]
        strides[left], strides[right] = strides[right], strides[left]
        return t.alias(tuple(shape), tuple(strides))

    def back(node: Node, grads: Gradients) -> Gradients:
        return (swap(only(grads)),)

    turned = swap(x)
    turned.node, turned.slot = None, 0
    x.tape.attach(x.tape.node("transpose", (x,), back), turned)
    return turned


def permute(x: Tensor, *order: int) -> Tensor:
    """``permute``: a view."""
    inverse = tuple(order.index(dim) for dim in range(len(order)))

    def turn(t: Tensor, by: tuple[int, ...]) -> Tensor:
        return t.alias(tuple(t.shape[dim] for dim in by), tuple(t.strides[dim] for dim in by))

    def back(node: Node, grads: Gradients) -> Gradients:
        return (turn(only(grads), inverse),)

    out = turn(x, order)
    x.tape.attach(x.tape.node("permute", (x,), back), out)
    return out


def unsqueeze(x: Tensor, dim: int) -> Tensor:
    """``unsqueeze``: a view with one more dimension."""
    dim = dim % (len(x.shape) + 1)
    step = x.strides[dim] * x.shape[dim] if dim < len(x.shape) else 1
    shape, strides = (*x.shape[:dim], 1, *x.shape[dim:]), (*x.strides[:dim], step, *x.strides[dim:])

    def back(node: Node, grads: Gradients) -> Gradients:
        g = only(grads)
        return (g.alias((*g.shape[:dim], *g.shape[dim + 1 :]), (*g.strides[:dim], *g.strides[dim + 1 :])),)

    return _view(x, "unsqueeze", shape, strides, back)


def expand(x: Tensor, *shape: int) -> Tensor:
    """``expand``: a view whose repeated dimensions have stride 0; its gradient is summed over them."""
    shape = tuple(x.shape[at] if size == -1 else size for at, size in enumerate(shape))
    strides = tuple(
        0 if mine == 1 != size else stride for mine, size, stride in zip(x.shape, shape, x.strides, strict=True)
    )

    def back(node: Node, grads: Gradients) -> Gradients:
        g = only(grads)
        return (g if g.shape == x_shape else g.tape.empty(x_shape, g.dtype),)

    x_shape = x.shape
    return _view(x, "expand", shape, strides, back)


def narrow(x: Tensor, dim: int, length: int) -> Tensor:
    """``x[..., a:b]``: a view; its gradient is laid into zeros of the whole (slice_backward)."""
    dim = dim % len(x.shape)
    if length == x.shape[dim]:
        return x
    shape = (*x.shape[:dim], length, *x.shape[dim + 1 :])
    whole = x.shape

    def back(node: Node, grads: Gradients) -> Gradients:
        g = only(grads)
        return (g.tape.empty(whole, g.dtype),)

    return _view(x, "slice", shape, x.strides, back)


def pad(x: Tensor, more: int) -> Tensor:
    """``F.pad`` of the last dimension: a new tensor; its gradient is cut back into another (constant_pad_nd)."""
    whole = x.shape

    def back(node: Node, grads: Gradients) -> Gradients:
        return (only(grads).tape.empty(whole, only(grads).dtype),)

    node = x.tape.node("pad", (x,), back)
    out = x.tape.empty((*whole[:-1], whole[-1] + more), x.dtype)
    x.tape.attach(node, out)
    return out


def split(x: Tensor, dim: int, sizes: tuple[int, ...]) -> tuple[Tensor, ...]:
    """``split`` and ``chunk``: views; their gradients are joined (split_with_sizes_backward)."""
    dim = dim % len(x.shape)
    whole = x.shape
    node = x.tape.node("split", (x,), lambda node, grads: _joined(grads, whole))
    parts = tuple(x.alias((*whole[:dim], size, *whole[dim + 1 :]), x.strides) for size in sizes)
    x.tape.attach(node, *parts)
    return parts


def unbind(x: Tensor, dim: int) -> tuple[Tensor, ...]:
    """``unbind`` and ``x[..., i, :]`` for every i: views; their gradients are stacked."""
    dim = dim % len(x.shape)
    whole = x.shape
    node = x.tape.node("unbind", (x,), lambda node, grads: _joined(grads, whole))
    shape = (*whole[:dim], *whole[dim + 1 :])
    parts = tuple(x.alias(shape, (*x.strides[:dim], *x.strides[dim + 1 :])) for _ in range(whole[dim]))
    x.tape.attach(node, *parts)
    return parts


def select(x: Tensor, dim: int) -> Tensor:
    """``x[:, i]``: a view; its gradient is laid into zeros (select_backward)."""
    dim = dim % len(x.shape)
    whole = x.shape

    def back(node: Node, grads: Gradients) -> Gradients:
        return (only(grads).tape.empty(whole, only(grads).dtype),)

    shape = (*whole[:dim], *whole[dim + 1 :])
    return _view(x, "select", shape, (*x.strides[:dim], *x.strides[dim + 1 :]), back)


def _joined(grads: Gradients, whole: Shape) -> Gradients:
    g = next(g for g in grads if g is not None)
    blanks = [g.tape.empty(g.shape, g.dtype) for other in grads if other is None]
    joined = g.tape.empty(whole, g.dtype)
    del blanks
    return (joined,)


def cat(parts: tuple[Tensor, ...], dim: int) -> Tensor:
    """``cat``: one new tensor; gradients are views of the whole one (narrow)."""
    first = parts[0]
    dim = dim % len(first.shape)
    sizes = [t.shape[dim] for t in parts]

    def back(node: Node, grads: Gradients) -> Gradients:
        g = only(grads)
        return [
            g.alias((*g.shape[:dim], size, *g.shape[dim + 1 :]), g.strides) if node.needs(at) else None
            for at, size in enumerate(sizes)
        ]

    node = first.tape.node("cat", parts, back)
    shape = (*first.shape[:dim], sum(sizes), *first.shape[dim + 1 :])
    out = first.tape.empty(shape, promoted(*parts))
    first.tape.attach(node, out)
    return out
