"""Triton kernels that stand in for a model's own code: fms-acceleration's (from unsloth), and liger-kernel's.

Sources: fms-acceleration-foak 0.7.4, kernels/unsloth/rms_layernorm.py and rope_embedding.py; liger-kernel 0.4.2,
ops/rms_norm.py, rope.py and swiglu.py. Both write gradients over what they were given.
"""

from __future__ import annotations

from gpufit.memory.training.tape.graph import Gradients, Node, only, passed
from gpufit.memory.training.tape.tensor import Tensor


def fused_rms_norm(x: Tensor, weight: Tensor) -> Tensor:
    """Saves its input and one fp32 number a row; the gradient is written over the one that comes in.

    What the weight's own gradient takes (a row a multiprocessor, in liger's) is left out.
    """
    tape = x.tape
    node = tape.node("rms_norm", (x, weight), _over_the_gradient)
    out = tape.empty(x.shape, x.dtype)
    tape.save(node, x, tape.empty((*x.shape[:-1], 1), "fp32"))
    tape.attach(node, out)
    return out


def _over_the_gradient(node: Node, grads: Gradients) -> Gradients:
    g = only(grads)
    g.tape.saved(node)
    return (g, None)


def turn_in_place(x: Tensor) -> Tensor:
    """Rotary embedding of queries or keys where they lie, both ways."""
    node = x.tape.node("rope", (x,), passed)
    out = x.alias()
    x.tape.attach(node, out)
    return out


def fused_swiglu(gate: Tensor, up: Tensor) -> Tensor:
    """silu(gate)·up in one kernel: saves both, and writes their gradients over them."""
    node = gate.tape.node("swiglu", (gate, up), lambda node, grads: only(grads).tape.saved(node))
    gate.tape.save(node, gate, up)
    out = gate.tape.empty(gate.shape, gate.dtype)
    gate.tape.attach(node, out)
    return out
