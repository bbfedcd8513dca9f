"""torch's operators that pick, hide and repeat elements: gather, masked_fill, repeat, repeat_interleave.

Mirrors PyTorch 2.13, tools/autograd/derivatives.yaml and torch/csrc/autograd/FunctionsManual.cpp.
"""

from __future__ import annotations

from gpufit.memory.training.tape.graph import Gradients, Node, only
from gpufit.memory.training.tape.ops import like
from gpufit.memory.training.tape.tensor import Tensor
from gpufit.memory.training.tape.views import clone, expand, unsqueeze, view


def gather(x: Tensor, index: Tensor) -> Tensor:
    """``gather`` along the last dimension: saves x and index; the gradient is scattered into zeros of x's shape."""

    def back(node: Node, grads: Gradients) -> Gradients:
        g = only(grads)
        kept, _ = g.tape.saved(node)
        zeros = g.tape.empty(kept.shape, g.dtype)
        # TensorAdvancedIndexing.cpp, gather_backward: under a dispatch mode scatter_add writes anew, else in place
        return (zeros if g.tape.sums_in_place else like(zeros),)

    node = x.tape.node("gather", (x,), back)
    x.tape.save(node, x, index)
    out = x.tape.empty(index.shape, x.dtype)
    x.tape.attach(node, out)
    return out


def masked_fill(x: Tensor, mask: Tensor) -> Tensor:
    """``masked_fill`` with a number: saves the mask; the gradient is filled with zeros there."""

    def back(node: Node, grads: Gradients) -> Gradients:
        g = only(grads)
        kept = g.tape.saved(node)
        out = like(g)
        del kept
        return (out,)

    node = x.tape.node("masked_fill", (x,), back)
    x.tape.save(node, mask)
    out = like(x)
    x.tape.attach(node, out)
    return out


def repeat(x: Tensor, times: int) -> Tensor:
    """``x.repeat(times, 1, ...)``: always a copy; its gradient is summed over the repetitions (repeat_backward)."""
    whole = x.shape

    def back(node: Node, grads: Gradients) -> Gradients:
        g = only(grads)
        return (g if times == 1 else g.tape.empty(whole, g.dtype),)

    node = x.tape.node("repeat", (x,), back)
    out = x.tape.empty((times * whole[0], *whole[1:]), x.dtype)
    x.tape.attach(node, out)
    return out


def repeat_interleave(x: Tensor, times: int) -> Tensor:
    """``x.repeat_interleave(times, 1)`` of (batch, heads, tokens, dim): a copy even where one head serves all."""
    batch, heads, tokens, dim = x.shape
    spread = expand(unsqueeze(x, 2), batch, heads, times, tokens, dim)
    return view(clone(spread), batch, heads * times, tokens, dim)
