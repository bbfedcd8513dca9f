"""Activation functions by transformers' names (5.23.0, activations.py): one kernel each, or a formula of several."""

from __future__ import annotations

from gpufit.memory.training.tape.graph import Gradients, Node, only
from gpufit.memory.training.tape.ops import add, from_input, from_result, mul, power, scale, shift
from gpufit.memory.training.tape.tensor import Tensor


def activate(name: str, x: Tensor) -> Tensor:
    """``ACT2FN[name](x)``."""
    if name == "gelu_new":  # NewGELUActivation: 0.5·x·(1 + tanh(√(2/π)·(x + 0.044715·x³)))
        return mul(scale(x), shift(from_result(scale(add(x, scale(power(x)))), "tanh")))
    if name == "relu2":
        return power(from_result(x, "relu"))
    if name == "quick_gelu":
        return mul(x, from_result(scale(x), "sigmoid"))
    if name in ("relu", "tanh", "sigmoid"):
        return from_result(x, name)
    return from_input(x, name)  # silu, gelu, gelu_pytorch_tanh: a kernel that goes back from its input


def bloom_gelu(x: Tensor) -> Tensor:
    """modeling_bloom.py, GeLUFunction: x is saved, all else is made anew on the way back."""
    tape = x.tape
    node = tape.node("bloom_gelu", (x,), _bloom_gelu_back)
    tape.save(node, x)
    with tape.without_gradients():
        out = mul(scale(x), shift(_bloom_tanh(x)))
    tape.attach(node, out)
    return out


def _bloom_tanh(x: Tensor) -> Tensor:
    """tanh(0.79788456·x·(1 + 0.044715·x·x))."""
    return from_result(mul(scale(x), shift(mul(scale(x), x))), "tanh")


def _bloom_gelu_back(node: Node, grads: Gradients) -> Gradients:
    """bloom_gelu_back: ff·g, ff = 0.5·x·((1 - tanh²)·(0.79… + 0.10…·x·x)) + 0.5·(1 + tanh)."""
    g = only(grads)
    (x,) = g.tape.saved(node)
    tanh = _bloom_tanh(x)
    ff = add(mul(scale(x), mul(shift(mul(tanh, tanh)), shift(mul(scale(x), x)))), scale(shift(tanh)))
    return (mul(ff, g),)
