"""torch's operators: what each allocates, what autograd saves for it, and what its backward allocates.

Mirrors PyTorch 2.13, tools/autograd/derivatives.yaml (which tensors are saved) and torch/csrc/autograd/
FunctionsManual.cpp (what backward computes). Inputs are saved before an operation runs, results after.
"""

from __future__ import annotations

from math import prod

from gpufit.memory.training.tape.graph import Gradients, Node
from gpufit.memory.training.tape.tensor import FORMAT_BYTES, Shape, Tensor, broadcast, laid_out, row_major, viewed

_WIDTH = {"fp32": 3, "bf16": 2, "fp16": 2, "int64": 1, "int32": 1, "int8": 1, "bool": 0}


def promoted(*tensors: Tensor) -> str:
    """The number format of an operation on several tensors; a single number counts only if nothing else does."""
    formats = [t.dtype for t in tensors if t.shape] or [t.dtype for t in tensors]
    return max(formats, key=_WIDTH.__getitem__)


def _only(grads: Gradients) -> Tensor:
    gradient = grads[0]
    if gradient is None:
        raise ValueError("an operation with one result got no gradient")
    return gradient


def like(x: Tensor, *others: Tensor, dtype: str | None = None, shape: Shape | None = None) -> Tensor:
    """A new tensor as an elementwise operation on these would write it."""
    shape = broadcast(x.shape, *(t.shape for t in others)) if shape is None else shape
    return x.tape.empty(shape, dtype or promoted(x, *others), laid_out(shape, (x, *others)))


def _view(x: Tensor, name: str, shape: Shape, strides: Shape, backward: object) -> Tensor:
    node = x.tape.node(name, (x,), backward)  # type: ignore[arg-type]
    out = x.alias(shape, strides)
    x.tape.attach(node, out)
    return out


def _back_to(shape: Shape) -> object:
    def run(node: Node, grads: Gradients) -> Gradients:
        return (reshaped(_only(grads), shape),)

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
    if x.contiguous:
        return x
    node = x.tape.node("clone", (x,), _same)
    out = x.tape.empty(x.shape, x.dtype)
    x.tape.attach(node, out)
    return out


def _same(node: Node, grads: Gradients) -> Gradients:
    return (grads[0],)


def transpose(x: Tensor, left: int, right: int) -> Tensor:
    """``transpose``: a view."""

    def swap(t: Tensor) -> Tensor:
        shape, strides = list(t.shape), list(t.strides)
        shape[left], shape[right] = shape[right], shape[left]
        strides[left], strides[right] = strides[right], strides[left]
        return t.alias(tuple(shape), tuple(strides))

    def back(node: Node, grads: Gradients) -> Gradients:
        return (swap(_only(grads)),)

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
        return (turn(_only(grads), inverse),)

    out = turn(x, order)
    x.tape.attach(x.tape.node("permute", (x,), back), out)
    return out


def unsqueeze(x: Tensor, dim: int) -> Tensor:
    """``unsqueeze``: a view with one more dimension."""
    dim = dim % (len(x.shape) + 1)
    step = x.strides[dim] * x.shape[dim] if dim < len(x.shape) else 1
    shape, strides = (*x.shape[:dim], 1, *x.shape[dim:]), (*x.strides[:dim], step, *x.strides[dim:])

    def back(node: Node, grads: Gradients) -> Gradients:
        g = _only(grads)
        return (g.alias((*g.shape[:dim], *g.shape[dim + 1 :]), (*g.strides[:dim], *g.strides[dim + 1 :])),)

    return _view(x, "unsqueeze", shape, strides, back)


def expand(x: Tensor, *shape: int) -> Tensor:
    """``expand``: a view whose repeated dimensions have stride 0; its gradient is summed over them."""
    shape = tuple(x.shape[at] if size == -1 else size for at, size in enumerate(shape))
    strides = tuple(
        0 if mine == 1 != size else stride for mine, size, stride in zip(x.shape, shape, x.strides, strict=True)
    )

    def back(node: Node, grads: Gradients) -> Gradients:
        g = _only(grads)
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
        g = _only(grads)
        return (g.tape.empty(whole, g.dtype),)

    return _view(x, "slice", shape, x.strides, back)


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
        return (_only(grads).tape.empty(whole, _only(grads).dtype),)

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
        g = _only(grads)
        return [
            g.alias((*g.shape[:dim], size, *g.shape[dim + 1 :]), g.strides) if node.needs(at) else None
            for at, size in enumerate(sizes)
        ]

    node = first.tape.node("cat", parts, back)
    shape = (*first.shape[:dim], sum(sizes), *first.shape[dim + 1 :])
    out = first.tape.empty(shape, promoted(*parts))
    first.tape.attach(node, out)
    return out


def cast(x: Tensor, dtype: str) -> Tensor:
    """``to(dtype)``: itself, or a copy that saves nothing."""
    if x.dtype == dtype:
        return x
    node = x.tape.node("to", (x,), _same)  # validate_outputs casts the gradient back
    out = like(x, dtype=dtype)
    x.tape.attach(node, out)
    return out


def add(x: Tensor, y: Tensor) -> Tensor:
    """``x + y``: saves nothing; both inputs get the same gradient."""
    node = x.tape.node("add", (x, y), lambda node, grads: (grads[0], grads[0]))
    out = like(x, y)
    x.tape.attach(node, out)
    return out


def scale(x: Tensor, name: str = "mul") -> Tensor:
    """``x`` times, or divided by, a number: saves nothing, and its gradient is scaled."""
    node = x.tape.node(name, (x,), lambda node, grads: (like(_only(grads)),))
    out = like(x)
    x.tape.attach(node, out)
    return out


def shift(x: Tensor) -> Tensor:
    """``x`` plus a number: the gradient passes."""
    node = x.tape.node("add", (x,), _same)
    out = like(x)
    x.tape.attach(node, out)
    return out


def mul(x: Tensor, y: Tensor) -> Tensor:
    """``x · y``: saves each factor for the other's gradient."""
    node = x.tape.node("mul", (x, y), _mul_back)
    if node is not None:
        x.tape.save(node, x if node.needs(1) else None, y if node.needs(0) else None)
    out = like(x, y)
    x.tape.attach(node, out)
    return out


def _mul_back(node: Node, grads: Gradients) -> Gradients:
    g = _only(grads)
    kept = g.tape.saved(node)
    mine = like(g, kept[-1]) if node.needs(0) else None
    theirs = like(g, kept[0]) if node.needs(1) else None
    return mine, theirs


def square(x: Tensor) -> Tensor:
    """``x.pow(2)``: saves x; backward holds x¹, 2·x and the product at once (pow_backward)."""

    def back(node: Node, grads: Gradients) -> Gradients:
        g = _only(grads)
        (kept,) = g.tape.saved(node)
        power = like(kept)
        doubled = like(kept)
        out = like(g, doubled)
        del power, doubled
        return (out,)

    node = x.tape.node("pow", (x,), back)
    x.tape.save(node, x)
    out = like(x)
    x.tape.attach(node, out)
    return out


def mean(x: Tensor, dim: int = -1, *, keep: bool = True) -> Tensor:
    """``mean``: saves nothing; its gradient is spread out whole."""
    dim = dim % len(x.shape)
    whole = x.shape

    def back(node: Node, grads: Gradients) -> Gradients:
        g = _only(grads)
        return (g.tape.empty(whole, g.dtype),)

    node = x.tape.node("mean", (x,), back)
    out = x.tape.empty((*whole[:dim], *((1,) if keep else ()), *whole[dim + 1 :]), x.dtype)
    x.tape.attach(node, out)
    return out


def from_result(x: Tensor, name: str, temporaries: int = 0) -> Tensor:
    """A function whose gradient needs its result: rsqrt, tanh, sigmoid, exp, relu (saved: the result)."""

    def back(node: Node, grads: Gradients) -> Gradients:
        g = _only(grads)
        (kept,) = g.tape.saved(node)
        held = [like(kept) for _ in range(temporaries)]
        out = like(g, kept)
        del held
        return (out,)

    node = x.tape.node(name, (x,), back)
    out = like(x)
    x.tape.save(node, out)
    x.tape.attach(node, out)
    return out


def from_input(x: Tensor, name: str) -> Tensor:
    """A function whose gradient needs its input and is one kernel: silu, gelu (saved: the input)."""

    def back(node: Node, grads: Gradients) -> Gradients:
        g = _only(grads)
        (kept,) = g.tape.saved(node)
        return (like(g, kept),)

    node = x.tape.node(name, (x,), back)
    x.tape.save(node, x)
    out = like(x)
    x.tape.attach(node, out)
    return out


def dropout(x: Tensor, active: bool) -> Tensor:
    """``native_dropout``: a result and a mask of one byte an element, which is saved (Dropout.cpp)."""
    if not active:
        return x

    def back(node: Node, grads: Gradients) -> Gradients:
        g = _only(grads)
        kept = g.tape.saved(node)
        out = like(g)
        del kept
        return (out,)

    node = x.tape.node("dropout", (x,), back)
    out = like(x)
    mask = like(x, dtype="bool")
    x.tape.save(node, mask)
    x.tape.attach(node, out)
    return out


def softmax(x: Tensor, dtype: str | None = None) -> Tensor:
    """``softmax`` over the last dimension, in another format where asked: saves its result.

    CUDA reads half and writes fp32 in one kernel for fp16 (SoftMax.cpp); bf16 is cast first.
    """
    target = dtype or x.dtype
    if x.tape.autocast:
        target = "fp32"  # autocast_mode.cpp: softmax runs in fp32
    fused = x.dtype == "fp16" and target == "fp32"
    source = x if fused else cast(x, target)
    node = x.tape.node("softmax", (source,), _softmax_back)
    if node is not None:
        node.extra = source.dtype
    out = source.tape.empty(source.shape, target, laid_out(source.shape, (source,)))
    x.tape.save(node, out)
    x.tape.attach(node, out)
    return out


def _softmax_back(node: Node, grads: Gradients) -> Gradients:
    g = _only(grads)
    (kept,) = g.tape.saved(node)
    dtype: str = node.extra
    return (g.tape.empty(kept.shape, dtype),)


def size_of(x: Tensor) -> int:
    """Bytes that the tensor shows."""
    return x.elements * FORMAT_BYTES[x.dtype]


def zeros(x: Tensor, shape: Shape, dtype: str) -> Tensor:
    """A new tensor beside another."""
    return x.tape.empty(shape, dtype, row_major(shape))
